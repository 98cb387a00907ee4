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
    /// What Erlang has dropped, with the serial of the context whose thread gives it back.
    dropped: Vec<(u64, Dropped)>,
    /// How many binaries lend the bytes at an address.
    lent: HashMap<usize, usize>,
    /// The contexts that run in the interpreter: several in the main one.
    serving: HashMap<u64, Serving>,
    life: Life,
}

/// Of the interpreter.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Life {
    #[default]
    Alive,
    /// Nothing can be given back to it any more, but it still has references of its own to what it lent.
    Ending,
    Ended,
}

/// A context that can be told of what was dropped.
struct Serving {
    wake: Wake,
    /// It was told, and has not come yet.
    told: bool,
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

impl Inner {
    /// One binary less lends these bytes. `true`: it was the last.
    fn no_longer_lent(&mut self, bytes: &Kept) -> bool {
        let address = bytes.as_ptr().addr();
        let Some(binaries) = self.lent.get_mut(&address) else {
            return false;
        };
        *binaries -= 1;
        let last = *binaries == 0;
        if last {
            self.lent.remove(&address);
        }
        last
    }

    /// After the interpreter has ended: frees what outlived it.
    fn free(&mut self, dropped: &Dropped) {
        if let Dropped::Bytes(bytes) = dropped
            && self.no_longer_lent(bytes)
        {
            // SAFETY: exact bytes of more than 512 bytes, allocated by `malloc` (see `Held::lend`), which no
            // interpreter and no other binary knows any more.
            unsafe { libc::free(bytes.as_ptr().cast()) };
        }
    }
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

    /// How to tell a context from now on that something was dropped.
    pub(crate) fn serve(&self, context: u64, wake: Wake) {
        let serving = Serving { wake, told: false };
        let before = self.0.lock().serving.insert(context, serving);
        drop(before);
    }

    /// The context cannot be told any more.
    pub(crate) fn serve_no_more(&self, context: u64) {
        let before = self.0.lock().serving.remove(&context);
        drop(before);
    }

    /// Whether Erlang has bytes of the interpreter.
    pub(crate) fn is_lending(&self) -> bool {
        !self.0.lock().lent.is_empty()
    }

    /// Whether there is something to give back.
    pub(crate) fn has_dropped(&self) -> bool {
        !self.0.lock().dropped.is_empty()
    }

    /// Gives back what Erlang has dropped of a context, on its thread, and what contexts that have ended left. Code of
    /// users (`__del__`) may run here.
    pub(crate) fn release_dropped(&self, py: Python<'_>, context: u64) {
        let released: Vec<Kept> = {
            let mut inner = self.0.lock();
            let inner = &mut *inner;
            if let Some(serving) = inner.serving.get_mut(&context) {
                serving.told = false;
            }
            let serving = &inner.serving;
            let mine = |of: &u64| *of == context || !serving.contains_key(of);
            let dropped: Vec<_> = inner.dropped.extract_if(.., |(of, _)| mine(of)).collect();
            let kept = dropped
                .into_iter()
                .filter_map(|(_, dropped)| match dropped {
                    Dropped::Object(id) => inner.objects.remove(&id).map(|held| held.object),
                    Dropped::Bytes(bytes) => {
                        let _last = inner.no_longer_lent(&bytes);
                        Some(bytes)
                    }
                });
            kept.collect()
        };
        for object in released {
            object.release(py);
        }
    }

    /// A context has ended, and with it the objects that it gave out.
    pub(crate) fn release_of(&self, py: Python<'_>, context: u64) {
        self.serve_no_more(context);
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
        self.release_dropped(py, context);
    }

    /// The interpreter is about to end.
    pub(crate) fn end(&self, py: Python<'_>) {
        loop {
            // No context is served here any more, so this is everything.
            self.release_dropped(py, 0);
            let mut inner = self.0.lock();
            if inner.dropped.is_empty() {
                inner.life = Life::Ending;
                return;
            }
        }
    }

    /// The interpreter has ended. Bytes that Erlang still has outlive it, since their memory is from `malloc`;
    /// whoever drops them frees them from now on.
    pub(crate) fn ended(&self) {
        let mut inner = self.0.lock();
        inner.life = Life::Ended;
        for (_, dropped) in std::mem::take(&mut inner.dropped) {
            inner.free(&dropped);
        }
    }

    /// May be called on any thread.
    fn drop_later(&self, context: u64, dropped: Dropped) {
        let mut inner = self.0.lock();
        if inner.life == Life::Ended {
            inner.free(&dropped);
            return;
        }
        inner.dropped.push((context, dropped));
        // What a context left that has ended is for any other.
        let of = if inner.serving.contains_key(&context) {
            Some(context)
        } else {
            inner.serving.keys().next().copied()
        };
        let serving = of.and_then(|of| inner.serving.get_mut(&of));
        let wake = serving.and_then(|serving| {
            let told = std::mem::replace(&mut serving.told, true);
            (!told).then(|| serving.wake.clone())
        });
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
    pub(crate) fn lend(
        self: &Arc<Self>,
        env: &TermEnv,
        context: u64,
        bytes: &Object<'_>,
    ) -> Option<Word> {
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
        let address = kept.as_ptr().addr();
        *self.0.lock().lent.entry(address).or_default() += 1;
        let owner = Shared::new(LentBytes {
            held: self.clone(),
            context,
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
        self.held.drop_later(self.context, Dropped::Object(self.id));
    }
}

/// What a lent binary keeps alive.
pub(crate) struct LentBytes {
    held: Arc<Held>,
    context: u64,
    bytes: Option<Kept>,
}

impl Drop for LentBytes {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.held.drop_later(self.context, Dropped::Bytes(bytes));
        }
    }
}
