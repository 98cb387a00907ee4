//! What was refused to Python code.

use super::target;
use crate::sandbox;
use rustler::{Encoder, Env, Term};

/// `refusals() -> [{Name, Count}]`: in the node, of every kind that there was.
#[rustler::nif]
fn refusals() -> Vec<(&'static str, u64)> {
    sandbox::refused()
}

/// `context_refusals(Target) -> [{Name, Count}] | {error, Reason}`.
#[rustler::nif]
fn context_refusals<'a>(env: Env<'a>, at: Term<'a>) -> Term<'a> {
    match target(env, at) {
        Err(answer) => answer,
        Ok(context) => context.guard.refused().encode(env),
    }
}

/// `refusal_names() -> [Name]`: everything that may be refused.
#[rustler::nif]
fn refusal_names() -> Vec<&'static str> {
    sandbox::refusal_names().collect()
}
