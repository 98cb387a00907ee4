//! What contexts are given at birth, and later, by the node: see `py_birth`.

use super::call::{Asked, submitted};
use super::context::under;
use super::{target, word};
use crate::beam::atoms;
use crate::interp::{Kind, registry};
use rustler::{Binary, Encoder, Env, OwnedBinary, Term};
use std::sync::Arc;

/// `contexts() -> [{Pid, Birth}]`: those that have not closed, the ones that are starting among them.
#[rustler::nif]
fn contexts(env: Env<'_>) -> Vec<(Term<'_>, Term<'_>)> {
    let mut contexts = registry().all();
    contexts.retain(|context| !context.mailbox.is_closed());
    contexts
        .iter()
        .map(|context| {
            let birth = context.birth.lock().clone();
            (word(env, context.pid.word()), binary(env, &birth))
        })
        .collect()
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut copy = OwnedBinary::new(bytes.len());
    copy.as_mut_slice().copy_from_slice(bytes);
    Binary::from_owned(copy, env).encode(env)
}

/// `context_settle(Target, Birth, Folders) -> ok | {error, Reason}`: from now on it counts as one with that birth, and
/// modules come from these folders as well.
#[rustler::nif]
fn context_settle<'a>(
    env: Env<'a>,
    at: Term<'a>,
    birth: Binary<'a>,
    folders: Vec<Binary<'a>>,
) -> Term<'a> {
    match target(env, at) {
        Ok(context) => {
            *context.birth.lock() = Arc::from(birth.as_slice());
            context.guard.trust(under(&folders));
            word(env, atoms().ok)
        }
        Err(answer) => answer,
    }
}

/// `prepare(Target, Payload) -> Request | {error, Reason}`: as `spawn`, outside all bounds.
#[rustler::nif]
fn prepare<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>) -> Term<'a> {
    let own = word(env, atoms().own);
    submitted(
        env,
        &Asked::plain(env, Kind::Spawn, at, payload, own).unbounded(),
    )
}
