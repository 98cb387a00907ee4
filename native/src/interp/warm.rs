//! Interpreters that are made ahead, each on a thread that waits for a context: it then has nothing to make, only to serve.
//!
//! So many wait as the application asked for. When a context that has started leaves fewer, the reaper starts further
//! threads: its own are free of what a policy has done to a thread. A context is promised an interpreter as soon as one
//! is being made, since that is ready before any which is begun later. They are made for one policy, that of most contexts;
//! what contexts are given at birth beyond that, each gets when it is served.

use super::owner::{self, Owner};
use super::{Context, reaper, spares};
use crate::facts::{FREE_THREADED, facts};
use crate::py::ThreadState;
use crate::sandbox::Policy;
use crate::tracing;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::sync::Arc;

struct Warm {
    /// So many should wait, for contexts with this policy.
    wanted: usize,
    policy: Option<Arc<Policy>>,
    /// Those of the last start of the application; others are not wanted any more, where interpreters can be ended.
    generation: u64,
    /// Those that wait or are being made, and are promised to nobody.
    free: Vec<Kind>,
    /// Those that wait.
    ready: Vec<Kind>,
    promised: Vec<(Kind, Arc<Context>)>,
}

/// Interpreters of a kind are all the same.
#[derive(Clone, PartialEq, Eq)]
struct Kind {
    generation: u64,
    policy: Arc<Policy>,
}

static WARM: Mutex<Warm> = Mutex::new(Warm {
    wanted: 0,
    policy: None,
    generation: 0,
    free: Vec::new(),
    ready: Vec::new(),
    promised: Vec::new(),
});
static CHANGED: Condvar = Condvar::new();

impl Warm {
    fn take_promised(&mut self, kind: &Kind) -> Option<Arc<Context>> {
        let place = self.promised.iter().position(|(of, _)| of == kind)?;
        Some(self.promised.swap_remove(place).1)
    }

    /// What is wanted.
    fn kind(&self) -> Option<Kind> {
        Some(Kind {
            generation: self.generation,
            policy: self.policy.clone()?,
        })
    }

    /// The kind of one that is missing. One that was used before and waits again is as good, where there are such.
    fn missing(&self) -> Option<Kind> {
        let kind = self.kind()?;
        let made = self.free.iter().filter(|one| **one == kind).count();
        (made + spares::plain(&kind.policy) < self.wanted).then_some(kind)
    }

    /// One that is missing counts as being made from now on.
    fn begin_one(&mut self) -> Option<Kind> {
        let kind = self.missing()?;
        self.free.push(kind.clone());
        Some(kind)
    }
}

/// So many interpreters wait from now on for contexts with this policy. `None`: one where they can be ended, and none
/// where whatever is made stays for good.
pub(crate) fn open(wanted: Option<usize>, policy: Arc<Policy>) {
    let wanted = wanted.unwrap_or(usize::from(facts().interpreters_end()));
    renew(if FREE_THREADED { 0 } else { wanted }, Some(policy));
    top_up();
}

/// None waits any more, where interpreters can be ended; no further ones are made.
pub(crate) fn close() {
    renew(0, None);
}

fn renew(wanted: usize, policy: Option<Arc<Policy>>) {
    let mut warm = WARM.lock();
    warm.wanted = wanted;
    warm.policy = policy;
    if facts().interpreters_end() {
        warm.generation += 1;
        warm.free.clear();
        CHANGED.notify_all();
    }
}

/// How many should wait, and do.
pub(crate) fn counted() -> (usize, usize) {
    let warm = WARM.lock();
    let wanted = warm.kind();
    let ready = warm
        .ready
        .iter()
        .filter(|kind| Some(*kind) == wanted.as_ref());
    (warm.wanted, ready.count())
}

/// Promises one to the context; `false` when there is none.
pub(super) fn assign(context: &Arc<Context>) -> bool {
    let mut warm = WARM.lock();
    let fitting = |kind: &Kind| kind.policy == context.guard.policy;
    let Some(place) = warm.free.iter().position(fitting) else {
        return false;
    };
    let kind = warm.free.swap_remove(place);
    warm.promised.push((kind, context.clone()));
    CHANGED.notify_all();
    true
}

