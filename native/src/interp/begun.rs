//! The requests of a context that were started and have not ended: which of them runs, and what it lies on.

use super::{Callback, Context, Request, Scope};
use crate::beam::Shared;
use std::collections::HashMap;

/// See the module. They are looked at together: one that goes from one place to another is never in neither.
#[derive(Default)]
pub(super) struct Begun {
    /// The request that runs, on top of those that wait for callbacks or in event loops; innermost last.
    running: Vec<Shared<Request>>,
    /// What the owner thread waits for, on top of one another; innermost last.
    waits: Vec<Wait>,
    /// Requests that wait for their next turn.
    suspended: Vec<Shared<Request>>,
    /// Tasks of the event loop, by their numbers.
    tasks: HashMap<u64, Shared<Request>>,
}

enum Waits {
    For(Shared<Callback>),
    /// In an event loop, or it runs a step of one and comes back to the loop soon. The loop of the context is shared;
    /// a private one is a part of the code that made it, which nothing else should hold up.
    InLoop {
        shared: bool,
    },
}

struct Wait {
    what: Waits,
    /// How many requests the thread runs here and further out.
    depth: usize,
}

impl Wait {
    fn callback(&self) -> Option<&Shared<Callback>> {
        match &self.what {
            Waits::For(callback) => Some(callback),
            Waits::InLoop { .. } => None,
        }
    }

    fn is_shared(&self) -> bool {
        matches!(self.what, Waits::InLoop { shared: true })
    }
}

/// What stands between a request and its turn, or its end, where that can be found out.
pub(crate) enum Turn {
    /// Code that waits for it.
    Never,
    /// The thread has to come back from its waits for these callbacks first, as far as they were not looked at before.
    /// None at all: nothing that depends on it.
    After(Vec<Shared<Callback>>),
}

/// From these places on, the waits of a context and what it runs were looked at. Both are stacks: what is still there of
/// what was seen has its place, and nothing new waits for anybody while somebody looks for circles.
pub(crate) struct Looked {
    waits: usize,
    running: usize,
}

impl Default for Looked {
    fn default() -> Self {
        Self {
            waits: usize::MAX,
            running: usize::MAX,
        }
    }
}

impl Looked {
    /// What is new of that which begins at these places.
    fn new_of<'b>(
        &mut self,
        begun: &'b Begun,
        (waits, running): (usize, usize),
    ) -> (&'b [Wait], &'b [Shared<Request>]) {
        let new_waits = waits..self.waits.min(begun.waits.len());
        let new_running = running..self.running.min(begun.running.len());
        self.waits = self.waits.min(waits);
        self.running = self.running.min(running);
        (
            begun.waits.get(new_waits).unwrap_or_default(),
            begun.running.get(new_running).unwrap_or_default(),
        )
    }
}

impl Begun {
    /// Loops of requests below this place; that of the context itself, which lies below all requests, is none of them.
    fn loops_below(&self, place: usize) -> usize {
        let nested = |wait: &&Wait| wait.depth > 0 && wait.callback().is_none();
        self.waits[..place].iter().filter(nested).count()
    }

    /// Whether the loop at a place serves whatever comes. On top of a wait for a callback or in a private loop it does
    /// not: those further out who hold the context count on it that no stranger gets in between.
    fn serves_anything(&self, place: usize, most_loops: usize) -> bool {
        self.waits[..=place].iter().all(Wait::is_shared) && self.loops_below(place + 1) < most_loops
    }

    /// Whether the wait at a place takes up what was made in `made_in`.
    fn takes_up(&self, place: usize, made_in: &Callback, most_loops: usize) -> bool {
        let wait = &self.waits[place];
        match &wait.what {
            Waits::For(callback) => made_in.is_or_descends_from(callback),
            Waits::InLoop { .. } => {
                let mut below = self.running[..wait.depth].iter();
                self.serves_anything(place, most_loops)
                    || below.any(|request| made_in.comes_from(request))
            }
        }
    }
}

