//! After a context: its interpreter ends, is recycled, or is set aside.
//!
//! | mode, version | what happens |
//! |---|---|
//! | own GIL, 3.14.1 and later | the interpreter ends with its thread |
//! | own GIL, before | it is cleaned and waits for another context, since ending it would leak or crash |
//! | worker | the thread state goes, the main interpreter stays |
//!
//! An interpreter with Python threads that do not end in time is set aside for good: ending it would take
//! the node down, and handing it out would give a stranger's threads to a new context.

use super::owner::Owner;
use super::spares::Sort;
use super::{COUNTERS, Context, Counters, Mode, Stage, Station, spares};
use crate::facts::facts;
use crate::interrupt::{evict_a_thread, let_sleep, wake_sleepers};
use crate::memory;
use crate::py::{Object, Python, Result, ThreadState, ffi};
use crate::sandbox;
use crate::term::Held;
use crate::tracing;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Stands for the serial of a context where there is none.
const NO_CONTEXT: u64 = 0;

/// How long threads may take to end after a context.
const GRACE: Duration = Duration::from_secs(2);

/// Ends or recycles. Gives everything back with the next context to serve, or ends the thread's work.
pub(super) fn retire(
    mut state: ThreadState,
    mut owner: Owner,
    context: &Arc<Context>,
) -> Option<(ThreadState, Owner, Arc<Context>)> {
    let reusable = {
        let attached = state.attach();
        finish_user_code(attached.python(), &mut owner, context)
    };
    let left = context
        .inline
        .as_ref()
        .is_none_or(|inline| inline.remove_seats());
    let alone = owner.mode == Mode::Worker || left && wait_until_alone(&mut state);
    let_sleep(owner.interpreter_id);
    context.recovered();
    let recycle = owner.mode == Mode::OwnGil && !facts().interpreters_end();
    if !alone || (recycle && !reusable) {
        // The thread state stays behind with the interpreter; neither is touched again.
        context.set_aside();
        context.end();
        return None;
    }
    if recycle {
        context.end();
        memory::keep_nothing();
        let following = wait_as_spare(&mut state, &owner.held, &context.sort());
        return Some((state, owner, following));
    }
    let lending = owner.mode == Mode::OwnGil && owner.held.is_lending();
    if lending {
        // The context has ended for everybody else.
        context.end();
        memory::keep_nothing();
        if !wait_until_returned(&mut state, &owner.held) {
            Counters::up(&COUNTERS.set_aside);
            return None;
        }
    }
    let held = owner.held.clone();
    {
        let attached = state.attach();
        owner.release(attached.python());
    }
    if discard(state, context.mode, || context.set_aside()) {
        held.ended();
    }
    if lending {
        tracing::leave();
    } else {
        context.end();
    }
    None
}

/// Waits until Erlang has dropped what the interpreter has lent: CPython frees the memory of an interpreter only
/// when nothing of it is in use. `true`: memory cannot be traced from now on. `false`: it is traced, so that the
/// interpreter must not be touched.
fn wait_until_returned(state: &mut ThreadState, held: &Held) -> bool {
    let bell = Arc::new((Mutex::new(false), Condvar::new()));
    let rope = bell.clone();
    held.serve(
        NO_CONTEXT,
        Arc::new(move || {
            *rope.0.lock() = true;
            rope.1.notify_one();
        }),
    );
    loop {
        if held.has_dropped() || !held.is_lending() {
            if !tracing::enter() {
                return false;
            }
            let attached = state.attach();
            held.release_dropped(attached.python(), NO_CONTEXT);
            drop(attached);
            if !held.is_lending() {
                held.serve_no_more(NO_CONTEXT);
                return true;
            }
            tracing::leave();
        }
        let mut rung = bell.0.lock();
        while !*rung {
            bell.1.wait(&mut rung);
        }
        *rung = false;
    }
}

