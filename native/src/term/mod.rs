//! Values between Erlang and Python. Nothing is ever lost or changed silently: what has no counterpart
//! is an exception that names it.
//!
//! Both directions keep what they are in the middle of on a list of their own, not on the stack of the
//! thread, so that the depth of a value costs memory and nothing else.

mod atoms;
mod from_erlang;
mod from_python;
mod held;
mod key_names;
mod options;
mod simplify;

pub(crate) use atoms::AtomNames;
pub(crate) use from_erlang::FromErlang;
pub(crate) use from_python::{FromPython, TooLarge};
pub(crate) use held::{Held, LentBytes, ObjectRef};
pub(crate) use key_names::KeyNames;
pub(crate) use options::Conversion;
pub(crate) use simplify::Simplifier;

use crate::py::{Python, Raised};

/// Containers may lie this deep in one another: a bound on memory for values that never end.
const DEEPEST: usize = 2_000_000;

fn too_deep(py: Python<'_>) -> Raised {
    Raised::recursion_error(py, "the value is nested too deeply to be converted")
}
