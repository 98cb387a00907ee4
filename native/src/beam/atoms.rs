//! The atoms that this library knows by name, and the making of new ones within a bound.

use super::{TermEnv, Word};
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
            let env = TermEnv::new();
            // An atom is an immediate word: it outlives the environment that it was made in.
            Atoms { $($name: make(env.raw(), $text)),* }
        }
    };
}

known_atoms! {
    ok = "ok", error = "error", true_ = "true", false_ = "false",
    exit = "exit", raised = "raised", tail = "tail", py_tail = "py_tail", cast = "cast", relay = "relay", deadlock = "deadlock", timeout = "timeout",
    calling = "calling", flush = "flush", expired = "expired",
    py_callback = "py_callback",
    none = "none", nil = "nil", undefined = "undefined",
    nan = "nan", infinity = "infinity", neg_infinity = "neg_infinity",
    call = "call", eval = "eval", exec = "exec", echo = "echo", bytes = "bytes",
    py_response = "py_response", async_result = "async_result", arm = "arm", readable = "readable", loop_failed = "loop_failed", py_context = "py_context", py_runtime = "py_runtime",
    py_permits = "py_permits",
    not_found = "not_found", state_full = "state_full", not_an_integer = "not_an_integer", too_large = "too_large",
    stream = "stream", collect = "collect", py_stream = "py_stream", data = "data",
    ready = "ready", failed = "failed", ended = "ended", stuck = "stuck", cast_failed = "cast_failed", handler_failed = "handler_failed", draining = "draining", not_reactor = "not_reactor", already_open = "already_open", empty = "empty", more = "more", closed = "closed", ebadf = "ebadf", emfile = "emfile", enfile = "enfile", einval = "einval", enomem = "enomem",
    interrupted = "interrupted", stop_iteration = "stop_iteration",
    context_died = "context_died", killed = "killed", unloaded = "unloaded", crashed = "crashed", noproc = "noproc", not_running = "not_running",
    not_supported = "not_supported",
    cancelled = "cancelled", sending = "sending", sent = "sent", not_owner = "not_owner",
    system_limit = "system_limit", overloaded = "overloaded", memory_traced = "memory_traced", stale_reference = "stale_reference",
    own = "own", memoryview = "memoryview", getattr = "getattr", call_method = "call_method", to_term = "to_term",
    atom = "atom", text = "text", existing_atom = "existing_atom", binary = "binary",
    owngil = "owngil", worker = "worker", memory_limit = "memory_limit", result_too_large = "result_too_large", starting = "starting",
    birth = "birth", settle = "settle", venv = "venv", imports = "imports", import = "import", preload = "preload", all = "all",
    allow = "allow", required = "required", best_effort = "best_effort", refused = "refused",
    notes = "notes", cause = "cause", context = "context", exceptions = "exceptions", syntax = "syntax",
    output = "output", output_dropped = "output_dropped", stdout = "stdout", stderr = "stderr", log = "log", discard = "discard", py_levels = "py_levels", process = "process",
    qualname = "qualname", frames = "frames", omitted = "omitted",
    idle = "idle", running = "running", waiting = "waiting", closing = "closing", gone = "gone", interrupts = "interrupts", traced = "traced",
    off = "off", first = "first", queued = "queued", busy = "busy", threads = "threads", not_loaded = "not_loaded", learning = "learning",
    inline_slow = "inline_slow", inline_limit = "inline_limit", learn = "learn", again = "again", mailbox = "mailbox", main = "__main__",
    call_many = "call_many", map = "map",
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

/// Atoms are never collected, so names that come from Python code may create only so many in the life of the node.
static MOST_CREATED: AtomicUsize = AtomicUsize::new(4096);
static CREATED: AtomicUsize = AtomicUsize::new(0);

/// Another bound; gives how many there are. Those beyond it stay.
pub(crate) fn bound_atoms(most: usize) -> usize {
    MOST_CREATED.store(most, Ordering::Relaxed);
    CREATED.load(Ordering::Relaxed)
}

pub(crate) fn atoms_created() -> usize {
    CREATED.load(Ordering::Relaxed)
}

/// An atom made of a name that Python chose.
pub(crate) enum Interned {
    Atom(Word),
    /// The bound is reached, or the name is no Latin-1 text of up to 255 characters.
    Refused,
}

/// Finds the atom of a Python name, or creates it while the bound allows.
pub(crate) fn intern(env: *mut ErlNifEnv, name: &str) -> Interned {
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
    if may_create() {
        Interned::Atom(make(env, name))
    } else {
        Interned::Refused
    }
}

/// The atom of a name of at most 255 characters; it is made only while the bound allows.
pub(crate) fn named_atom(env: &TermEnv, name: &str) -> Interned {
    if name.is_ascii() {
        return intern(env.raw(), name);
    }
    if let Some(atom) = existing_atom(env, name) {
        return Interned::Atom(atom);
    }
    match external(name).and_then(|bytes| may_create().then(|| env.of_external(&bytes)).flatten()) {
        Some(atom) => Interned::Atom(atom),
        None => Interned::Refused,
    }
}

/// The atom of a name, if there is one.
pub(crate) fn existing_atom(env: &TermEnv, name: &str) -> Option<Word> {
    if !name.is_ascii() {
        return env.of_external_safe(&external(name)?);
    }
    let mut atom = Word::default();
    // SAFETY: the environment is alive; ASCII is Latin-1.
    let exists = unsafe {
        enif_make_existing_atom_len(
            env.raw(),
            name.as_ptr().cast(),
            name.len(),
            &mut atom,
            ErlNifCharEncoding::ERL_NIF_LATIN1,
        )
    };
    (exists != 0).then_some(atom)
}

/// An atom in the external format (131, 118, two bytes of length, UTF-8), the one way into the emulator for
/// characters beyond Latin-1 that all supported releases have.
fn external(name: &str) -> Option<Vec<u8>> {
    if name.chars().count() > 255 {
        return None;
    }
    let length = u16::try_from(name.len()).ok()?;
    let mut bytes = vec![131, 118];
    bytes.extend(length.to_be_bytes());
    bytes.extend(name.as_bytes());
    Some(bytes)
}

fn may_create() -> bool {
    let most = MOST_CREATED.load(Ordering::Relaxed);
    CREATED
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |created| {
            (created < most).then_some(created + 1)
        })
        .is_ok()
}
