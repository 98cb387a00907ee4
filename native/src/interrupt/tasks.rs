//! Interrupting tasks. First the event loop is told, which cancels them where they wait; code of theirs that does not
//! come back to the loop for long is interrupted by an exception.

use super::{Interrupts, Met};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Default)]
struct Wanted {
    /// The event loop has not been told yet.
    by_loop: Vec<u64>,
    /// Their code, if it runs.
    steps: Vec<u64>,
    /// Whatever task's code runs.
    any_step: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tasks {
    wanted: Mutex<Wanted>,
    /// How many entries there are, so that a loop may look without a lock.
    count: AtomicUsize,
    /// The interpreter has come to a safe point since somebody asked.
    seen: AtomicBool,
    /// The owner thread runs an event loop whose tasks have scopes.
    driven: AtomicBool,
}

impl Tasks {
    fn change<T>(&self, change: impl FnOnce(&mut Wanted) -> T) -> T {
        let mut wanted = self.wanted.lock();
        let result = change(&mut wanted);
        let count = wanted.by_loop.len() + wanted.steps.len() + usize::from(wanted.any_step);
        self.count.store(count, Ordering::SeqCst);
        result
    }

    pub(super) fn interrupt(&self, task: u64) {
        self.change(|wanted| {
            if !wanted.by_loop.contains(&task) {
                wanted.by_loop.push(task);
            }
        });
    }

    /// Whether code of this scope is to end.
    pub(super) fn wants(&self, scope: i64) -> bool {
        let task = scope.cast_unsigned();
        scope > 0 && self.count.load(Ordering::SeqCst) > 0 && {
            let wanted = self.wanted.lock();
            wanted.any_step || wanted.by_loop.contains(&task) || wanted.steps.contains(&task)
        }
    }

    /// As [`Self::wants`]; the caller ends the code.
    pub(super) fn take(&self, scope: i64) -> bool {
        let task = scope.cast_unsigned();
        self.wants(scope)
            && self.change(|wanted| {
                let before = (wanted.by_loop.len(), wanted.steps.len(), wanted.any_step);
                wanted.by_loop.retain(|&one| one != task);
                wanted.steps.retain(|&one| one != task);
                wanted.any_step = false;
                before != (wanted.by_loop.len(), wanted.steps.len(), wanted.any_step)
            })
    }

    /// The thread runs code of this scope: whether that is to end. No other step runs.
    pub(super) fn met(&self, scope: i64) -> bool {
        self.seen.store(true, Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        self.change(|wanted| {
            let task = scope.cast_unsigned();
            let ends = scope > 0 && (wanted.any_step || wanted.steps.contains(&task));
            wanted.steps.clear();
            wanted.any_step &= scope < 0;
            if ends {
                wanted.by_loop.retain(|&one| one != task);
            }
            ends
        })
    }

    /// Whether code is to end that a task may run now.
    pub(super) fn wants_step(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && {
            let wanted = self.wanted.lock();
            wanted.any_step || !wanted.steps.is_empty()
        }
    }

    pub(super) fn are_driven(&self) -> bool {
        self.driven.load(Ordering::SeqCst)
    }
}

impl Interrupts {
    /// Interrupts a task: its code, if that runs now, or else where it waits, which the event loop is told when it looks.
    pub(crate) fn interrupt_task(self: &Arc<Self>, task: u64) {
        let gate = self.gate.lock();
        if let Some(target) = gate.as_ref() {
            self.tasks.interrupt(task);
            self.woken.notify_all();
            self.post(target);
        }
    }

    /// A task that was interrupted has not ended. [`Met::Later`]: it, or the loop, has heard of it.
    pub(crate) fn interrupt_task_again(self: &Arc<Self>, task: u64) -> Met {
        let gate = self.gate.lock();
        let Some(target) = gate.as_ref() else {
            return Met::Nothing;
        };
        let seen = self.tasks.seen.swap(false, Ordering::SeqCst);
        // A thread that sleeps in its loop runs no step.
        if self.asleep.load(Ordering::SeqCst) {
            self.tasks.change(|wanted| wanted.steps.clear());
            return Met::Later;
        }
        let waits = self.tasks.change(|wanted| {
            let waits = wanted.by_loop.contains(&task) || wanted.steps.contains(&task);
            if !wanted.steps.contains(&task) {
                wanted.steps.push(task);
            }
            waits
        });
        self.woken.notify_all();
        self.post(target);
        if waits && !seen {
            Met::Code
        } else {
            Met::Later
        }
    }

    /// Interrupts whatever task's code runs. `false`: none does, or no loop is driven.
    pub(crate) fn interrupt_any_task(self: &Arc<Self>) -> bool {
        let gate = self.gate.lock();
        let Some(target) = gate.as_ref() else {
            return false;
        };
        if !self.tasks.are_driven() || self.asleep.load(Ordering::SeqCst) {
            return false;
        }
        self.tasks.change(|wanted| wanted.any_step = true);
        self.post(target);
        true
    }

    /// The owner thread looks for tasks to interrupt; no step of one runs.
    pub(crate) fn take_tasks(&self) -> Vec<u64> {
        if self.tasks.count.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        self.tasks.seen.store(true, Ordering::SeqCst);
        self.tasks.change(|wanted| {
            wanted.steps.clear();
            wanted.any_step = false;
            std::mem::take(&mut wanted.by_loop)
        })
    }

    /// Whether [`Self::take_tasks`] would find something.
    pub(crate) fn has_tasks(&self) -> bool {
        self.tasks.count.load(Ordering::SeqCst) > 0
    }

    /// Says whether the owner thread has an event loop whose tasks have scopes.
    pub(crate) fn drive_tasks(&self, driven: bool) {
        self.tasks.driven.store(driven, Ordering::SeqCst);
    }
}
