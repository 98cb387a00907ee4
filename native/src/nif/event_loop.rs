//! Tasks of event loops, and what the process of a context does for the loop of its thread.

use super::call::{Asked, submitted};
use super::resources::Handle;
use super::word;
use crate::beam::{Shared, atoms};
use crate::interp::Kind;
use rustler::{Encoder, Env, Term};

/// `task(Target, Payload, Scope, Parent) -> Request | {error, Reason}`; answered by `{async_result, Request, Result}`.
#[rustler::nif]
fn task<'a>(
    env: Env<'a>,
    at: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
    parent: Term<'a>,
) -> Term<'a> {
    let asked = Asked::plain(env, Kind::Task, at, payload, scope);
    submitted(env, &asked.made_in(parent))
}

/// `run_task(Target, Ref, Payload, Scope, Parent) -> Request | {error, Reason}`; answered by `{Ref, Result}` or
/// `{Ref, Error, Story}`.
#[rustler::nif]
fn run_task<'a>(
    env: Env<'a>,
    at: Term<'a>,
    tag: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
    parent: Term<'a>,
) -> Term<'a> {
    let asked = Asked::plain(env, Kind::TaskForward, at, payload, scope);
    submitted(env, &asked.answered_to(tag).made_in(parent))
}

/// `task_cast(Target, Payload, Scope) -> Request | {error, Reason}`; not answered.
#[rustler::nif]
fn task_cast<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>, scope: Term<'a>) -> Term<'a> {
    submitted(env, &Asked::plain(env, Kind::TaskCast, at, payload, scope))
}

/// `loop_arm(Handle)`: the thread is about to sleep. The calling process gets `{py_context, Serial, readable}` when one
/// of its descriptors is ready.
#[rustler::nif]
fn loop_arm<'a>(env: Env<'a>, handle: Shared<Handle>) -> Term<'a> {
    if let Some(root) = handle.0.known_root() {
        let known = atoms();
        let message = [
            word(env, known.py_context),
            handle.0.serial.encode(env),
            word(env, known.readable),
        ];
        root.arm(env, rustler::types::tuple::make_tuple(env, &message));
    }
    word(env, atoms().ok)
}

/// `loop_ready(Handle)`: the message has come.
#[rustler::nif]
fn loop_ready<'a>(env: Env<'a>, handle: Shared<Handle>) -> Term<'a> {
    if let Some(root) = handle.0.known_root() {
        root.became_readable();
        handle.0.mailbox.wake();
    }
    word(env, atoms().ok)
}

/// `loop_end(Handle)`: the calling process ends, and with it the watching of descriptors.
#[rustler::nif]
fn loop_end<'a>(env: Env<'a>, handle: Shared<Handle>) -> Term<'a> {
    if let Some(root) = handle.0.known_root() {
        root.stop(env);
    }
    word(env, atoms().ok)
}