/// Waits for another context. Bytes that Erlang has of the one before go meanwhile, which runs no code of users;
/// while memory is traced they wait for that context, too.
fn wait_as_spare(state: &mut ThreadState, held: &Held, sort: &Sort) -> Arc<Context> {
    held.serve(NO_CONTEXT, Arc::new(spares::look_again));
    let following = spares::wait_as_spare(
        sort,
        || held.has_dropped() && tracing::enter(),
        || {
            let attached = state.attach();
            held.release_dropped(attached.python(), NO_CONTEXT);
            drop(attached);
            tracing::leave();
        },
    );
    held.serve_no_more(NO_CONTEXT);
    following
}

/// Ends a thread state, and the interpreter with it where it has one of its own and that is safe. Says whether the
/// interpreter has ended.
pub(super) fn discard(mut state: ThreadState, mode: Mode, set_aside: impl FnOnce()) -> bool {
    match mode {
        Mode::Worker => state.delete(),
        // After a failed birth, `.pth` files may have left threads behind.
        Mode::OwnGil if facts().interpreters_end() && wait_until_alone(&mut state) => {
            memory::unregister();
            state.end_interpreter();
            memory::leave();
            return true;
        }
        Mode::OwnGil => set_aside(),
    }
    false
}

/// Drops what clients left behind and runs exit handlers, interrupted if that takes too long. Says whether the
/// interpreter may be handed out again.
fn finish_user_code(py: Python<'_>, owner: &mut Owner, context: &Arc<Context>) -> bool {
    // Threads that wait for Erlang are joined below.
    Station::leave(owner.interpreter_id, context);
    if let Some(holder) = memory::held() {
        holder.account.relax();
    }
    context.enter_unasked();
    owner.end_loop(py);
    owner.forget_continuations(py);
    owner.forget_batches(py);
    owner.forget_streams(py);
    owner.namespaces.clear(py);
    owner.held.release_of(py, context.serial);
    // The texts of the code go, too, so it cannot be used again.
    owner.code.clear(py);
    owner.modules.clear(py);
    let mut reusable = true;
    if owner.mode == Mode::OwnGil {
        wake_sleepers(owner.interpreter_id);
        reusable = match owner.finish(py) {
            // SAFETY: the address of an immortal object.
            Ok(answer) => answer.as_ptr() == unsafe { ffi::Py_True() },
            Err(raised) => {
                // An exit handler was interrupted or failed; it may have left anything behind.
                raised.clear(py);
                false
            }
        };
    }
    if let Some(inline) = &context.inline {
        inline.end();
        inline.clear_seats(py);
    }
    context.interrupts.leave(py);
    context.interrupts.close();
    owner.stage = None;
    Stage::close();
    reusable
}

impl Owner {
    /// Runs `erlang._boot.finish`: threads are asked to end and joined, exit handlers run.
    fn finish<'py>(&self, py: Python<'py>) -> Result<Object<'py>> {
        let recycle = !facts().interpreters_end();
        // SAFETY: attached; immortal objects.
        let recycle = unsafe {
            Object::borrowed(
                py,
                if recycle {
                    ffi::Py_True()
                } else {
                    ffi::Py_False()
                },
            )
        };
        self.boot.get(py).getattr_str("finish")?.call(&[&recycle])
    }

    /// Gives every reference back.
    pub(super) fn release(mut self, py: Python<'_>) {
        self.release_loop(py);
        self.release_streams(py);
        self.namespaces.clear(py);
        self.code.release(py);
        self.attributes.release(py);
        self.names.clear(py);
        self.keys.clear(py);
        self.modules.clear(py);
        self.simplifier.clear(py);
        if self.mode == Mode::OwnGil {
            self.held.end(py);
            if let Err(raised) = sandbox::restore_methods(py) {
                // Memory is short; the interpreter's own stays then.
                raised.clear(py);
            }
        }
        self.types.release(py);
        self.boot.release(py);
    }
}

/// Waits, within bounds, until the last Python thread has given up its thread state, which happens a moment
/// after it can be joined; threads that would stay are made to end.
fn wait_until_alone(state: &mut ThreadState) -> bool {
    let deadline = Instant::now() + GRACE / 2;
    while !state.is_alone() {
        if Instant::now() >= deadline {
            return false;
        }
        let _asked = evict_a_thread(state.interpreter());
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
