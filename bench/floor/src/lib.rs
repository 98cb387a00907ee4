//! What conversion, and calls, are measured against.
//!
//! The loops here only build: Python objects through CPython's C API, terms through the NIF API, from values
//! that lie ready in plain arrays. They share no code with the library that they judge.
//!
//! One file serves as a NIF library, which the benchmark loads, and as an extension module, which its context
//! imports. The dynamic linker loads a file once, so both see the values that [`load`] has left.

mod bare;
mod counted;
mod memory;
mod module;
mod objects;
mod source;
mod terms;

use rustler::{Env, NifResult, Term};
use source::{Kind, Source};
use std::sync::{Arc, Mutex, PoisonError};

static SOURCE: Mutex<Option<Arc<Source>>> = Mutex::new(None);

/// The values to build from, once there are some.
fn source() -> Option<Arc<Source>> {
    SOURCE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// `load(Kind, Term) -> ok`: reads the values that the loops build from.
#[rustler::nif(schedule = "DirtyCpu")]
fn load(kind: Kind, term: Term<'_>) -> NifResult<rustler::Atom> {
    let read = Source::read(kind, term)?;
    *SOURCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
    Ok(rustler::types::atom::ok())
}

/// `build_terms() -> Nanoseconds`: builds the terms in an environment of no process, and frees them.
///
/// On a scheduler, as older emulators cannot make large maps at once on other threads (erlang/otp#8208).
#[rustler::nif(schedule = "DirtyCpu")]
fn build_terms() -> NifResult<u64> {
    let source = source().ok_or(rustler::Error::BadArg)?;
    terms::timed(&source).ok_or(rustler::Error::BadArg)
}

/// `make_terms() -> Term`: the same terms for the caller to look at.
#[rustler::nif(schedule = "DirtyCpu")]
fn make_terms(env: Env<'_>) -> NifResult<Term<'_>> {
    let source = source().ok_or(rustler::Error::BadArg)?;
    let word = terms::build(env.as_c_arg(), &source, &mut terms::Scratch::default());
    let word = word.ok_or(rustler::Error::BadArg)?;
    // SAFETY: the term was made in this environment.
    Ok(unsafe { Term::new(env, word) })
}

/// `copy(Size, Count) -> Nanoseconds`: so many copies of so many bytes, between buffers that were used before.
#[rustler::nif(schedule = "DirtyCpu")]
fn copy(size: usize, count: usize) -> NifResult<u64> {
    memory::copy(size, count).ok_or(rustler::Error::BadArg)
}

rustler::init!("bench_floor");
