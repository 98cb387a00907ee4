//! Recycled interpreters below CPython 3.14: each waits with its thread for another context.

use super::{COUNTERS, Context, Counters};
use parking_lot::{Condvar, Mutex};
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

/// The calling owner thread becomes a spare until a context is assigned.
pub(super) fn wait_as_spare() -> Arc<Context> {
    Counters::up(&COUNTERS.spares);
    let mut waiting = WAITING.lock();
    waiting.idle += 1;
    let context = loop {
        if let Some(context) = waiting.assigned.pop() {
            break context;
        }
        ASSIGNED.wait(&mut waiting);
    };
    drop(waiting);
    Counters::down(&COUNTERS.spares);
    context
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
