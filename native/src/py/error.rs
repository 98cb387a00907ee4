//! Python exceptions as Rust errors.

use super::{Object, Python, ffi};
use std::ffi::CString;

/// A Python exception is set in the thread state.
#[derive(Debug)]
pub(crate) struct Raised(());

/// What a function that may raise returns.
pub(crate) type Result<T> = std::result::Result<T, Raised>;

#[cfg(target_os = "linux")]
use libc::__errno_location as errno;
#[cfg(not(target_os = "linux"))]
use libc::__error as errno;

impl Raised {
    /// The caller has seen a C function report an exception.
    pub(crate) fn seen(_py: Python<'_>) -> Self {
        Self(())
    }

    /// Takes the exception out of the thread state.
    pub(crate) fn fetch(self, py: Python<'_>) -> Option<Object<'_>> {
        // SAFETY: attached; the function gives a new reference, or null when nothing is set.
        unsafe { Object::owned(py, ffi::PyErr_GetRaisedException()) }
    }

    /// Whether it says that a descriptor would block.
    pub(crate) fn is_blocking(&self, _py: Python<'_>) -> bool {
        // SAFETY: attached, with an exception set; a static class.
        unsafe { ffi::PyErr_ExceptionMatches(ffi::PyExc_BlockingIOError) != 0 }
    }

    /// Prints it as the interpreter does what nobody can be told.
    pub(crate) fn print(self, _py: Python<'_>) {
        // SAFETY: attached, with an exception set.
        unsafe { ffi::PyErr_WriteUnraisable(std::ptr::null_mut()) };
    }

    /// Drops the exception.
    pub(crate) fn clear(self, py: Python<'_>) {
        drop(self.fetch(py));
    }

    fn set(_py: Python<'_>, class: *mut ffi::PyObject, text: &str) -> Self {
        let text = CString::new(text.replace('\0', "\\x00")).unwrap_or_default();
        // SAFETY: attached; the text ends with a zero.
        unsafe { ffi::PyErr_SetString(class, text.as_ptr()) };
        Self(())
    }

    pub(crate) fn type_error(py: Python<'_>, text: &str) -> Self {
        // SAFETY: the exception classes are static and initialised.
        Self::set(py, unsafe { ffi::PyExc_TypeError }, text)
    }

    pub(crate) fn value_error(py: Python<'_>, text: &str) -> Self {
        // SAFETY: as above.
        Self::set(py, unsafe { ffi::PyExc_ValueError }, text)
    }

    pub(crate) fn overflow_error(py: Python<'_>, text: &str) -> Self {
        // SAFETY: as above.
        Self::set(py, unsafe { ffi::PyExc_OverflowError }, text)
    }

    pub(crate) fn recursion_error(py: Python<'_>, text: &str) -> Self {
        // SAFETY: as above.
        Self::set(py, unsafe { ffi::PyExc_RecursionError }, text)
    }

    pub(crate) fn runtime_error(py: Python<'_>, text: &str) -> Self {
        // SAFETY: as above.
        Self::set(py, unsafe { ffi::PyExc_RuntimeError }, text)
    }

    pub(crate) fn os_error(py: Python<'_>, error: &std::io::Error) -> Self {
        // SAFETY: as above.
        let class = unsafe { ffi::PyExc_OSError };
        let Some(number) = error.raw_os_error() else {
            return Self::set(py, class, &error.to_string());
        };
        // With its number the class makes one of those for it, such as PermissionError.
        // SAFETY: attached; the location is this thread's.
        unsafe {
            *errno() = number;
            ffi::PyErr_SetFromErrno(class);
        }
        Self(())
    }

    /// An exception of one of CPython's own classes.
    pub(crate) fn of_static_class(py: Python<'_>, class: *mut ffi::PyObject, text: &str) -> Self {
        Self::set(py, class, text)
    }

    /// An exception of a class that Python code made.
    pub(crate) fn of_class(py: Python<'_>, class: &Object<'_>, text: &str) -> Self {
        Self::set(py, class.as_ptr(), text)
    }
}
