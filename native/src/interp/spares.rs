//! Recycled interpreters below CPython 3.14: each waits with its thread for another context with the same policy.

use super::{COUNTERS, Context, Counters};
use crate::sandbox::Policy;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;

/// Contexts that were given a spare, in the order of the asking, and the policies of the spares that wait for one.
struct Waiting {
    idle: Vec<Arc<Policy>>,
    assigned: Vec<Arc<Context>>,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    idle: Vec::new(),
    assigned: Vec::new(),
});
static ASSIGNED: Condvar = Condvar::new();

/// The calling owner thread becomes a spare until a context is assigned. Whenever there is something to do for
/// its interpreter meanwhile, which [`look_again`] calls for, it does that.
pub(super) fn wait_as_spare(
    policy: &Arc<Policy>,
    is_needed: impl Fn() -> bool,
    mut work: impl FnMut(),
) -> Arc<Context> {
    Counters::up(&COUNTERS.spares);
    let mut waiting = WAITING.lock();
    waiting.idle.push(policy.clone());
    let context = loop {
        let fitting = |context: &Arc<Context>| context.guard.policy == *policy;
        if let Some(place) = waiting.assigned.iter().position(fitting) {
            break waiting.assigned.swap_remove(place);
        }
        if is_needed() {
            MutexGuard::unlocked(&mut waiting, &mut work);
            continue;
        }
        ASSIGNED.wait(&mut waiting);
    };
    drop(waiting);
    Counters::down(&COUNTERS.spares);
    context
}

/// Lets the spares look whether there is something to do. May be called on any thread.
pub(super) fn look_again() {
    // Under the lock, so that a spare has either seen the need, or waits already.
    let _waiting = WAITING.lock();
    ASSIGNED.notify_all();
}

/// Gives the context to a spare; `false` when there is none.
pub(super) fn assign(context: &Arc<Context>) -> bool {
    let mut waiting = WAITING.lock();
    let fitting = |policy: &Arc<Policy>| *policy == context.guard.policy;
    let Some(place) = waiting.idle.iter().position(fitting) else {
        return false;
    };
    waiting.idle.swap_remove(place);
    waiting.assigned.push(context.clone());
    // It may be any of those that wait.
    ASSIGNED.notify_all();
    true
}
