//! Recycled interpreters below CPython 3.14: each waits with its thread for another context of the same sort.

use super::{COUNTERS, Context, Counters};
use crate::sandbox::Policy;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;

/// What an interpreter and a context must have in common for one to be handed to the other.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sort {
    /// What code may do.
    pub(crate) policy: Arc<Policy>,
    /// What contexts are given at birth: an environment, paths, code; see `py_birth`. Only compared.
    pub(crate) birth: Arc<[u8]>,
}

/// Contexts that were given a spare, in the order of the asking, and the sorts of the spares that wait for one.
struct Waiting {
    idle: Vec<Sort>,
    /// With the sort that each was asked as; it may have become another one since.
    assigned: Vec<(Arc<Context>, Sort)>,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    idle: Vec::new(),
    assigned: Vec::new(),
});
static ASSIGNED: Condvar = Condvar::new();

/// The calling owner thread becomes a spare until a context is assigned. Whenever there is something to do for
/// its interpreter meanwhile, which [`look_again`] calls for, it does that.
pub(super) fn wait_as_spare(
    sort: &Sort,
    is_needed: impl Fn() -> bool,
    mut work: impl FnMut(),
) -> Arc<Context> {
    Counters::up(&COUNTERS.spares);
    let mut waiting = WAITING.lock();
    waiting.idle.push(sort.clone());
    let context = loop {
        let fitting = |(_, wanted): &(Arc<Context>, Sort)| wanted == sort;
        if let Some(place) = waiting.assigned.iter().position(fitting) {
            break waiting.assigned.swap_remove(place).0;
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
    let wanted = context.sort();
    let Some(place) = waiting.idle.iter().position(|sort| *sort == wanted) else {
        return false;
    };
    waiting.idle.swap_remove(place);
    waiting.assigned.push((context.clone(), wanted));
    // It may be any of those that wait.
    ASSIGNED.notify_all();
    true
}

/// How many wait for a context with this policy that is given nothing at birth.
pub(super) fn plain(policy: &Arc<Policy>) -> usize {
    let waiting = WAITING.lock();
    let plain = |sort: &&Sort| sort.birth.is_empty() && sort.policy == *policy;
    waiting.idle.iter().filter(plain).count()
}
