//! `Atom`: a `str` that goes back to Erlang as an atom.

use super::{add, trampoline};
use crate::py::{Object, Result, ffi};
use std::ffi::{c_uint, c_void};

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
    let py = module.py();
    let mut slots = [
        ffi::PyType_Slot {
            slot: ffi::Py_tp_repr,
            pfunc: repr as *mut c_void,
        },
        ffi::PyType_Slot {
            slot: ffi::Py_tp_doc,
            pfunc: c"The name of an Erlang atom: a str that goes back to Erlang as that atom."
                .as_ptr()
                .cast_mut()
                .cast(),
        },
        ffi::PyType_Slot {
            slot: 0,
            pfunc: std::ptr::null_mut(),
        },
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"erlang.Atom".as_ptr(),
        // That of `str`.
        basicsize: 0,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_IMMUTABLETYPE) as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the base is static, and the spec is read during the call.
    let class = unsafe {
        let base = Object::borrowed(py, (&raw mut ffi::PyUnicode_Type).cast());
        let bases = Object::tuple(py, [base])?;
        Object::owned_or_raised(
            py,
            ffi::PyType_FromModuleAndSpec(module.as_ptr(), &mut spec, bases.as_ptr()),
        )?
    };
    add(module, c"Atom", class)
}
