//! `Atom`: a `str` that goes back to Erlang as an atom.

use super::{derived, trampoline};
use crate::py::{Object, Result, ffi};
use std::ffi::c_void;

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of the class that has this slot, a subclass of `str`, whose own
        // slot gives the quoted text.
        let quoted = unsafe {
            let of_str = ffi::PyUnicode_Type.tp_repr;
            let Some(of_str) = of_str else {
                return Object::str(py, "atom(...)");
            };
            Object::owned_or_raised(py, of_str(object))?
        };
        Object::str(py, &format!("atom({})", quoted.str_lossy()?))
    })
}

/// Makes the class and adds it to the module.
pub(super) fn add_type(module: &Object<'_>) -> Result<()> {
    let base = (&raw mut ffi::PyUnicode_Type).cast();
    let repr = ffi::PyType_Slot {
        slot: ffi::Py_tp_repr,
        pfunc: repr as *mut c_void,
    };
    let doc = c"The name of an Erlang atom: a str that goes back to Erlang as that atom.";
    // SAFETY: a static class, and a slot of the right type.
    unsafe { derived::add(module, c"Atom", c"erlang.Atom", doc, base, Some(repr)) }
}
