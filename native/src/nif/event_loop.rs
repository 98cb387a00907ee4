//! Tasks of event loops, and what the process of a context does for the loop of its thread.

use super::resources::Handle;
use super::{call, target, word};
use crate::beam::{Shared, atoms};
use rustler::{Encoder, Env, Term};

/// `task(Target, Payload, Scope, Parent, Needs) -> Request | {error, Reason}`; answered by
/// `{async_result, Request, Result}`. `Needs` is `loop` where somebody must have started one, else `any`.
#[rustler::nif]
fn task<'a>(
    env: Env<'a>,
    at: Term<'a>,
    payload: Term<'a>,
    scope: Term<'a>,
    parent: Term<'a>,
    needs: Term<'a>,
) -> Term<'a> {
    if needs.as_c_arg() == atoms().loop_ {
        match target(env, at) {
            Ok(context) if context.is_loop_started() => {}
            Ok(_) => return super::error(env, word(env, atoms().no_loop)),
            Err(answer) => return answer,
        }
    }
    call::submit_task(env, at, payload, scope, parent)
}

/// `task_cast(Target, Payload, Scope) -> Request | {error, Reason}`; not answered.
#[rustler::nif]
fn task_cast<'a>(env: Env<'a>, at: Term<'a>, payload: Term<'a>, scope: Term<'a>) -> Term<'a> {
    call::submit_task_cast(env, at, payload, scope)
}

/// `loop_set(Target, Started) -> WasStarted | {error, Reason}`.
#[rustler::nif]
fn loop_set<'a>(env: Env<'a>, at: Term<'a>, started: bool) -> Term<'a> {
    match target(env, at) {
        Ok(context) => context.set_loop_started(started).encode(env),
        Err(answer) => answer,
    }
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
