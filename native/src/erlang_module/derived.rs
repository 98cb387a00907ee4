//! Classes that derive from Python's own and are told apart by nothing but their type.

use crate::py::{Object, Result, ffi};
use std::ffi::{CStr, c_uint};

/// Makes a class with the layout of its base, which is static, and adds it to the module.
///
/// # Safety
/// `base` is a static class, and the slot what CPython expects there.
pub(super) unsafe fn add(
    module: &Object<'_>,
    name: &CStr,
    qualified: &'static CStr,
    doc: &'static CStr,
    base: *mut ffi::PyObject,
    slot: Option<ffi::PyType_Slot>,
) -> Result<()> {
    let py = module.py();
    let end = || ffi::PyType_Slot {
        slot: 0,
        pfunc: std::ptr::null_mut(),
    };
    let mut slots = [
        ffi::PyType_Slot {
            slot: ffi::Py_tp_doc,
            pfunc: doc.as_ptr().cast_mut().cast(),
        },
        slot.unwrap_or_else(end),
        end(),
    ];
    let mut spec = ffi::PyType_Spec {
        name: qualified.as_ptr(),
        // That of the base.
        basicsize: 0,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_IMMUTABLETYPE) as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the spec is read during the call.
    let class = unsafe {
        let bases = Object::tuple(py, [Object::borrowed(py, base)])?;
        Object::owned_or_raised(
            py,
            ffi::PyType_FromModuleAndSpec(module.as_ptr(), &mut spec, bases.as_ptr()),
        )?
    };
    super::add(module, name, class)
}

/// `Continuation`: what a call returns to go on with something else. A tuple of a module's name or None, a function's
/// name, positional and named arguments.
pub(super) fn add_continuation(module: &Object<'_>) -> Result<()> {
    let base = (&raw mut ffi::PyTuple_Type).cast();
    let doc = c"What a call returns to go on with something else; made by erlang.schedule and its relatives.";
    // SAFETY: a static class.
    unsafe {
        add(
            module,
            c"Continuation",
            c"erlang.Continuation",
            doc,
            base,
            None,
        )
    }
}
