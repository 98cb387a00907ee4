//! Recycled interpreters below CPython 3.14: each waits with its thread for another context.

use super::{COUNTERS, Context, Counters};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;

/// Contexts that were given a spare, in the order of the asking, and how many spares wait.
struct Waiting {
    idle: usize,
    assigned: Vec<Arc<Context>>,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    idle: 0,
    assigned: Vec::new(),
});
static ASSIGNED: Condvar = Condvar::new();

/// The calling owner thread becomes a spare until a context is assigned. Whenever there is something to do for
/// its interpreter meanwhile, which [`look_again`] calls for, it does that.
pub(super) fn wait_as_spare(is_needed: impl Fn() -> bool, mut work: impl FnMut()) -> Arc<Context> {
    Counters::up(&COUNTERS.spares);
    let mut waiting = WAITING.lock();
    waiting.idle += 1;
    let context = loop {
        if let Some(context) = waiting.assigned.pop() {
            break context;
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
    if waiting.idle == 0 {
        return false;
    }
    waiting.idle -= 1;
    waiting.assigned.push(context.clone());
    ASSIGNED.notify_one();
    true
}
