//! Python objects that Erlang terms keep alive: references to objects, and binaries that lend their bytes.
//!
//! Erlang drops its terms on any thread and at any time, where no Python object may be touched. So a
//! destructor only leaves a note and wakes the interpreter, whose own thread then gives the reference back.

use crate::beam::{Shared, TermEnv, Word};
use crate::facts::FREE_THREADED;
use crate::py::{Kept, Object, Python, ffi};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// `bytes` from this size on are lent to Erlang instead of copied. Far above the 512 bytes up to which CPython
/// takes memory from arenas, which would go with the interpreter.
const LENT_FROM: usize = 64 << 10;

/// Tells an interpreter's thread something, from any thread and without waiting.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The objects of one interpreter that Erlang keeps alive.
///
/// Under the lock nothing is released and nobody is woken: either may drop terms, which comes back here.
#[derive(Default)]
pub(crate) struct Held(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    objects: HashMap<u64, HeldObject>,
    last: u64,
    dropped: Vec<Dropped>,
    /// Tells the interpreter's thread to look at what was dropped.
    wake: Option<Wake>,
    ended: bool,
}

struct HeldObject {
    /// The serial of the context that gave it out, and with which it goes.
    context: u64,
    object: Kept,
}

enum Dropped {
    Object(u64),
    Bytes(Kept),
}

/// Why a reference gives no object.
pub(crate) enum Unusable {
    /// The object is gone with its context.
    Stale,
    /// The object belongs to another interpreter.
    Foreign,
}

impl Held {
    /// Those of the main interpreter, which the contexts of mode `worker` share.
    pub(crate) fn of_main() -> Arc<Self> {
        static MAIN: OnceLock<Arc<Held>> = OnceLock::new();
        MAIN.get_or_init(Arc::default).clone()
    }

    /// How to tell the interpreter's thread from now on that something was dropped.
    pub(crate) fn wake_by(&self, wake: Wake) {
        let before = self.0.lock().wake.replace(wake);
        drop(before);
    }

    /// Gives back what Erlang has dropped. User code (`__del__`) may run here.
    pub(crate) fn release_dropped(&self, py: Python<'_>) {
        let released: Vec<Kept> = {
            let mut inner = self.0.lock();
            let dropped = std::mem::take(&mut inner.dropped);
            let kept = dropped.into_iter().filter_map(|dropped| match dropped {
                Dropped::Object(id) => inner.objects.remove(&id).map(|held| held.object),
                Dropped::Bytes(bytes) => Some(bytes),
            });
            kept.collect()
        };
        for object in released {
            object.release(py);
        }
    }

    /// A context has ended, and with it the objects that it gave out.
    pub(crate) fn release_of(&self, py: Python<'_>, context: u64) {
        let released: Vec<HeldObject> = {
            let mut inner = self.0.lock();
            let gone = inner
                .objects
                .extract_if(|_, held| held.context == context)
                .map(|(_, held)| held);
            gone.collect()
        };
        for held in released {
            held.object.release(py);
        }
        self.release_dropped(py);
    }

    /// The interpreter is about to end. Bytes that Erlang still has outlive it, since their memory is from
    /// `malloc`; whoever drops them frees them.
    pub(crate) fn end(&self, py: Python<'_>) {
        loop {
            self.release_dropped(py);
            let mut inner = self.0.lock();
            if inner.dropped.is_empty() {
                inner.ended = true;
                let wake = inner.wake.take();
                drop(inner);
                drop(wake);
                return;
            }
        }
    }

    /// May be called on any thread.
    fn drop_later(&self, dropped: Dropped) {
        let mut inner = self.0.lock();
        if inner.ended {
            drop(inner);
            if let Dropped::Bytes(bytes) = dropped {
                // SAFETY: exact bytes of more than 512 bytes, allocated by `malloc` (see `lend`), which no
                // interpreter knows any more.
                unsafe { libc::free(bytes.as_ptr().cast()) };
            }
            return;
        }
        let first = inner.dropped.is_empty();
        inner.dropped.push(dropped);
        let wake = if first { inner.wake.clone() } else { None };
        drop(inner);
        if let Some(wake) = wake {
            wake();
        }
    }

    fn object<'py>(&self, py: Python<'py>, id: u64) -> Option<Object<'py>> {
        let inner = self.0.lock();
        inner.objects.get(&id).map(|held| held.object.get(py))
    }

    /// A term that refers to an object, for a context with this serial.
    pub(crate) fn refer(self: &Arc<Self>, env: &TermEnv, context: u64, object: Object<'_>) -> Word {
        let id = {
            let mut inner = self.0.lock();
            inner.last += 1;
            let id = inner.last;
            let object = object.keep();
            inner.objects.insert(id, HeldObject { context, object });
            id
        };
        env.shared(&Shared::new(ObjectRef {
            held: self.clone(),
            context,
            id,
        }))
    }

    /// A binary of a bytes object's own memory; `None` when copying it is better.
    pub(crate) fn lend(self: &Arc<Self>, env: &TermEnv, bytes: &Object<'_>) -> Option<Word> {
        // Without a GIL memory is not from `malloc`.
        if FREE_THREADED {
            return None;
        }
        // SAFETY: attached; exact bytes, which never change.
        let slice = unsafe {
            let size = ffi::PyBytes_Size(bytes.as_ptr()).cast_unsigned();
            let data = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
            std::slice::from_raw_parts(data, size)
        };
        if slice.len() < LENT_FROM {
            return None;
        }
        // SAFETY: attached; a second reference, which the binary owns.
        let kept = unsafe { Object::borrowed(bytes.py(), bytes.as_ptr()) }.keep();
        let owner = Shared::new(LentBytes {
            held: self.clone(),
            bytes: Some(kept),
        });
        // SAFETY: the bytes live as long as the reference that `owner` holds.
        Some(unsafe { env.lent_binary(&owner, slice) })
    }
}

/// What Erlang's reference to an object stands for.
pub(crate) struct ObjectRef {
    held: Arc<Held>,
    /// The serial of the context that gave it out.
    pub(crate) context: u64,
    id: u64,
}

impl ObjectRef {
    /// The object, in the interpreter whose objects `here` are.
    pub(crate) fn get<'py>(
        &self,
        py: Python<'py>,
        here: &Arc<Held>,
    ) -> Result<Object<'py>, Unusable> {
        if Arc::ptr_eq(&self.held, here) {
            return self.held.object(py, self.id).ok_or(Unusable::Stale);
        }
        let alive = self.held.0.lock().objects.contains_key(&self.id);
        Err(if alive {
            Unusable::Foreign
        } else {
            Unusable::Stale
        })
    }
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        self.held.drop_later(Dropped::Object(self.id));
    }
}

/// What a lent binary keeps alive.
pub(crate) struct LentBytes {
    held: Arc<Held>,
    bytes: Option<Kept>,
}

impl Drop for LentBytes {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.held.drop_later(Dropped::Bytes(bytes));
        }
    }
}
