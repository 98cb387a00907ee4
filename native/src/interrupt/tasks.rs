//! Interrupting tasks. First the event loop is told, which cancels them where they wait; code of theirs that does not
//! come back to the loop for long is interrupted by an exception.

use super::{Interrupts, Met};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

#[derive(Default)]
struct Wanted {
    /// The event loop is to be told.
    by_loop: Vec<u64>,
    /// Their code, if it runs.
    steps: Vec<u64>,
    /// Whatever task's code runs.
    any_step: bool,
    /// What is known of those that were interrupted and have not ended.
    pursued: Vec<Pursued>,
}

struct Pursued {
    task: u64,
    /// The event loop was told. What was raised may have met code that the task began and does not wait for.
    told: bool,
    /// How often the thread had come to a safe point, and the loop to where it waits, when it was interrupted last.
    looks: u64,
    turns: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tasks {
    wanted: Mutex<Wanted>,
    /// How much is to be interrupted, so that a loop may look without a lock.
    count: AtomicUsize,
    /// How often the owner thread has come to a safe point with something wanted, and in code of which scope last.
    looks: AtomicU64,
    met: AtomicI64,
    /// The owner thread runs an event loop whose tasks have scopes.
    driven: AtomicBool,
    /// The turn of the loop in which [`Interrupts::interrupt_lasting_step`] looked last.
    lasts: AtomicU64,
}

impl Wanted {
    fn pursued(&mut self, task: u64, looks: u64, turns: u64) -> &mut Pursued {
        let place = self.pursued.iter().position(|one| one.task == task);
        let place = place.unwrap_or_else(|| {
            self.pursued.push(Pursued {
                task,
                told: false,
                looks,
                turns,
            });
            self.pursued.len() - 1
        });
        &mut self.pursued[place]
    }

    /// Whether code of this scope is to end; `pumps`: that of nobody is a step of the loop.
    fn ends(&self, scope: i64, pumps: bool) -> bool {
        let task = scope.cast_unsigned();
        match scope {
            1.. => self.any_step || self.steps.contains(&task),
            0 => self.any_step && pumps,
            _ => false,
        }
    }
}

fn enter(list: &mut Vec<u64>, task: u64) {
    if !list.contains(&task) {
        list.push(task);
    }
}

impl Tasks {
    fn change<T>(&self, change: impl FnOnce(&mut Wanted) -> T) -> T {
        let mut wanted = self.wanted.lock();
        let result = change(&mut wanted);
        let count = wanted.by_loop.len() + wanted.steps.len() + usize::from(wanted.any_step);
        self.count.store(count, Ordering::SeqCst);
        result
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    pub(super) fn interrupt(&self, task: u64) {
        self.change(|wanted| enter(&mut wanted.by_loop, task));
    }

    /// Whether code of this scope, which waits, is to end.
    pub(super) fn wants(&self, scope: i64, pumps: bool) -> bool {
        let task = scope.cast_unsigned();
        !self.is_empty() && {
            let wanted = self.wanted.lock();
            wanted.ends(scope, pumps) || scope > 0 && wanted.by_loop.contains(&task)
        }
    }

    /// As [`Self::wants`]; the caller ends the code.
    pub(super) fn take(&self, scope: i64, pumps: bool) -> bool {
        let task = scope.cast_unsigned();
        self.wants(scope, pumps)
            && self.change(|wanted| {
                let before = (wanted.by_loop.len(), wanted.steps.len(), wanted.any_step);
                wanted.by_loop.retain(|&one| one != task);
                wanted.steps.retain(|&one| one != task);
                wanted.any_step = false;
                before != (wanted.by_loop.len(), wanted.steps.len(), wanted.any_step)
            })
    }

    /// The thread runs code of this scope: whether that is to end. When it pumps, no other step runs.
    pub(super) fn met(&self, scope: i64, pumps: bool) -> bool {
        self.met.store(scope, Ordering::SeqCst);
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.is_empty() {
            return false;
        }
        self.change(|wanted| {
            let ends = wanted.ends(scope, pumps);
            if pumps {
                wanted.steps.clear();
                wanted.any_step &= scope < 0;
            }
            if ends {
                let task = scope.cast_unsigned();
                wanted.by_loop.retain(|&one| one != task);
                wanted.steps.retain(|&one| one != task);
                wanted.any_step = false;
            }
            ends
        })
    }

    /// Whether code is to end that a task may run now.
    pub(super) fn wants_step(&self) -> bool {
        !self.is_empty() && {
            let wanted = self.wanted.lock();
            wanted.any_step || !wanted.steps.is_empty()
        }
    }

    pub(super) fn are_driven(&self) -> bool {
        self.driven.load(Ordering::SeqCst)
    }
}

impl Interrupts {
    /// Interrupts a task, where it waits or when it waits next.
    pub(crate) fn interrupt_task(self: &Arc<Self>, task: u64) {
        let gate = self.gate.lock();
        if let Some(target) = gate.as_ref() {
            let (looks, turns) = self.progress();
            self.tasks.change(|wanted| {
                wanted.pursued(task, looks, turns);
                enter(&mut wanted.by_loop, task);
            });
            self.woken.notify_all();
            self.post(target);
        }
    }

