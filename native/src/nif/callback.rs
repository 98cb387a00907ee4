//! Callbacks, as the processes that run them see them.

use super::call::{cancelled, consume_reductions};
use super::resources::Handle;
use super::word;
use crate::beam::{Pid, Shared, Word, atoms};
use crate::interp::callback::Finished;
use crate::interp::{Callback, callback};
use py_core::stopwatch::Stopwatch;
use rustler::{Env, Term};

fn known_or_expired(env: Env<'_>, wanted: bool) -> Term<'_> {
    let known = atoms();
    word(env, if wanted { known.ok } else { known.expired })
}

/// `callbacks_open() -> ok`: the calling process gets `{py_callback, Callback, Function, Args}` from now on, for
/// callbacks that no process waits for.
#[rustler::nif]
fn callbacks_open(env: Env<'_>) -> Term<'_> {
    callback::set_dispatcher(Pid::new(env.pid()));
    word(env, atoms().ok)
}

/// `callback_begin(Callback) -> ok | expired`: whether anybody waits for the function that a process is about to run.
#[rustler::nif]
fn callback_begin(env: Env<'_>, callback: Shared<Callback>) -> Term<'_> {
    known_or_expired(env, callback.is_wanted())
}

/// `callback_answer(Callback, Tag, Answer) -> ok | expired`: `Tag` is the reference that the caller waits with from
/// now on, or `none` when another process runs the function. `expired`: nobody wants it; the caller goes on waiting
/// with the reference that it has.
#[rustler::nif]
fn callback_answer<'a>(
    env: Env<'a>,
    callback: Shared<Callback>,
    tag: Term<'a>,
    answer: Term<'a>,
) -> Term<'a> {
    let started = Stopwatch::start();
    let renewed: Option<Word> = tag.is_ref().then(|| tag.as_c_arg());
    let wanted = callback.answer(renewed, answer.as_c_arg());
    consume_reductions(env, started);
    known_or_expired(env, wanted)
}

/// `callback_cancel(Callback)`: the caller takes its request back instead of answering; as `cancel(Request)`.
#[rustler::nif]
fn callback_cancel(env: Env<'_>, callback: Shared<Callback>) -> Term<'_> {
    let met = callback.cancel();
    let said = callback
        .request()
        .map_or(atoms().cancelled, |request| cancelled(request, met));
    word(env, said)
}

/// `function_known(Name, Known) -> ok`: whether Python finds the name in the module `erlang`.
#[rustler::nif]
fn function_known<'a>(env: Env<'a>, name: &str, known: bool) -> Term<'a> {
    callback::set_known(name, known);
    word(env, atoms().ok)
}

/// `relayed(Context, Count) -> ok`: so many messages of the context have gone to other nodes.
#[rustler::nif]
fn relayed(env: Env<'_>, handle: Shared<Handle>, count: usize) -> Term<'_> {
    handle.0.relay.leave(count);
    word(env, atoms().ok)
}

/// `callback_finish(Callback, Result) -> ok | expired | cast`: the value of a function that has taken the place of its
/// request, `{ok, Value}` or `{error, Reason}`, is the answer of that; nobody waits for those of casts.
#[rustler::nif]
fn callback_finish<'a>(env: Env<'a>, callback: Shared<Callback>, result: Term<'a>) -> Term<'a> {
    let started = Stopwatch::start();
    let known = atoms();
    let said = match callback.finish(env, result.as_c_arg()) {
        Finished::Answered => known.ok,
        Finished::Cast => known.cast,
        Finished::Unwanted => known.expired,
    };
    consume_reductions(env, started);
    word(env, said)
}
