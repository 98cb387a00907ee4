//! Which trace code is a part of: what a request brings from Erlang, and what a call back to Erlang takes along.
//!
//! In Python it is the value of a context variable, a tuple of the texts of the headers `traceparent` and `tracestate`, so
//! that it follows `contextvars`. In Erlang it is `{traced, {Parent, State}, What}` around a payload or a function.

use super::Request;
use super::owner::Owner;
use crate::beam::{TermEnv, Word, atoms};
use crate::py::{Object, Python, Raised, Result, ffi};
use std::sync::atomic::{AtomicBool, Ordering};

/// Spans are recorded.
static RECORDING: AtomicBool = AtomicBool::new(false);

/// There was a trace, or may be one.
static USED: AtomicBool = AtomicBool::new(false);

/// Says whether to record spans; gives what was so before.
pub(crate) fn record(on: bool) -> bool {
    if on {
        USED.store(true, Ordering::Relaxed);
    }
    RECORDING.swap(on, Ordering::Relaxed)
}

pub(crate) fn is_recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// Code may have set the variable.
pub(crate) fn is_used() {
    USED.store(true, Ordering::Relaxed);
}

/// The texts of both headers.
pub(crate) type Trace = (Vec<u8>, Vec<u8>);

/// What was asked, and the trace that it is a part of.
pub(crate) fn unwrapped(env: &TermEnv, payload: Word) -> (Word, Option<Trace>) {
    let Some(&[kind, trace, inner]) = env.get_tuple(payload) else {
        return (payload, None);
    };
    if kind != atoms().traced {
        return (payload, None);
    }
    let headers = |trace| {
        let &[parent, state] = env.get_tuple(trace)? else {
            return None;
        };
        let parent = env.get_binary(parent)?.to_vec();
        let state = env.get_binary(state)?.to_vec();
        Some((parent, state))
    };
    (inner, headers(trace))
}

impl Request {
    /// The code of the request is a part of this trace, in all its turns.
    pub(super) fn belongs_to(&self, trace: Option<Trace>) {
        if let Some(trace) = trace {
            is_used();
            let _first = self.trace.set(Box::new(trace));
        }
    }
}

/// While code runs for a request; for [`Owner::leave_trace`].
pub(in crate::interp) struct Entered<'py>(Object<'py>);

impl Owner {
    /// Code of a request begins. `None`: it is a part of no trace.
    pub(in crate::interp) fn enter_trace<'py>(
        &self,
        py: Python<'py>,
        request: &Request,
    ) -> Option<Entered<'py>> {
        let (parent, state) = &**request.trace.get()?;
        let entered = self.set_trace(py, parent, state);
        entered.map_err(|raised| raised.clear(py)).ok()
    }

    fn set_trace<'py>(&self, py: Python<'py>, parent: &[u8], state: &[u8]) -> Result<Entered<'py>> {
        let text = |bytes| Object::str(py, &String::from_utf8_lossy(bytes));
        let value = Object::tuple(py, [text(parent)?, text(state)?])?;
        // SAFETY: attached; a context variable and any object. The token is a new reference.
        let token = unsafe {
            Object::owned_or_raised(
                py,
                ffi::PyContextVar_Set(self.types.trace(), value.as_ptr()),
            )?
        };
        Ok(Entered(token))
    }

    /// It has ended, and the variable is what it was before.
    pub(in crate::interp) fn leave_trace<'py>(
        &self,
        py: Python<'py>,
        entered: Option<Entered<'py>>,
    ) {
        let Some(Entered(token)) = entered else {
            return;
        };
        // SAFETY: attached; the token is of this variable. It fails where code has entered another context for good.
        if unsafe { ffi::PyContextVar_Reset(self.types.trace(), token.as_ptr()) } != 0 {
            Raised::seen(py).clear(py);
        }
    }
}

/// What is called, with the trace that the calling code is a part of.
pub(super) fn wrapped(
    py: Python<'_>,
    variable: *mut ffi::PyObject,
    env: &TermEnv,
    function: Word,
) -> Word {
    if !USED.load(Ordering::Relaxed) {
        return function;
    }
    match current(py, variable) {
        Ok(Some((parent, state))) => {
            let trace = env.tuple(&[env.binary(parent.as_bytes()), env.binary(state.as_bytes())]);
            env.tuple(&[atoms().traced, trace, function])
        }
        Ok(None) => function,
        Err(raised) => {
            // Code has put something else there.
            raised.clear(py);
            function
        }
    }
}

fn current(py: Python<'_>, variable: *mut ffi::PyObject) -> Result<Option<(String, String)>> {
    let mut value = std::ptr::null_mut();
    // SAFETY: attached; a context variable of this interpreter. The value is a new reference, or null.
    let value = unsafe {
        if ffi::PyContextVar_Get(variable, std::ptr::null_mut(), &raw mut value) != 0 {
            return Err(Raised::seen(py));
        }
        Object::owned(py, value)
    };
    let Some(value) = value.filter(|value| !value.is_none()) else {
        return Ok(None);
    };
    let items = value.tuple_items()?;
    let [parent, state] = items.as_slice() else {
        return Ok(None);
    };
    Ok(parent.str_of()?.zip(state.str_of()?))
}
