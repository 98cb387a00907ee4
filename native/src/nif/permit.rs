//! How many requests of this node may be in flight. All but `permits/0` are for the process `py_semaphore`, and
//! for the start of the application.

use super::{not_running, word};
use crate::beam::{Pid, atoms};
use crate::interp::permit;
use py_core::permits::UNBOUNDED;
use rustler::{Decoder, Encoder, Env, Term};

fn running<'a>(env: Env<'a>, answer: impl FnOnce() -> Term<'a>) -> Term<'a> {
    if crate::runtime::is_running() {
        answer()
    } else {
        not_running(env)
    }
}

/// `permits() -> {Current, Max | infinity} | {error, not_running}`.
#[rustler::nif]
fn permits(env: Env<'_>) -> Term<'_> {
    running(env, || {
        let (current, max) = permit::counted();
        let max = match max {
            UNBOUNDED => word(env, atoms().infinity),
            max => max.encode(env),
        };
        (current, max).encode(env)
    })
}

/// `permits_open() -> ok | {error, not_running}`: the calling process is told of permits that come free for those
/// who wait: `{py_permits, Count}`. It begins without any, and with nobody waiting.
#[rustler::nif]
fn permits_open(env: Env<'_>) -> Term<'_> {
    running(env, || {
        permit::open(Pid::new(env.pid()));
        word(env, atoms().ok)
    })
}

/// `permits_max(Max | infinity) -> Granted | {error, not_running}`: another bound. So many of those who wait have a
/// permit now.
#[rustler::nif]
fn permits_max<'a>(env: Env<'a>, max: Term<'a>) -> Term<'a> {
    running(env, || {
        permit::set_max(u32::decode(max).unwrap_or(UNBOUNDED)).encode(env)
    })
}

/// `permits_wait() -> Granted | {error, not_running}`: one more waits. So many of those who wait have a permit now.
#[rustler::nif]
fn permits_wait(env: Env<'_>) -> Term<'_> {
    running(env, || permit::wait().encode(env))
}

/// `permits_stop_waiting() -> boolean()`: one less waits; `false`: a permit is on its way.
#[rustler::nif]
fn permits_stop_waiting() -> bool {
    permit::stop_waiting()
}

/// `permits_release() -> ok`: one that was granted goes back.
#[rustler::nif]
fn permits_release(env: Env<'_>) -> Term<'_> {
    permit::release();
    word(env, atoms().ok)
}
