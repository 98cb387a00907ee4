//! Answers for an event loop: a descriptor that becomes readable, and a list of what has come.

use super::record::{Callback, Reply};
use crate::beam::Shared;
use parking_lot::Mutex;
use py_core::event::Bell;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The answers for one event loop.
pub(super) struct Answers {
    /// The context whose owner thread runs the loop; none for the loops of other threads.
    context: Option<u64>,
    bell: Bell,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What is called and has no answer yet.
    expected: HashMap<u64, Shared<Callback>>,
    come: Vec<(u64, Reply)>,
}

fn all() -> &'static Mutex<HashMap<u64, Arc<Answers>>> {
    static ALL: OnceLock<Mutex<HashMap<u64, Arc<Answers>>>> = OnceLock::new();
    ALL.get_or_init(Mutex::default)
}

impl Answers {
    /// A handle, and the descriptor that becomes readable when answers have come.
    pub(super) fn open(context: Option<u64>) -> io::Result<(u64, i32)> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let bell = Bell::new()?;
        let descriptor = bell.descriptor();
        let answers = Arc::new(Self {
            context,
            bell,
            inner: Mutex::default(),
        });
        let handle = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        all().lock().insert(handle, answers);
        Ok((handle, descriptor))
    }

    pub(super) fn get(handle: u64) -> Option<Arc<Self>> {
        all().lock().get(&handle).cloned()
    }

    /// What is still expected is not wanted any more. The descriptors are closed when nobody is about to use them.
    pub(super) fn close(handle: u64) {
        let closed = all().lock().remove(&handle);
        if let Some(answers) = closed {
            let inner = std::mem::take(&mut *answers.inner.lock());
            for callback in inner.expected.values() {
                let _came_too_late = callback.give_up();
            }
        }
    }

    pub(super) fn expect(&self, number: u64, callback: &Shared<Callback>) {
        self.inner.lock().expected.insert(number, callback.clone());
    }

    /// The answer to a number is not wanted any more.
    pub(super) fn forget(&self, number: u64) {
        let mut inner = self.inner.lock();
        let callback = inner.expected.remove(&number);
        inner.come.retain(|(other, _)| *other != number);
        drop(inner);
        if let Some(callback) = callback {
            let _came_too_late = callback.give_up();
        }
    }

    /// May be called on any thread, schedulers included: it never waits.
    pub(super) fn came(&self, number: u64, reply: Reply) {
        let first = {
            let mut inner = self.inner.lock();
            if inner.expected.remove(&number).is_none() {
                return;
            }
            inner.come.push((number, reply));
            inner.come.len() == 1
        };
        if first {
            self.bell.ring();
        }
    }

    /// Takes what has come.
    pub(super) fn take(&self) -> Vec<(u64, Reply)> {
        let mut inner = self.inner.lock();
        self.bell.silence();
        std::mem::take(&mut inner.come)
    }
}

/// An event loop on the owner thread of a context that waits for its descriptors sees no interrupt: it shall look up.
pub(crate) fn wake_loops(context: u64) {
    let ours = |answers: &&Arc<Answers>| answers.context == Some(context);
    for answers in all().lock().values().filter(ours) {
        answers.bell.ring();
    }
}
