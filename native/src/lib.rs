//! CPython interpreters inside the BEAM.
//!
//! A call goes down this list, a reply comes back up; no module imports from one above it.
//!
//! | module | role |
//! |---|---|
//! | [`nif`] | the functions that Erlang sees: decode, guard, hand on |
//! | [`runtime`] | the life of the whole: starting CPython once, the reaper |
//! | [`interp`] | contexts: mailbox, owner thread, interpreter, interruption, calls back into Erlang |
//! | [`event`] | waiting for descriptors |
//! | [`term`] | Erlang terms to Python objects and back |
//! | [`erlang_module`] | the native half of Python's `erlang` package |
//! | [`interrupt`] | raising an exception in running Python code, from any thread |
//! | [`memory`] | what each interpreter has of it, and may have |
//! | [`facts`] | what is settled when the runtime starts |
//! | [`sandbox`] | what the code of a context may do |
//! | [`state`] | values that Erlang and all contexts share |
//! | [`py`] | fence around CPython's C API |
//! | [`beam`] | fence around the BEAM's C API |

mod beam;
mod erlang_module;
mod event;
mod facts;
mod interp;
mod interrupt;
mod memory;
mod nif;
mod py;
mod runtime;
mod sandbox;
mod state;
mod term;
mod tracing;

rustler::init!("py_nif", load = nif::load);
