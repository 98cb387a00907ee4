//! An event loop waits for its descriptors, and for whatever else may come.

use crate::beam::Shared;
use crate::facts::facts;
use crate::interp::owner::Owner;
use crate::interp::{Context, Envelope, Mode, Request, Stage, reaper};
use crate::interrupt::INSIDE;
use crate::py::{Object, Python, Raised, Result};
use py_core::event::{Event, Poller};
use py_core::mailbox::Take;
use py_core::spin::Spinner;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// So many requests are served before the loop has its turn.
const TURN: usize = 64;

/// While a thread looks for work it asks the system about descriptors every so many times.
const LOOKS_PER_SYSTEM_CALL: u32 = 8;

/// How often a thread looks for descriptors that nobody watches for it.
const WITHOUT_ROOT: Duration = Duration::from_millis(20);

/// How long a thread sleeps in the loop's own set before the emulator is asked to watch that.
const NAP: Duration = Duration::from_millis(50);

/// What a wait is for.
pub(super) struct Wait<'a, 'py> {
    pub(super) poller: &'a Arc<Poller>,
    /// `None`: for ever.
    pub(super) timeout: Option<Duration>,
    /// Python's loop, whose own work ends the wait.
    pub(super) event_loop: &'a Object<'py>,
}

impl Wait<'_, '_> {
    /// Waits, and gives what is ready.
    pub(super) fn wait(&self, py: Python<'_>) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let deadline = self
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        match Stage::here() {
            Some(stage) => self.on_owner_thread(py, &stage, deadline, &mut events)?,
            None => {
                let slept = py.detached(|| self.poller.sleep(&mut events, self.timeout));
                slept.map_err(|error| Raised::os_error(py, &error))?;
                let _taken = self.poller.take_woken();
            }
        }
        Ok(events)
    }

    fn on_owner_thread(
        &self,
        py: Python<'_>,
        stage: &Stage,
        deadline: Option<Instant>,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let (context, poller) = (&stage.context, self.poller);
        context.interrupts.count_turn();
        let _turn = Turn::ends(context);
        Owner::clean_up(py, context);
        let mut owner = stage.borrow();
        let anything = context.enter_loop(context.interrupts.pumps());
        if let Some(reactor) = stage.reactor().filter(|_| !anything) {
            checked(py, reactor.serves(false))?;
        }
        let mut own_spinner = Spinner::default();
        let mut lists = None;
        let request = context
            .innermost()
            .filter(|request| request.id == context.interrupts.running());
        // Until this returns: what was served may have begun with something, whatever comes then.
        let mut has_work = false;
        loop {
            has_work |= interrupts(py, context, owner.as_deref_mut(), request.as_ref())?;
            if context.mailbox.is_closed() {
                if context.interrupts.running() == 0 {
                    // Whoever drives the loop of the context looks whether that closes.
                    return Ok(());
                }
                drop(owner);
                events.clear();
                if let Some(reactor) = stage.reactor() {
                    checked(py, reactor.serves(false))?;
                }
                return self.while_closing(py, context, deadline, events);
            }
            if let Some(owner) = &mut owner
                && context.mailbox.has_any()
            {
                let work = Work::of(self.event_loop)?;
                let served = serve(py, context, owner, anything);
                // That may have changed what is watched.
                events.clear();
                has_work |= served == Served::ForAWhile || Work::of(self.event_loop)? != work;
                if context.interrupts.waits() || context.interrupts.has_tasks() {
                    continue;
                }
            }
            let mut reactor = None;
            let mut turned = false;
            if let Some(owner) = &mut owner
                && anything
            {
                // One that came after the end of this loop works with the next.
                reactor = stage.reactor().filter(|reactor| reactor.works_with(poller));
                if let Some(reactor) = &reactor {
                    // A wait further in may have said otherwise.
                    checked(py, reactor.serves(true))?;
                }
                if let Some(reactor) = &reactor
                    && let Some(ready) = checked(py, reactor.ready())?
                {
                    let lists = match &lists {
                        Some(lists) => lists,
                        None => lists.insert(Lists::of(self.event_loop)?),
                    };
                    let work = lists.work()?;
                    context.interrupts.count_turn();
                    // The request whose code runs the loop has nothing to do with it.
                    let below = context.interrupts.begin_segment();
                    owner.lending(|| reactor.turn(py, &ready));
                    if below {
                        context.interrupts.end_segment();
                    }
                    events.clear();
                    has_work |= lists.work()? != work;
                    turned = true;
                }
            }
            if let Some(root) = context.known_root() {
                root.seen();
            }
            if has_work {
                events.clear();
            }
            // With connections to serve the loop's own set is asked only if there is something else in there.
            if events.is_empty() && (!turned || poller.watched() > 1) {
                checked(py, poller.poll(events))?;
            }
            if let Some(reactor) = &reactor {
                // It says only that its own set has something.
                events.retain(|event| !reactor.is_own(event));
            }
            if poller.take_woken()
                || has_work
                || !events.is_empty()
                || deadline.is_some_and(|deadline| deadline <= Instant::now())
            {
                return Ok(());
            }
            if turned {
                continue;
            }
            let spinner = match &mut owner {
                Some(owner) => &mut owner.spinner,
                None => &mut own_spinner,
            };
            let request = request.as_ref();
            let limit = request.filter(|request| !request.is_timed_out());
            let limit = limit.and_then(|request| request.deadline());
            let due = reactor.as_ref().and_then(|reactor| reactor.due());
            let until = deadline.into_iter().chain(limit).chain(due).min();
            context.watch.turn_ends();
            let slept = context.interrupts.asleep(py, INSIDE, || {
                sleep(context, poller, spinner, until, events)
            });
            context.watch.turn_begins();
            context.watch.note_attaching();
            checked(py, slept)?;
            if let Some(reactor) = &reactor {
                events.retain(|event| !reactor.is_own(event));
            }
        }
    }

