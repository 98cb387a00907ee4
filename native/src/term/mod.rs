//! Values between Erlang and Python. Nothing is ever lost or changed silently: what has no counterpart
//! is an exception that names it.

mod atoms;
mod from_erlang;
mod from_python;

pub(crate) use atoms::AtomNames;
pub(crate) use from_erlang::FromErlang;
pub(crate) use from_python::FromPython;

use crate::py::{Python, Raised};

/// Containers may lie this deep in one another. Conversion recurses, and the threads that convert have
/// stacks of 16 MiB, of which this takes less than a quarter.
const DEEPEST: usize = 10_000;

fn too_deep(py: Python<'_>) -> Raised {
    Raised::recursion_error(py, "the value is nested too deeply to be converted")
}