    fn progress(&self) -> (u64, u64) {
        let looks = self.tasks.looks.load(Ordering::SeqCst);
        (looks, self.turns.load(Ordering::SeqCst))
    }

    /// A task that was interrupted has not ended. [`Met::Code`]: because its code goes on, as far as can be known.
    pub(crate) fn interrupt_task_again(self: &Arc<Self>, task: u64) -> Met {
        let gate = self.gate.lock();
        let Some(target) = gate.as_ref() else {
            return Met::Nothing;
        };
        let (looks, turns) = self.progress();
        let (unseen, same_step) = self.tasks.change(|wanted| {
            let known = wanted.pursued(task, looks, turns);
            let before = (known.looks == looks, known.turns == turns);
            (known.looks, known.turns) = (looks, turns);
            if !known.told {
                enter(&mut wanted.by_loop, task);
            }
            if self.is_parked() {
                // No step runs.
                wanted.steps.clear();
            } else {
                enter(&mut wanted.steps, task);
            }
            before
        });
        self.woken.notify_all();
        self.post(target);
        // While other code lies on top, or waits, its turn has not come.
        if !same_step || !self.pumps() || self.is_parked() {
            return Met::Later;
        }
        let scope = task.cast_signed();
        let is_its_own = if self.asleep.load(Ordering::SeqCst) {
            self.sleeper.load(Ordering::SeqCst) == scope
        } else {
            // Of a step that comes to no safe point nothing is known.
            unseen || self.tasks.met.load(Ordering::SeqCst) == scope
        };
        if is_its_own { Met::Code } else { Met::Later }
    }

    /// The task has ended, or there is none.
    pub(crate) fn forget_task(&self, task: u64) {
        self.tasks
            .change(|wanted| wanted.pursued.retain(|one| one.task != task));
    }

    /// Interrupts whatever step of the event loop runs. `false`: none does.
    pub(crate) fn interrupt_any_task(self: &Arc<Self>) -> bool {
        let gate = self.gate.lock();
        let Some(target) = gate.as_ref() else {
            return false;
        };
        if !self.pumps() || self.is_parked() {
            return false;
        }
        self.tasks.change(|wanted| wanted.any_step = true);
        self.woken.notify_all();
        self.post(target);
        true
    }

    /// As that, if the step ran already when this was called before. For a context that closes.
    pub(crate) fn interrupt_lasting_step(self: &Arc<Self>) -> Met {
        if self.gate.lock().is_none() || !self.tasks.are_driven() {
            return Met::Nothing;
        }
        let turn = self.turns.load(Ordering::SeqCst);
        let lasts = self.tasks.lasts.swap(turn, Ordering::SeqCst) == turn;
        if lasts && self.interrupt_any_task() {
            Met::Code
        } else {
            Met::Later
        }
    }

    /// The owner thread looks for tasks to interrupt; no step of one runs.
    pub(crate) fn take_tasks(&self) -> Vec<u64> {
        if self.tasks.is_empty() {
            return Vec::new();
        }
        self.tasks.looks.fetch_add(1, Ordering::SeqCst);
        self.tasks.change(|wanted| {
            wanted.steps.clear();
            wanted.any_step = false;
            let tasks = std::mem::take(&mut wanted.by_loop);
            for known in &mut wanted.pursued {
                known.told |= tasks.contains(&known.task);
            }
            tasks
        })
    }

    /// Whether [`Self::take_tasks`] would find something.
    pub(crate) fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Says whether the owner thread has an event loop whose tasks have scopes.
    pub(crate) fn drive_tasks(&self, driven: bool) {
        self.tasks.driven.store(driven, Ordering::SeqCst);
    }

    /// Whether it has.
    pub(crate) fn drives_tasks(&self) -> bool {
        self.tasks.are_driven()
    }
}