impl Context {
    /// The owner thread says that it runs a request, on top of those that it runs already.
    pub(crate) fn push_running(&self, request: Shared<Request>) {
        self.begun.lock().running.push(request);
    }

    /// The innermost request runs no longer, nor will it.
    pub(crate) fn pop_running(&self) {
        if let Some(request) = self.leave_innermost() {
            request.code_ended();
        }
    }

    /// The innermost request has started a task, and nothing of it lies on the stack.
    pub(super) fn leave_to_task(&self) {
        let _goes_on = self.leave_innermost();
    }

    fn leave_innermost(&self) -> Option<Shared<Request>> {
        let mut begun = self.begun.lock();
        let request = begun.running.pop();
        // Its event loops are over, too.
        let depth = begun.running.len();
        while begun
            .waits
            .pop_if(|wait| wait.callback().is_none() && wait.depth > depth)
            .is_some()
        {}
        request
    }

    /// The innermost request waits for its next turn.
    pub(super) fn suspend_running(&self) {
        if let Some(request) = self.leave_innermost() {
            self.begun.lock().suspended.push(request);
        }
    }

    /// Whether a request that waits for its next turn will use a namespace.
    pub(super) fn has_suspended_in(&self, namespace: u64) -> bool {
        let uses = |request: &Shared<Request>| {
            let of = match &request.scope {
                Scope::Own => &request.client,
                Scope::Of(client) => client,
                Scope::In(_) => return false,
            };
            // Those of a stream may last for ever, and its code needs no name.
            of.id == namespace && !request.state.is_over() && request.known_flow().is_none()
        };
        self.begun.lock().suspended.iter().any(uses)
    }

    /// The turn of a request has come that was suspended.
    pub(super) fn resume_suspended(&self, request: &Request) {
        let mut begun = self.begun.lock();
        let place = |other: &Shared<Request>| other.id == request.id;
        if let Some(place) = begun.suspended.iter().position(place) {
            let request = begun.suspended.swap_remove(place);
            begun.running.push(request);
        }
    }

    /// A request goes on as a task of the event loop.
    pub(super) fn add_task(&self, request: &Shared<Request>) {
        let mut begun = self.begun.lock();
        begun.tasks.insert(request.id, request.clone());
    }

    /// The task has ended.
    pub(super) fn take_task(&self, task: u64) -> Option<Shared<Request>> {
        let ended = self.begun.lock().tasks.remove(&task);
        self.interrupts.forget_task(task);
        ended
    }

    pub(super) fn has_task(&self, task: u64) -> bool {
        self.begun.lock().tasks.contains_key(&task)
    }

    /// All requests that were started and have not ended.
    pub(super) fn begun(&self) -> Vec<Shared<Request>> {
        let begun = self.begun.lock();
        let all = begun.suspended.iter().chain(&begun.running);
        all.chain(begun.tasks.values()).cloned().collect()
    }

    /// What runs, outermost first, and what is a task; whether the innermost code waits.
    pub(super) fn glance(&self) -> (Vec<Shared<Request>>, Vec<Shared<Request>>, bool) {
        let begun = self.begun.lock();
        let depth = begun.running.len();
        let waits = begun.waits.last().is_some_and(|wait| wait.depth == depth);
        let tasks = begun.tasks.values().cloned().collect();
        (begun.running.clone(), tasks, waits)
    }

    /// The request whose code runs now.
    pub(crate) fn innermost(&self) -> Option<Shared<Request>> {
        self.begun.lock().running.last().cloned()
    }

    /// The request with this number, if it runs or is a task.
    pub(super) fn started(&self, request: u64) -> Option<Shared<Request>> {
        let begun = self.begun.lock();
        let running = begun.running.iter().rev();
        let mut found = running.chain(begun.tasks.get(&request));
        found.find(|one| one.id == request).cloned()
    }