/// Has those made that are missing. May be called on any thread.
pub(super) fn top_up() {
    let missing = WARM.lock().missing();
    if missing.is_some() {
        reaper().fill_spares();
    }
}

/// Starts the threads that make them. For the reaper.
pub(super) fn fill() {
    while let Some(kind) = { WARM.lock().begin_one() } {
        let made = kind.clone();
        let started = std::thread::Builder::new()
            .name("py-spare".into())
            .stack_size(owner::STACK)
            .spawn(move || live(made));
        if started.is_err() {
            // When the next context has started it is tried again.
            given_up(&kind);
            return;
        }
    }
}

/// The thread makes its interpreter, and waits with it.
fn live(kind: Kind) {
    let made = {
        let _making = Making(&kind);
        make(&kind)
    };
    let Some((state, owner)) = made else {
        given_up(&kind);
        return;
    };
    match wait(&kind) {
        Some(context) => {
            name_after(&context);
            owner::serve_from(state, owner, context);
        }
        None => end(state, owner),
    }
}

fn make(kind: &Kind) -> Option<(ThreadState, Owner)> {
    // As for a context: memory is not traced meanwhile.
    if !tracing::enter() {
        return None;
    }
    let kept = Cell::new(false);
    let made = owner::make_spare(
        &kind.policy,
        || {
            let warm = WARM.lock();
            let is_promised = warm.promised.iter().any(|(of, _)| of == kind);
            !is_promised && is_stale(&warm, kind)
        },
        || {
            kept.set(true);
            owner::keep_spare();
        },
    );
    // Threads may go on in one that is kept.
    if !kept.get() {
        tracing::leave();
    }
    // Why it failed the next context will hear that starts by itself.
    made.ok()
}

fn is_stale(warm: &Warm, kind: &Kind) -> bool {
    facts().interpreters_end() && warm.generation != kind.generation
}

fn wait(kind: &Kind) -> Option<Arc<Context>> {
    let mut warm = WARM.lock();
    warm.ready.push(kind.clone());
    let context = loop {
        if let Some(context) = warm.take_promised(kind) {
            break Some(context);
        }
        if is_stale(&warm, kind) {
            break None;
        }
        CHANGED.wait(&mut warm);
    };
    if let Some(place) = warm.ready.iter().position(|one| one == kind) {
        warm.ready.swap_remove(place);
    }
    context
}

/// Nobody has used it, so nothing but its own thread is in it.
fn end(state: ThreadState, owner: Owner) {
    if tracing::enter() {
        owner::end_spare(state, owner);
        tracing::leave();
    } else {
        // It would free what was never traced.
        owner::keep_spare();
    }
}

/// One that was begun will not be. The context that it was promised to, if no other one is left for that, starts by
/// itself.
fn given_up(kind: &Kind) {
    let mut warm = WARM.lock();
    if let Some(place) = warm.free.iter().position(|one| one == kind) {
        warm.free.swap_remove(place);
        return;
    }
    let promised = warm.take_promised(kind);
    drop(warm);
    if let Some(context) = promised {
        owner::start_alone(&context);
    }
}

/// The thread is that of a context now.
fn name_after(context: &Context) {
    let name = format!("py-ctx-{}\0", context.serial);
    // SAFETY: the name ends with a zero and has fewer than 16 bytes, or is refused; both calls only copy it.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::pthread_setname_np(libc::pthread_self(), name.as_ptr().cast());
    }
    // SAFETY: as above.
    #[cfg(target_os = "macos")]
    unsafe {
        libc::pthread_setname_np(name.as_ptr().cast());
    }
}

/// A panic is told on standard error; the context that waits must not wait for ever.
struct Making<'k>(&'k Kind);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            owner::keep_spare();
            given_up(self.0);
        }
    }
}
