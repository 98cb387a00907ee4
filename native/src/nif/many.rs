//! Batches: their parts, and what has become of one that ended before its time.

use super::call::{Asked, consume_reductions, submitted};
use super::{error, word};
use crate::beam::{Shared, atoms};
use crate::interp::{Kind, Request};
use py_core::stopwatch::Stopwatch;
use rustler::{Env, Term};

/// `part(Target, Tag, Payload, Timeout) -> Request | {error, Reason}`; answered by `{Tag, Result}` or
/// `{Tag, Result, Story}`, for a process that waits for others as well. Callbacks go to processes of their own.
#[rustler::nif]
fn part<'a>(
    env: Env<'a>,
    at: Term<'a>,
    tag: Term<'a>,
    payload: Term<'a>,
    timeout: Term<'a>,
) -> Term<'a> {
    let own = word(env, atoms().own);
    let asked = Asked::plain(env, Kind::Forward, at, payload, own);
    submitted(env, &asked.answered_to(tag).within(timeout))
}

/// `so_far(Request, Reason) -> {ok, Results} | sent | {error, Reason}`: of a batch that was cancelled, the results that
/// were made, and the reason in place of the others; `sent` where its answer was sent; an error for other requests.
#[rustler::nif]
fn so_far<'a>(env: Env<'a>, request: Shared<Request>, reason: Term<'a>) -> Term<'a> {
    let started = Stopwatch::start();
    let Some((made, result)) = request.so_far(reason.as_c_arg()) else {
        return match request.has_sent_results() {
            true => word(env, atoms().sent),
            false => error(env, reason),
        };
    };
    // SAFETY: the term lives in `made`; its copy in the environment of the call.
    let result = unsafe { Term::new(env, rustler::sys::enif_make_copy(env.as_c_arg(), result)) };
    drop(made);
    consume_reductions(env, started);
    result
}
