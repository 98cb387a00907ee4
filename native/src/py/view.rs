//! The bytes of an object, as long as they are looked at.

use super::{Object, Raised, Result, ffi};
use std::ffi::c_int;
use std::mem::MaybeUninit;

/// A buffer that an object gave.
pub(crate) struct View(ffi::Py_buffer);

impl View {
    /// One that can be read at least, and lies in one piece.
    pub(crate) fn of(object: &Object<'_>, flags: c_int) -> Result<Self> {
        let mut buffer = MaybeUninit::uninit();
        let flags = ffi::PyBUF_SIMPLE | flags;
        // SAFETY: attached; the structure is filled where the call succeeds.
        unsafe {
            match ffi::PyObject_GetBuffer(object.as_ptr(), buffer.as_mut_ptr(), flags) {
                0 => Ok(Self(buffer.assume_init())),
                _ => Err(Raised::seen(object.py())),
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the object keeps the memory as long as the view is held.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len.cast_unsigned()) }
    }

    /// The same for one that can be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        if self.0.len == 0 || self.0.readonly != 0 {
            return &mut [];
        }
        // SAFETY: as above; this is the only thread that runs Python code of the interpreter.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast(), self.0.len.cast_unsigned()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: views are held by attached threads only, within one call.
        unsafe { ffi::PyBuffer_Release(&raw mut self.0) };
    }
}
