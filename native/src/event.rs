//! The one descriptor that the emulator watches for a context: a set that holds the set of the loop that sleeps.
//!
//! ```text
//! owner thread: about to sleep ──{arm}──▶ the context's process ──NIF──▶ enif_select
//!      ▲                                                                      │ something is ready
//!      └────────── wakes the thread ◀──NIF── the context's process ◀──{readable}
//! ```
//!
//! It stays armed while the thread is busy, which looks at its own set then; so a burst costs one message.

use crate::beam::{Env, Watched};
use parking_lot::Mutex;
use py_core::event::{PollSet, Poller, nest, unnest};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// What is in the root.
struct Nested {
    poller: Weak<Poller>,
    generation: u64,
    descriptor: RawFd,
}

/// See the module.
pub(crate) struct Root {
    watched: Watched,
    nested: Mutex<Option<Nested>>,
    armed: AtomicBool,
    readable: AtomicBool,
}

impl Root {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            watched: Watched::new(PollSet::new()?.into()),
            nested: Mutex::default(),
            armed: AtomicBool::new(false),
            readable: AtomicBool::new(false),
        })
    }

    /// The set of this loop is the one that the root stands for.
    pub(crate) fn stand_for(&self, poller: &Arc<Poller>) -> io::Result<()> {
        let mut nested = self.nested.lock();
        poller.with_set(|set, generation| {
            if nested.as_ref().is_some_and(|nested| {
                nested.generation == generation
                    && std::ptr::eq(nested.poller.as_ptr(), Arc::as_ptr(poller))
            }) {
                return Ok(());
            }
            let before = nested.take();
            let changed = self.watched.with(|root| {
                // A set that was closed has left the root by itself, and its number may be another's.
                if let Some(before) = before.filter(|before| {
                    let kept = before.poller.upgrade();
                    kept.is_some_and(|kept| kept.as_raw_fd() == before.descriptor)
                }) {
                    unnest(root, before.descriptor);
                }
                nest(root, set)
            });
            match changed {
                Some(Err(error)) => return Err(error),
                // The context's process has ended: nobody watches any more.
                None => return Ok(()),
                Some(Ok(())) => {}
            }
            *nested = Some(Nested {
                poller: Arc::downgrade(poller),
                generation,
                descriptor: set.as_raw_fd(),
            });
            Ok(())
        })
    }

    /// `true`: the context's process is to be asked to arm it, since it is not.
    pub(crate) fn wants_arming(&self) -> bool {
        !self.armed.swap(true, Ordering::SeqCst)
    }

    /// For the context's process.
    pub(crate) fn arm(&self, env: Env, message: rustler::Term) {
        self.watched.arm(env, message);
    }

    /// The context's process was told that something is ready.
    pub(crate) fn became_readable(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.readable.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.readable.load(Ordering::SeqCst)
    }

    /// The thread looks at its set now.
    pub(crate) fn seen(&self) {
        self.readable.store(false, Ordering::SeqCst);
    }

    /// For the owner thread: it serves no longer. A process that was killed has not said so.
    pub(crate) fn let_go(&self) {
        self.watched.let_go();
    }

    /// For the context's process: nobody waits any more.
    pub(crate) fn stop(&self, env: Env) {
        self.watched.stop(env);
    }
}
