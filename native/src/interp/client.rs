//! A process as one context knows it: made at its first request, gone when the process ends.

use super::registry;
use crate::beam::{Env, Pid, Shared};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One process and one context. It carries the only monitor that the context needs for the process.
pub(crate) struct Client {
    /// Names the process's namespace in the context.
    pub(crate) id: u64,
    pub(crate) pid: Pid,
    /// The serial of the context.
    pub(crate) context: u64,
    dead: AtomicBool,
}

impl Client {
    /// A client that is monitored from now on. `env` is the calling NIF's, `None` on threads of our own.
    pub(crate) fn monitored(env: Option<Env>, pid: Pid, context: u64) -> Shared<Self> {
        let client = Shared::new(Self {
            id: Self::next_id(),
            pid,
            context,
            dead: AtomicBool::new(false),
        });
        if client.monitor(env, &pid.local()).is_none() {
            client.dead.store(true, Ordering::SeqCst);
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

    /// The process has ended. Runs on a scheduler, so it only marks and enqueues.
    pub(crate) fn down(&self) {
        self.dead.store(true, Ordering::SeqCst);
        if let Some(context) = registry().by_serial(self.context) {
            context.client_down(self);
        }
    }
}