    /// The context closes, or has closed: nothing comes but interrupts.
    fn while_closing(
        &self,
        py: Python<'_>,
        context: &Arc<Context>,
        deadline: Option<Instant>,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let slept = context.interrupts.asleep(py, INSIDE, || {
            context.sleeping_in(self.poller, || {
                let interrupted = context.interrupts.waits();
                let timeout = if interrupted {
                    Some(Duration::ZERO)
                } else {
                    timeout
                };
                self.poller.sleep(events, timeout)
            })
        });
        let _taken = self.poller.take_woken();
        checked(py, slept)?;
        let raised = context.interrupts.take_raised_in_loop(py);
        raised.map_or(Ok(()), Err)
    }
}

/// The loop has come to where it waits; when this is dropped it goes on.
struct Turn<'a>(&'a Context);

impl<'a> Turn<'a> {
    fn ends(context: &'a Context) -> Self {
        context.watch.turn_ends();
        context.watch.turn_begins();
        Self(context)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.watch.turn_ends();
        self.0.watch.turn_begins();
    }
}

fn checked<T>(py: Python<'_>, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| Raised::os_error(py, &error))
}

/// What a loop of Python's has to do: its callbacks, and when its first timer is due. The number of timers would not do:
/// one may have come in the place of another.
#[derive(PartialEq)]
struct Work {
    ready: isize,
    due: Option<f64>,
}

impl Work {
    fn of(event_loop: &Object<'_>) -> Result<Self> {
        Lists::of(event_loop)?.work()
    }
}

/// Where a loop has its work. While it waits these objects stay the same, unless the loop is run on top of itself, which
/// wakes it in the end.
struct Lists<'py> {
    ready: Object<'py>,
    scheduled: Object<'py>,
}

impl<'py> Lists<'py> {
    fn of(event_loop: &Object<'py>) -> Result<Self> {
        Ok(Self {
            ready: event_loop.getattr_str("_ready")?,
            scheduled: event_loop.getattr_str("_scheduled")?,
        })
    }

    fn work(&self) -> Result<Work> {
        let first = self.scheduled.list_first();
        let due = first.map(|timer| timer.getattr_str("_when")?.as_float());
        Ok(Work {
            ready: self.ready.size()?,
            due: due.transpose()?,
        })
    }
}

/// Looks for interrupts: an exception for the innermost request, whose loop this is; others' tasks are cancelled. Says
/// whether that gave the loop something to do.
fn interrupts(
    py: Python<'_>,
    context: &Arc<Context>,
    owner: Option<&mut Owner>,
    request: Option<&Shared<Request>>,
) -> Result<bool> {
    if let Some(raised) = context.interrupts.take_raised_in_loop(py) {
        return Err(raised);
    }
    // Once: its code has to run again to end.
    let is_late = |request: &&Shared<Request>| request.is_late() && !request.is_timed_out();
    if let Some(request) = request.filter(is_late) {
        request.set_timed_out();
        if let Some(raised) = context.interrupts.late_in_loop(py) {
            return Err(raised);
        }
    }
    let Some(owner) = owner else {
        return Ok(false);
    };
    let tasks = context.interrupts.take_tasks();
    // When the context closes all of them are cancelled, once.
    if !context.mailbox.is_closed() {
        for &task in &tasks {
            owner.interrupt_task(py, task);
        }
    }
    Ok(!tasks.is_empty())
}

/// Why serving has ended.
#[derive(PartialEq, Eq)]
enum Served {
    /// There was nothing more.
    All,
    /// It is the loop's turn. The mailbox does not wake for what was put off.
    ForAWhile,
}

/// Serves what is in the mailbox, for a while; `anything`: or only what belongs to requests that run.
fn serve(py: Python<'_>, context: &Arc<Context>, owner: &mut Owner, anything: bool) -> Served {
    for _ in 0..TURN {
        if context.mailbox.is_closed() {
            return Served::All;
        }
        let Some(envelope) = next(context, anything) else {
            return Served::All;
        };
        if !anything && !belongs(context, &envelope) {
            context.put_off(envelope);
            continue;
        }
        if matches!(envelope, Envelope::Nudge) {
            context.tell_of_places();
            continue;
        }
        let below = context.interrupts.begin_segment();
        owner.handle_on_top(py, context, envelope);
        if below {
            context.interrupts.end_segment();
        }
        if owner.mode == Mode::Worker {
            // The main GIL is shared by all worker contexts: each request is a turn of its own.
            py.detached(|| {});
        }
        if context.interrupts.has_tasks() || context.interrupts.waits() {
            return Served::ForAWhile;
        }
    }
    Served::ForAWhile
}

