//! The table of shared values, from Erlang's side.

use super::call::consume_reductions;
use super::{error, not_running, word};
use crate::beam::{TermEnv, atoms};
use crate::state::{self, Asked, Full, Key, NotAdded, Value};
use py_core::stopwatch::Stopwatch;
use rustler::{Binary, Decoder, Encoder, Env, NewBinary, Term};

fn running<'a>(env: Env<'a>, answer: impl FnOnce() -> Term<'a>) -> Term<'a> {
    if crate::runtime::is_running() {
        answer()
    } else {
        not_running(env)
    }
}

/// Runs `work` with a key.
fn with_key<T>(key: Term<'_>, work: impl FnOnce(Asked<'_>) -> T) -> T {
    match Binary::from_term(key) {
        Ok(bytes) => work(Asked::Bytes(&bytes)),
        // Hashed as the owner threads do.
        Err(_another) => work(Asked::Term(key.hash_internal(0), key.as_c_arg())),
    }
}

fn value<'a>(env: Env<'a>, value: &Value) -> Term<'a> {
    match value {
        Value::Integer(integer) => integer.encode(env),
        Value::Immediate(immediate) => word(env, *immediate),
        // SAFETY: the stored term is alive as long as the value; its copy lives in the environment.
        Value::Term(stored) => unsafe {
            Term::new(
                env,
                rustler::sys::enif_make_copy(env.as_c_arg(), stored.word()),
            )
        },
    }
}

fn stored(term: Term<'_>) -> Value {
    if let Ok(integer) = i64::decode(term) {
        return Value::Integer(integer);
    }
    if term.is_atom() {
        return Value::Immediate(term.as_c_arg());
    }
    let own = TermEnv::new();
    let copy = own.copy(term.as_c_arg());
    Value::of(own, copy).0
}

/// `{error, {state_full, Max}}`.
fn full<'a>(env: Env<'a>, full: &Full) -> Term<'a> {
    error(env, (word(env, atoms().state_full), full.0).encode(env))
}

/// `state_open(Max | infinity) -> ok`: the table is empty, and may have so many entries.
#[rustler::nif(schedule = "DirtyCpu")]
fn state_open<'a>(env: Env<'a>, most: Term<'a>) -> Term<'a> {
    state::open(usize::decode(most).unwrap_or(usize::MAX));
    word(env, atoms().ok)
}

/// `state_fetch(Key) -> {ok, Value} | {error, not_found | not_running}`.
#[rustler::nif]
fn state_fetch<'a>(env: Env<'a>, key: Term<'a>) -> Term<'a> {
    running(env, || match with_key(key, state::get) {
        Some(Value::Term(stored)) => {
            let started = Stopwatch::start();
            let copy = value(env, &Value::Term(stored));
            consume_reductions(env, started);
            (word(env, atoms().ok), copy).encode(env)
        }
        Some(small) => (word(env, atoms().ok), value(env, &small)).encode(env),
        None => error(env, word(env, atoms().not_found)),
    })
}

/// `state_store(Key, Value) -> ok | {error, {state_full, Max} | not_running}`.
#[rustler::nif]
fn state_store<'a>(env: Env<'a>, key: Term<'a>, term: Term<'a>) -> Term<'a> {
    running(env, || {
        let started = Stopwatch::start();
        let value = stored(term);
        let put = with_key(key, |key| state::put(key, value));
        consume_reductions(env, started);
        match put {
            Ok(()) => word(env, atoms().ok),
            Err(reason) => full(env, &reason),
        }
    })
}

/// `state_remove(Key) -> ok | {error, not_running}`.
#[rustler::nif]
fn state_remove<'a>(env: Env<'a>, key: Term<'a>) -> Term<'a> {
    running(env, || {
        let _was_there = with_key(key, state::remove);
        word(env, atoms().ok)
    })
}

/// `state_add(Key, Amount) -> Sum | {error, {state_full, Max} | not_an_integer | too_large | not_running}`.
#[rustler::nif]
fn state_add<'a>(env: Env<'a>, key: Term<'a>, amount: i64) -> Term<'a> {
    running(env, || match with_key(key, |key| state::add(key, amount)) {
        Ok(sum) => sum.encode(env),
        Err(NotAdded::Full(reason)) => full(env, &reason),
        Err(NotAdded::NoInteger) => error(env, word(env, atoms().not_an_integer)),
        Err(NotAdded::TooLarge) => error(env, word(env, atoms().too_large)),
    })
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

/// `state_keys() -> [Key] | {error, not_running}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn state_keys(env: Env<'_>) -> Term<'_> {
    running(env, || {
        let keys: Vec<_> = state::keys()
            .into_iter()
            .map(|key| match key {
                Key::Bytes(bytes) => binary(env, &bytes),
                Key::Term(_, stored) => value(env, &Value::Term(stored)),
            })
            .collect();
        keys.encode(env)
    })
}

/// `state_clear() -> ok | {error, not_running}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn state_clear(env: Env<'_>) -> Term<'_> {
    running(env, || {
        state::clear();
        word(env, atoms().ok)
    })
}

/// `state_counted() -> {Entries, Max | infinity} | {error, not_running}`.
#[rustler::nif]
fn state_counted(env: Env<'_>) -> Term<'_> {
    running(env, || {
        let (count, most) = state::counted();
        let most = match most {
            usize::MAX => word(env, atoms().infinity),
            most => most.encode(env),
        };
        (count, most).encode(env)
    })
}
