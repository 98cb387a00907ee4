//! The fence around CPython's C API.
//!
//! Above it the rules of the interpreter are types: [`Python`] proves that the calling thread is
//! attached to an interpreter, [`Object`] owns one reference for as long as that proof lasts, and
//! [`Kept`] is a reference stored beyond it, which only its own interpreter may take up again.
//! A function that fails with [`Raised`] has set a Python exception.

pub(crate) mod api;
mod config;
mod containers;
mod error;
mod new_bytes;
mod object;
mod thread_state;
mod view;

pub(crate) use config::{StartError, start_main};
pub(crate) use error::{Raised, Result};
pub(crate) use new_bytes::NewBytes;
pub(crate) use object::{Kept, Object};
pub(crate) use thread_state::{Python, TakenAttached, ThreadState, observe_attaching};
pub(crate) use view::View;

pub(crate) use pyo3_ffi as ffi;
