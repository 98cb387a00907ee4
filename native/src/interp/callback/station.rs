//! What the threads of Python's own in one interpreter share: the contexts that are served there, and who waits.

use super::record::Callback;
use crate::beam::Shared;
use crate::interp::{Context, Mode};
use crate::term::Held;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// See the module.
pub(crate) struct Station {
    pub(super) held: Arc<Held>,
    /// Several in the main interpreter.
    contexts: Mutex<Vec<Arc<Context>>>,
    waiting: Mutex<Vec<Shared<Callback>>>,
}

fn stations() -> &'static RwLock<HashMap<i64, Arc<Station>>> {
    static STATIONS: OnceLock<RwLock<HashMap<i64, Arc<Station>>>> = OnceLock::new();
    STATIONS.get_or_init(RwLock::default)
}

impl Station {
    /// A context is served in an interpreter from now on.
    pub(crate) fn enter(interpreter: i64, held: &Arc<Held>, context: &Arc<Context>) {
        let station = stations()
            .write()
            .entry(interpreter)
            .or_insert_with(|| {
                Arc::new(Self {
                    held: held.clone(),
                    contexts: Mutex::default(),
                    waiting: Mutex::default(),
                })
            })
            .clone();
        station.contexts.lock().push(context.clone());
    }

    /// The context is served no longer. In an interpreter of its own, threads that wait for callbacks wait no more.
    pub(crate) fn leave(interpreter: i64, context: &Context) {
        let mut stations = stations().write();
        let Some(station) = stations.get(&interpreter).cloned() else {
            return;
        };
        let mut contexts = station.contexts.lock();
        contexts.retain(|other| other.serial != context.serial);
        if contexts.is_empty() {
            stations.remove(&interpreter);
        }
        drop(contexts);
        drop(stations);
        if context.mode == Mode::OwnGil {
            for callback in std::mem::take(&mut *station.waiting.lock()) {
                callback.release_thread();
            }
        }
    }

    pub(super) fn of(interpreter: i64) -> Option<Arc<Self>> {
        stations().read().get(&interpreter).cloned()
    }

    /// A context for a thread that belongs to none: the first that takes requests.
    pub(super) fn context(&self) -> Option<Arc<Context>> {
        let contexts = self.contexts.lock();
        contexts
            .iter()
            .find(|context| !context.mailbox.is_closed())
            .cloned()
    }

    /// Runs `wait` with the callback among those that are released when the context ends. `None`: it has ended.
    pub(super) fn waiting<T>(&self, callback: &Shared<Callback>, wait: impl FnOnce() -> T) -> T {
        self.waiting.lock().push(callback.clone());
        // It may have ended before.
        if self.contexts.lock().is_empty() {
            callback.release_thread();
        }
        let result = wait();
        self.waiting
            .lock()
            .retain(|other| !std::ptr::eq::<Callback>(&**other, &**callback));
        result
    }
}
