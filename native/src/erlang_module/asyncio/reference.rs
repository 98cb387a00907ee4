//! References in objects that the collector knows of.

use crate::py::{Object, Python, Raised, Result, ffi};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

/// A reference that an object of ours holds, or none. All zeros is none.
#[repr(transparent)]
pub(super) struct Reference(Cell<Option<NonNull<ffi::PyObject>>>);

impl Reference {
    /// Another reference to it.
    #[inline]
    pub(super) fn get<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        // SAFETY: held by an object of the attached interpreter.
        (self.0.get()).map(|held| unsafe { Object::borrowed(py, held.as_ptr()) })
    }

    /// The same where something cannot go on without it.
    #[inline]
    pub(super) fn needed<'py>(&self, py: Python<'py>) -> Result<Object<'py>> {
        self.get(py)
            .ok_or_else(|| Raised::runtime_error(py, "the object was given up"))
    }

    /// Holds something else from now on.
    pub(super) fn set(&self, _py: Python<'_>, value: Option<Object<'_>>) {
        let value = value.and_then(|value| NonNull::new(value.into_ptr()));
        drop_pointer(self.0.replace(value));
    }

    /// For `tp_traverse`.
    ///
    /// # Safety
    /// The arguments are those that CPython passes.
    pub(super) unsafe fn visit(&self, visit: ffi::visitproc, argument: *mut c_void) -> c_int {
        let held = self.0.get().map_or(null_mut(), NonNull::as_ptr);
        if held.is_null() {
            return 0;
        }
        // SAFETY: the caller's promise.
        unsafe { visit(held, argument) }
    }

    /// For `tp_clear`.
    ///
    /// # Safety
    /// Attached.
    pub(super) unsafe fn clear(&self) {
        drop_pointer(self.0.take());
    }
}

fn drop_pointer(held: Option<NonNull<ffi::PyObject>>) {
    if let Some(held) = held {
        // SAFETY: callers are attached; the reference was the object's.
        unsafe { ffi::Py_DECREF(held.as_ptr()) };
    }
}

/// An object with references.
pub(super) trait Holder {
    fn references(&self) -> &[Reference];
}

/// `tp_traverse` of a class whose objects are `H`.
pub(super) unsafe extern "C" fn traverse<H: Holder>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: CPython passes an object of the class that has this slot; one of a heap type holds its type.
    unsafe {
        let class = ffi::Py_TYPE(object).cast();
        let result = visit(class, argument);
        if result != 0 {
            return result;
        }
        for reference in (*object.cast::<H>()).references() {
            let result = reference.visit(visit, argument);
            if result != 0 {
                return result;
            }
        }
        0
    }
}

/// `tp_clear` of a class whose objects are `H`.
pub(super) unsafe extern "C" fn clear<H: Holder>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: as in `traverse`, attached.
    unsafe {
        for reference in (*object.cast::<H>()).references() {
            reference.clear();
        }
    }
    0
}

/// `tp_dealloc` of a class whose objects are `H`, which has nothing else to drop.
pub(super) unsafe extern "C" fn dealloc<H: Holder>(object: *mut ffi::PyObject) {
    // SAFETY: called once, when the last reference is gone; an object of a heap type holds its type.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear::<H>(object);
        let class = ffi::Py_TYPE(object);
        if let Some(free) = (*class).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}
