//! The exceptions of `erlang`.

use super::add;
use crate::py::{Object, Result, ffi};
use std::ffi::CStr;

/// Makes the classes and adds them to the module.
pub(super) fn add_all(module: &Object<'_>) -> Result<()> {
    // SAFETY: the classes are static and initialised.
    let (base, reference, runtime) = unsafe {
        (
            ffi::PyExc_BaseException,
            ffi::PyExc_ReferenceError,
            ffi::PyExc_RuntimeError,
        )
    };
    // No `Exception`, so that a broad `except Exception` does not catch it.
    add_class(
        module,
        c"Interrupted",
        c"erlang.Interrupted",
        c"The call was interrupted from Erlang: it timed out, was cancelled, or its caller died.",
        base,
    )?;
    // The call is answered `stale_reference`.
    add_class(
        module,
        c"StaleReference",
        c"erlang.StaleReference",
        c"The object that this reference of Erlang's stood for is gone.",
        reference,
    )?;
    add_class(
        module,
        c"ErlangError",
        c"erlang.ErlangError",
        c"An exception of an Erlang function.\n\n``kind`` is 'error', 'exit' or 'throw', ``reason`` the reason as a Python object (an erlang.Term\nwhere it has no counterpart), ``stacktrace`` a list of (module, function, arity, details). Uncaught, it goes\nback to Erlang as it was. The cause is a PythonError when the function failed after a Python call of its own.",
        runtime,
    )?;
    add_class(
        module,
        c"ProcessError",
        c"erlang.ProcessError",
        c"A message cannot be sent: its receiver has ended, or too many wait for other nodes.",
        runtime,
    )?;
    add_class(
        module,
        c"PythonError",
        c"erlang.PythonError",
        c"The Python exception that a call made by an Erlang function ended with.\n\n``type``, ``module`` and ``message`` say what it was, ``traceback`` is the whole text.",
        runtime,
    )
}

fn add_class(
    module: &Object<'_>,
    name: &CStr,
    qualified: &CStr,
    doc: &CStr,
    base: *mut ffi::PyObject,
) -> Result<()> {
    let py = module.py();
    // SAFETY: attached; the base class is static, the texts end with zeros.
    let class = unsafe {
        Object::owned_or_raised(
            py,
            ffi::PyErr_NewExceptionWithDoc(
                qualified.as_ptr(),
                doc.as_ptr(),
                base,
                std::ptr::null_mut(),
            ),
        )?
    };
    add(module, name, class)
}
