//! The contexts of this node, by pid and by serial number.

use super::Context;
use crate::beam::{Word, WordMap};
use parking_lot::RwLock;
use std::sync::{Arc, OnceLock};

/// See [`registry`].
#[derive(Default)]
pub(crate) struct Registry {
    by_pid: RwLock<WordMap<Word, Arc<Context>>>,
    by_serial: RwLock<WordMap<u64, Arc<Context>>>,
}

impl Registry {
    pub(crate) fn add(&self, context: &Arc<Context>) {
        self.by_pid
            .write()
            .insert(context.pid.word(), context.clone());
        self.by_serial
            .write()
            .insert(context.serial, context.clone());
    }

    /// New requests no longer find it; those that it has still can be cancelled.
    pub(crate) fn hide(&self, context: &Context) {
        let mut by_pid = self.by_pid.write();
        if by_pid
            .get(&context.pid.word())
            .is_some_and(|found| found.serial == context.serial)
        {
            by_pid.remove(&context.pid.word());
        }
    }

    /// Forgets it altogether.
    pub(crate) fn remove(&self, context: &Context) {
        self.hide(context);
        self.by_serial.write().remove(&context.serial);
    }

    pub(crate) fn by_pid(&self, pid: Word) -> Option<Arc<Context>> {
        self.by_pid.read().get(&pid).cloned()
    }

    pub(crate) fn by_serial(&self, serial: u64) -> Option<Arc<Context>> {
        self.by_serial.read().get(&serial).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Context>> {
        self.by_serial.read().values().cloned().collect()
    }
}

/// The contexts of this node.
pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::default)
}