/// What is to be looked at next.
fn next(context: &Context, anything: bool) -> Option<Envelope> {
    let take = if anything {
        context.mailbox.take()
    } else {
        // A wait of the code that runs may have put it off.
        let put_off = context.for_other_waits.load(Ordering::Relaxed);
        let ours = put_off.then(|| context.mailbox.take_deferred(|one| belongs(context, one)));
        if let Some(envelope) = ours.flatten() {
            return Some(envelope);
        }
        context.mailbox.take_new()
    };
    match take {
        Take::Item(envelope) => Some(envelope),
        Take::Empty | Take::Closed => None,
    }
}

/// Whether it could be seen to on top of some wait.
fn is_for_a_wait(envelope: &Envelope) -> bool {
    match envelope {
        Envelope::Request(request) | Envelope::Continue(request) => request.origin.parent.is_some(),
        Envelope::Dropped
        | Envelope::Nudge
        | Envelope::Garbage
        | Envelope::Inline
        | Envelope::NamespaceDown(_)
        | Envelope::Connection(_) => false,
    }
}

/// Whether it may be seen to in a loop that does not serve everything.
fn belongs(context: &Context, envelope: &Envelope) -> bool {
    match envelope {
        Envelope::Request(request) | Envelope::Continue(request) => {
            let parent = request.origin.parent.as_ref();
            parent.is_some_and(|parent| context.leads_to(parent))
        }
        Envelope::Dropped | Envelope::Nudge => true,
        Envelope::NamespaceDown(_)
        | Envelope::Garbage
        | Envelope::Inline
        | Envelope::Connection(_) => false,
    }
}

/// Looks for work, and sleeps if there is none. Without the GIL.
fn sleep(
    context: &Arc<Context>,
    poller: &Arc<Poller>,
    spinner: &mut Spinner,
    until: Option<Instant>,
    events: &mut Vec<Event>,
) -> io::Result<()> {
    let place = poller.sleeps_elsewhere(context.clone());
    let looks = Cell::new(0u32);
    let looked = context.mailbox.look_or(spinner, &facts().spin_budget, || {
        looks.set(looks.get() + 1);
        poller.is_woken() || looks.get().is_multiple_of(LOOKS_PER_SYSTEM_CALL) && poller.is_ready()
    });
    if looked {
        return Ok(());
    }
    let watches = poller.has_descriptors();
    drop(place);
    if watches && nap(context, poller, until, events)? {
        return Ok(());
    }
    let _place = poller.sleeps_elsewhere(context.clone());
    let root = if watches { context.root() } else { None };
    let until = if watches && root.is_none() {
        // There are no descriptors left to have one watched with.
        let soon = Instant::now() + WITHOUT_ROOT;
        Some(until.map_or(soon, |until| until.min(soon)))
    } else {
        until
    };
    if let Some(root) = root {
        root.stand_for(poller)?;
        if root.wants_arming() {
            context.ask_for_arming();
        }
    }
    context.mailbox.sleep_unless(spinner, until, || {
        poller.is_woken() || root.is_some_and(|root| root.is_readable())
    });
    Ok(())
}

/// Sleeps in the loop's own set for a while: having the emulator watch it costs several times as much as what most
/// messages take, so that is for loops that are idle. Appends what is ready; says whether there may be something to do.
fn nap(
    context: &Arc<Context>,
    poller: &Arc<Poller>,
    until: Option<Instant>,
    events: &mut Vec<Event>,
) -> io::Result<bool> {
    let now = Instant::now();
    let end = now + NAP;
    let timeout = until.map_or(NAP, |until| until.saturating_duration_since(now).min(NAP));
    context.mailbox.wake_elsewhere_by(|| {
        let context = Arc::downgrade(context);
        Box::new(move || {
            if let Some(context) = context.upgrade() {
                context.ring();
            }
        })
    });
    context.sleeping_in(poller, || {
        context.mailbox.sleep_elsewhere(|begins| {
            poller.sleep_unless(events, Some(timeout), || {
                begins() || context.interrupts.waits()
            })
        })
    })?;
    let over = Instant::now() >= end && until.is_none_or(|until| until > end);
    // What was put off is for another wait.
    Ok(!over || !events.is_empty() || poller.is_woken() || !context.mailbox.is_empty())
}

impl Context {
    /// For the owner thread: something comes later.
    fn put_off(self: &Arc<Self>, envelope: Envelope) {
        if is_for_a_wait(&envelope) {
            self.for_other_waits.store(true, Ordering::Relaxed);
        }
        if !self.mailbox.defer(envelope) {
            // Whoever emptied the mailbox may not have seen it.
            reaper().close(self);
        }
    }
}
