//! A Python exception as the caller gets it: `{Class, Message}`, and the story behind it.

use super::execute::Answer;
use crate::beam::{Interned, TermEnv, Word, atoms, intern};
use crate::erlang_module::Types;
use crate::py::{Object, Python, Raised, Result, ffi};

/// Tracebacks keep this many frames at each end.
const FRAMES: usize = 100;

/// The answer for the exception that is set. Never fails: what cannot be found out is replaced by a text
/// that says so.
pub(crate) fn answer(py: Python<'_>, env: &TermEnv, types: &Types, raised: Raised) -> Answer {
    let known = atoms();
    let Some(exception) = raised.fetch(py) else {
        // A C function reported an error and set none; CPython calls that a SystemError.
        let text = env.string("error return without exception set");
        let reason = env.tuple(&[class_atom(env, "SystemError"), text]);
        return Answer {
            result: env.tuple(&[known.error, reason]),
            story: None,
        };
    };
    let class = class_name(&exception);
    let text = message(&exception, &class);
    let reason = if exception.is_instance(types.interrupted()) {
        known.interrupted
    } else if exception.is_instance(types.stale_reference().as_ptr()) {
        known.stale_reference
    } else if is_stop_iteration(&exception) {
        env.tuple(&[known.stop_iteration, known.none])
    } else {
        env.tuple(&[class_atom(env, &class), env.string(&text)])
    };
    let module = type_attribute(&exception, "__module__");
    let frames = or_clear(py, frames(env, &exception)).unwrap_or_default();
    let story = env.tuple(&[
        env.binary(class.as_bytes()),
        env.binary(module.as_bytes()),
        env.binary(text.as_bytes()),
        env.list_of(&frames),
    ]);
    Answer {
        result: env.tuple(&[known.error, reason]),
        story: Some(story),
    }
}

fn or_clear<T>(py: Python<'_>, result: Result<T>) -> Option<T> {
    result.map_err(|raised| raised.clear(py)).ok()
}

fn is_stop_iteration(exception: &Object<'_>) -> bool {
    // SAFETY: a static class.
    exception.is_instance(unsafe { ffi::PyExc_StopIteration })
}

fn type_attribute(exception: &Object<'_>, name: &str) -> String {
    let py = exception.py();
    // SAFETY: attached; the type of a live object.
    let class = unsafe { Object::borrowed(py, ffi::Py_TYPE(exception.as_ptr()).cast()) };
    or_clear(
        py,
        class.getattr_str(name).and_then(|value| value.to_text()),
    )
    .unwrap_or_else(|| "?".into())
}

fn class_name(exception: &Object<'_>) -> String {
    type_attribute(exception, "__name__")
}

/// An atom, or a binary once Python code has used up the atoms that it may create.
fn class_atom(env: &TermEnv, class: &str) -> Word {
    match intern(env.raw(), class) {
        Interned::Atom(atom) => atom,
        Interned::Refused => env.binary(class.as_bytes()),
    }
}

/// `str(exception)`; a module that refuses its interpreter is told apart, with the remedy.
fn message(exception: &Object<'_>, class: &str) -> String {
    let py = exception.py();
    let text = or_clear(py, exception.to_text())
        .unwrap_or_else(|| format!("<the __str__ of this {class} failed>"));
    // SAFETY: a static class.
    let import_error = exception.is_instance(unsafe { ffi::PyExc_ImportError });
    if import_error && text.contains("does not support loading in subinterpreters") {
        return format!("this module needs a context with mode => worker: {text}");
    }
    text
}

/// `{File, Line, Function}` for every frame of the traceback, outermost first.
fn frames(env: &TermEnv, exception: &Object<'_>) -> Result<Vec<Word>> {
    let py = exception.py();
    let mut all = Vec::new();
    let mut trace = exception.getattr_str("__traceback__")?;
    // SAFETY: the address of an immortal object.
    while trace.as_ptr() != unsafe { ffi::Py_None() } {
        all.push(trace);
        trace = all[all.len() - 1].getattr_str("tb_next")?;
    }
    let last = all.len();
    let kept = all
        .iter()
        .enumerate()
        .filter(|(i, _)| *i < FRAMES || *i + FRAMES >= last);
    kept.map(|(_, trace)| frame(py, env, trace)).collect()
}

fn frame(_py: Python<'_>, env: &TermEnv, trace: &Object<'_>) -> Result<Word> {
    let code = trace.getattr_str("tb_frame")?.getattr_str("f_code")?;
    let file = code.getattr_str("co_filename")?.to_text()?;
    let function = code.getattr_str("co_qualname")?.to_text()?;
    let line = trace.getattr_str("tb_lineno")?;
    // SAFETY: attached. The line is an int, or None, which counts as 0.
    let line = unsafe { ffi::PyLong_AsLong(line.as_ptr()) };
    if line == -1 {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
    Ok(env.tuple(&[
        env.binary(file.as_bytes()),
        env.int(line.max(0)),
        env.binary(function.as_bytes()),
    ]))
}
