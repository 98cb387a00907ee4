//! The functions of the Erlang module `py_nif`: decode, guard, hand on. They give symbolic reasons; words
//! for people are made in Erlang.

#[macro_use]
mod plain;

mod birth;
mod call;
mod callback;
mod context;
mod event_loop;
mod inline;
mod many;
mod output;
mod permit;
mod reactor;
mod resources;
mod runtime;
mod sandbox;
mod state;
mod stream;
mod watch;

use crate::beam::{Shared, atoms};
use crate::interp::{Context, registry};
use crate::term::ObjectRef;
pub(crate) use resources::Handle;
use rustler::{Env, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Called by the emulator when an instance of the module loads the library. Nothing is started here: a library that
/// fails to load would keep an embedded release from booting. `info` is whether the emulator makes large maps on any
/// thread.
///
/// The library itself stays once it was loaded, so that later instances, which exist where the module was deleted and
/// loaded again, find all as it was. The contexts of the first one end.
pub(crate) fn load(env: Env, info: Term) -> bool {
    static LOADED: AtomicBool = AtomicBool::new(false);
    atoms();
    crate::runtime::hear_of_halt(env);
    if LOADED.load(Ordering::SeqCst) {
        crate::runtime::module_was_unloaded();
        return true;
    }
    if crate::runtime::pin_this_library().is_err()
        || !resources::open(env)
        || !crate::beam::open_watched(env)
    {
        return false;
    }
    if info.decode().unwrap_or(false) {
        crate::beam::allow_large_maps();
    }
    LOADED.store(true, Ordering::SeqCst);
    true
}

/// An atom or another immediate as a term.
fn word(env: Env<'_>, word: crate::beam::Word) -> Term<'_> {
    // SAFETY: immediates live in every environment.
    unsafe { Term::new(env, word) }
}

/// `{error, Reason}`.
fn error<'a>(env: Env<'a>, reason: Term<'a>) -> Term<'a> {
    rustler::types::tuple::make_tuple(env, &[word(env, atoms().error), reason])
}

fn not_running(env: Env<'_>) -> Term<'_> {
    error(env, word(env, atoms().not_running))
}

/// `{error, {context_died, Reason}}`.
fn context_died(env: Env<'_>, reason: crate::beam::Word) -> Term<'_> {
    let died = [word(env, atoms().context_died), word(env, reason)];
    error(env, rustler::types::tuple::make_tuple(env, &died))
}

/// The context that a handle or a pid names, or the answer to give instead.
fn target<'a>(env: Env<'a>, term: Term<'a>) -> Result<Arc<Context>, Term<'a>> {
    crate::runtime::may_end_here();
    if !crate::runtime::is_running() {
        return Err(not_running(env));
    }
    let known = atoms();
    if let Ok(pid) = term.decode::<rustler::LocalPid>() {
        let pid = crate::beam::Pid::new(pid);
        return registry()
            .by_pid(pid.word())
            .ok_or_else(|| context_died(env, known.noproc));
    }
    if let Ok(handle) = term.decode::<Shared<Handle>>() {
        return Ok(handle.0.clone());
    }
    if let Ok(object) = term.decode::<Shared<ObjectRef>>() {
        return registry()
            .by_serial(object.context)
            .filter(|context| !context.mailbox.is_closed())
            .ok_or_else(|| error(env, word(env, known.stale_reference)));
    }
    if term.is_ref() {
        // The copy of a reference that nobody on this node refers to any more.
        return Err(error(env, word(env, known.stale_reference)));
    }
    if term.is_pid() {
        // Erlang asks the node of a pid that is not local; this one is of an earlier life of this node.
        return Err(context_died(env, known.noproc));
    }
    // A handle that has come back from another node after its context had gone.
    Err(error(env, word(env, known.stale_reference)))
}
