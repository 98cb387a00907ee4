//! A `bytes` object that is filled before anybody sees it.

use super::{Object, Python, Raised, Result, ffi};
use std::ffi::c_int;
use std::mem::MaybeUninit;

unsafe extern "C" {
    // Exported by every CPython; the bindings keep it to themselves.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// See the module.
pub(crate) struct NewBytes<'py> {
    object: Object<'py>,
    size: usize,
}

impl<'py> NewBytes<'py> {
    /// One of this size, whose contents are not said.
    pub(crate) fn of(py: Python<'py>, size: usize) -> Result<Self> {
        // SAFETY: attached; without a source the bytes are left as they are.
        let object = unsafe {
            let bytes = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size.cast_signed());
            Object::owned_or_raised(py, bytes)?
        };
        Ok(Self { object, size })
    }

    /// Where they are written.
    pub(crate) fn place(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: nobody else has the object, which lives as long as the borrow.
        unsafe {
            let start = ffi::PyBytes_AsString(self.object.as_ptr()).cast();
            std::slice::from_raw_parts_mut(start, self.size)
        }
    }

    /// The first so many, which were written.
    pub(crate) fn cut(self, size: usize) -> Result<Object<'py>> {
        let py = self.object.py();
        let mut bytes = self.object.into_ptr();
        // SAFETY: attached; the only reference, which is given to the call and comes back, or is null after an exception.
        unsafe {
            let cut = _PyBytes_Resize(&raw mut bytes, size.min(self.size).cast_signed());
            match (cut, Object::owned(py, bytes)) {
                (0, Some(object)) => Ok(object),
                _ => Err(Raised::seen(py)),
            }
        }
    }
}