    /// What has to end here before a request has its answer, or its turn if it has not begun, as far as that depends on
    /// what `parent` led to and was not `looked` at. It was made in `made_in`.
    ///
    /// Code that runs on top of a wait ends, or is looked at when it waits for somebody itself; the thread comes back to
    /// the wait.
    pub(super) fn turn(
        &self,
        request: u64,
        made_in: &Callback,
        parent: &Callback,
        looked: &mut Looked,
    ) -> Turn {
        let begun = self.begun.lock();
        let place = begun.running.iter().position(|one| one.id == request);
        let further_in = match place {
            // It has to end itself, and what lies on it before that.
            Some(place) => {
                let own = begun.waits.partition_point(|wait| wait.depth <= place);
                (own, place)
            }
            // What runs further in than the wait on top of which it can run.
            None => {
                let takes_up =
                    |&place: &usize| begun.takes_up(place, made_in, self.max_nested_runs);
                match (0..begun.waits.len()).rev().find(takes_up) {
                    Some(place) => {
                        let wait = &begun.waits[place];
                        if wait.callback().is_some_and(|callback| !callback.serves()) {
                            return Turn::Never;
                        }
                        (place + 1, wait.depth)
                    }
                    None => (0, 0),
                }
            }
        };
        let (waits, running) = looked.new_of(&begun, further_in);
        let callbacks = || waits.iter().filter_map(Wait::callback);
        if callbacks().any(|callback| parent.is_or_descends_from(callback))
            // Code may have led to it without waiting for it here, as that of an event loop does.
            || running.iter().any(|running| parent.comes_from(running))
        {
            return Turn::Never;
        }
        Turn::After(callbacks().cloned().collect())
    }

    /// The owner thread runs nothing any more, and cannot say what it ran: it has panicked.
    pub(crate) fn code_ended(&self) {
        for request in self.begun() {
            request.code_ended();
        }
    }

    /// The owner thread says that it waits for a callback, with the innermost request.
    pub(super) fn push_wait(&self, callback: Shared<Callback>) {
        let mut begun = self.begun.lock();
        let depth = begun.running.len();
        begun.waits.push(Wait {
            what: Waits::For(callback),
            depth,
        });
    }

    /// It does so no more.
    pub(super) fn pop_wait(&self) {
        let wait = {
            let mut begun = self.begun.lock();
            let place = begun
                .waits
                .iter()
                .rposition(|wait| wait.callback().is_some());
            place.map(|place| begun.waits.split_off(place))
        };
        // Not under the lock: it may have been the last to know the callback.
        drop(wait);
    }

    /// The owner thread is in an event loop of the innermost request, or of the context itself, until that request ends.
    /// Says whether the loop serves whatever comes; others serve what its request led to.
    pub(super) fn enter_loop(&self, shared: bool) -> bool {
        let mut begun = self.begun.lock();
        let depth = begun.running.len();
        let _before = begun
            .waits
            .pop_if(|wait| wait.depth == depth && wait.callback().is_none());
        begun.waits.push(Wait {
            what: Waits::InLoop { shared },
            depth,
        });
        begun.serves_anything(begun.waits.len() - 1, self.max_nested_runs)
    }

    /// Whether the code of a request that runs here led to another one, which was made in `made_in`.
    pub(super) fn leads_to(&self, made_in: &Callback) -> bool {
        let begun = self.begun.lock();
        begun
            .running
            .iter()
            .any(|running| made_in.comes_from(running))
    }

    /// Whether the owner thread waits for a callback or in a loop, or runs something on top of that.
    pub(super) fn has_waits(&self) -> bool {
        !self.begun.lock().waits.is_empty()
    }

    /// What the process waits for that runs the callback of a request.
    pub(super) fn awaited_by(&self, request: u64) -> Option<(u64, u64)> {
        let begun = self.begun.lock();
        let own = |callback: &&Shared<Callback>| {
            let of = callback.request();
            of.is_some_and(|one| one.id == request)
        };
        let mut callbacks = begun.waits.iter().rev().filter_map(Wait::callback);
        callbacks.find(own)?.awaited()
    }
}
