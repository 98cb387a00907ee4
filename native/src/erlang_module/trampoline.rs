//! The one way from CPython into Rust: no panic crosses it, and a `Raised` becomes C's error value.

use crate::py::{Object, Python, Raised, Result, ffi};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn guarded<'py, T>(py: Python<'py>, body: impl FnOnce(Python<'py>) -> Result<T>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(_raised)) => None,
        Err(_panic) => {
            let _raised: Raised =
                Raised::runtime_error(py, "internal error in erlang_python (a Rust panic)");
            None
        }
    }
}

/// For C functions that give an object, null meaning an exception.
pub(crate) fn object(
    body: impl for<'py> FnOnce(Python<'py>) -> Result<Object<'py>>,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls C functions attached.
    let py = unsafe { Python::assume_attached() };
    guarded(py, body).map_or(std::ptr::null_mut(), Object::into_ptr)
}

/// For C functions that give 0, or -1 with an exception.
pub(crate) fn status(body: impl for<'py> FnOnce(Python<'py>) -> Result<()>) -> c_int {
    // SAFETY: as above.
    let py = unsafe { Python::assume_attached() };
    guarded(py, body).map_or(-1, |()| 0)
}

/// For hash functions: -1 with an exception.
pub(super) fn hash(body: impl for<'py> FnOnce(Python<'py>) -> Result<isize>) -> isize {
    // SAFETY: as above.
    let py = unsafe { Python::assume_attached() };
    // -1 is the error value, so no hash may be it.
    guarded(py, body).map_or(-1, |hash| if hash == -1 { -2 } else { hash })
}
