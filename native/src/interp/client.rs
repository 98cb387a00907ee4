//! A process as one context knows it: made at its first request, gone when the process ends.

use super::queue::Queue;
use super::{Context, permit, registry};
use crate::beam::{Env, Pid, Shared};
use py_core::tally::Tally;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One process and one context. It carries the only monitor that the context needs for the process.
pub(crate) struct Client {
    /// Names the process's namespace in the context.
    pub(crate) id: u64,
    pub(crate) pid: Pid,
    /// The serial of the context.
    pub(crate) context: u64,
    /// What its waiting requests hold, where queues or permits are bounded.
    pub(super) tally: Tally,
    queue: Queue,
    dead: AtomicBool,
}

impl Client {
    /// A client that is monitored from now on. `env` is the calling NIF's, `None` on threads of our own.
    pub(crate) fn monitored(env: Option<Env>, pid: Pid, context: &Context) -> Shared<Self> {
        let client = Shared::new(Self {
            id: Self::next_id(),
            pid,
            context: context.serial,
            tally: Tally::new(),
            queue: context.queue.clone(),
            dead: AtomicBool::new(false),
        });
        if !client.monitor(env, &pid) {
            client.end();
        }
        client
    }

    /// A number that no other namespace of this node has.
    pub(super) fn next_id() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether the process has ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Marks it dead; what its waiting requests hold is free again.
    fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
        let (places, permits) = self.tally.end();
        self.queue.leave(places);
        permit::give_back(permits);
    }

    /// The process has ended. Runs on a scheduler, so it only marks and enqueues.
    pub(crate) fn down(&self) {
        self.end();
        if let Some(context) = registry().by_serial(self.context) {
            context.client_down(self);
        }
    }
}
