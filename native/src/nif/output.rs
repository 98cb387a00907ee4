//! What `py_output` says of the output that it was given, and what `py_logging` says of levels.

use super::resources::Handle;
use super::word;
use crate::beam::{Pid, Shared, atoms};
use crate::interp::output::levels;
use rustler::{Env, Term};

/// `output_accepted(Handle, Request, Items, Bytes) -> ok`: so much of a request, 0 for none, is where it should go, or
/// lost.
#[rustler::nif]
fn output_accepted(
    env: Env<'_>,
    handle: Shared<Handle>,
    request: u64,
    items: usize,
    bytes: usize,
) -> Term<'_> {
    handle.0.output_accepted(env, request, items, bytes);
    word(env, atoms().ok)
}

/// `output_lost(Handle) -> ok`: nobody knows any more of what was on the way.
#[rustler::nif]
fn output_lost(env: Env<'_>, handle: Shared<Handle>) -> Term<'_> {
    handle.0.output_lost(env);
    word(env, atoms().ok)
}

/// `log_open() -> ok`: the calling process gets `py_levels` from now on, and calls `log_levels` then.
#[rustler::nif]
fn log_open(env: Env<'_>) -> Term<'_> {
    levels::open(Pid::new(env.pid()));
    word(env, atoms().ok)
}

/// `log_levels(Primary, [{Module, Level}]) -> ok`, levels being numbers.
#[rustler::nif]
fn log_levels(env: Env<'_>, primary: i64, modules: Vec<(String, i64)>) -> Term<'_> {
    levels::set(primary, modules);
    word(env, atoms().ok)
}

/// `log_set_up(Level, Format | none) -> ok`: for all interpreters, `Level` being Python's number.
#[rustler::nif]
fn log_set_up<'a>(env: Env<'a>, level: i64, format: Term<'a>) -> Term<'a> {
    levels::set_up(level, format.decode().ok());
    word(env, atoms().ok)
}
