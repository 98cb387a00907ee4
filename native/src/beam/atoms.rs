//! The atoms that this library knows by name, and the making of new ones within a bound.

use super::Word;
use rustler::sys::{
    ErlNifCharEncoding, ErlNifEnv, enif_make_atom_len, enif_make_existing_atom_len,
};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

macro_rules! known_atoms {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// Every atom that is compared or sent, as words that are valid everywhere and for ever.
        pub(crate) struct Atoms { $(pub(crate) $name: Word),* }

        fn make_all() -> Atoms {
            let env = super::TermEnv::new();
            // An atom is an immediate word: it outlives the environment that it was made in.
            Atoms { $($name: make(env.raw(), $text)),* }
        }
    };
}

known_atoms! {
    ok = "ok", error = "error", true_ = "true", false_ = "false",
    none = "none", nil = "nil", undefined = "undefined",
    nan = "nan", infinity = "infinity", neg_infinity = "neg_infinity",
    call = "call", eval = "eval", exec = "exec", echo = "echo", bytes = "bytes",
    py_response = "py_response", py_context = "py_context", py_runtime = "py_runtime",
    ready = "ready", failed = "failed", ended = "ended", stuck = "stuck", cast_failed = "cast_failed",
    interrupted = "interrupted", stop_iteration = "stop_iteration",
    context_died = "context_died", killed = "killed", crashed = "crashed", noproc = "noproc", not_running = "not_running",
    not_supported = "not_supported", remote_context = "remote_context",
    cancelled = "cancelled", sending = "sending", sent = "sent", not_owner = "not_owner",
    system_limit = "system_limit", overloaded = "overloaded", stale_reference = "stale_reference",
    own = "own",
    owngil = "owngil", worker = "worker",
}

fn make(env: *mut ErlNifEnv, text: &str) -> Word {
    // SAFETY: the environment is alive and the text is Latin-1 of the given length.
    unsafe { enif_make_atom_len(env, text.as_ptr().cast(), text.len()) }
}

/// The known atoms.
pub(crate) fn atoms() -> &'static Atoms {
    static ATOMS: OnceLock<Atoms> = OnceLock::new();
    ATOMS.get_or_init(make_all)
}

/// Atoms are never collected, so names that come from Python code may create only so many.
const NEW_ATOMS: usize = 4096;

/// An atom made of a name that Python chose.
pub(crate) enum Interned {
    Atom(Word),
    /// The bound is reached, or the name is no Latin-1 text of up to 255 characters.
    Refused,
}

/// Finds the atom of a Python name, or creates it while the bound allows.
pub(crate) fn intern(env: *mut ErlNifEnv, name: &str) -> Interned {
    static CREATED: AtomicUsize = AtomicUsize::new(0);
    if !name.is_ascii() || name.len() > 255 {
        return Interned::Refused;
    }
    let mut atom = Word::default();
    // SAFETY: the environment is alive; ASCII is Latin-1.
    let exists = unsafe {
        enif_make_existing_atom_len(
            env,
            name.as_ptr().cast(),
            name.len(),
            &mut atom,
            ErlNifCharEncoding::ERL_NIF_LATIN1,
        )
    };
    if exists != 0 {
        return Interned::Atom(atom);
    }
    if CREATED.fetch_add(1, Ordering::Relaxed) >= NEW_ATOMS {
        CREATED.fetch_sub(1, Ordering::Relaxed);
        return Interned::Refused;
    }
    Interned::Atom(make(env, name))
}
