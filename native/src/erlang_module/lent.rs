//! A binary that Python reads without a copy: what a `memoryview` of it looks into.

use super::trampoline;
use crate::beam::{TermEnv, Word};
use crate::py::{Object, Python, Raised, Result, ffi};
use std::ffi::{c_int, c_uint, c_void};

#[repr(C)]
struct Lent {
    base: ffi::PyObject,
    /// Keeps the binary alive.
    env: Option<Box<TermEnv>>,
    word: Word,
}

/// A read-only `memoryview` of a binary; `class` is that of [`make_type`].
pub(super) fn view<'py>(
    py: Python<'py>,
    class: *mut ffi::PyObject,
    env: &TermEnv,
    word: Word,
) -> Result<Object<'py>> {
    // SAFETY: attached; a live object, looked into as a class only if it is one.
    let is_ours = unsafe {
        ffi::PyType_Check(class) != 0
            && (*class.cast::<ffi::PyTypeObject>())
                .tp_dealloc
                .is_some_and(|found| std::ptr::fn_addr_eq(found, dealloc as ffi::destructor))
    };
    if !is_ours {
        return Err(super::replaced(py));
    }
    let own = TermEnv::new();
    let word = own.copy(word);
    // SAFETY: attached; the class has the layout of `Lent`, whose fields are set before anybody sees them.
    unsafe {
        debug_assert!(env.get_binary(word).is_some());
        let object = Object::owned_or_raised(py, ffi::PyType_GenericAlloc(class.cast(), 0))?;
        let lent = object.as_ptr().cast::<Lent>();
        (&raw mut (*lent).word).write(word);
        (&raw mut (*lent).env).write(Some(Box::new(own)));
        Object::owned_or_raised(py, ffi::PyMemoryView_FromObject(object.as_ptr()))
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called once, when the last reference is gone, views included; an object of a heap type holds its
    // type.
    unsafe {
        let class = ffi::Py_TYPE(object);
        (&raw mut (*object.cast::<Lent>()).env).drop_in_place();
        if let Some(free) = (*class).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn get_buffer(
    object: *mut ffi::PyObject,
    buffer: *mut ffi::Py_buffer,
    flags: c_int,
) -> c_int {
    trampoline::status(|py| {
        // SAFETY: CPython passes an object of this class; the bytes live in its environment and never change,
        // and the buffer holds the object.
        unsafe {
            let lent = &*object.cast::<Lent>();
            let bytes = lent.env.as_ref().and_then(|env| env.get_binary(lent.word));
            let Some(bytes) = bytes else {
                return Err(Raised::runtime_error(py, "the binary is gone"));
            };
            let data = bytes.as_ptr().cast_mut().cast();
            match ffi::PyBuffer_FillInfo(buffer, object, data, bytes.len().cast_signed(), 1, flags)
            {
                0 => Ok(()),
                _ => Err(Raised::seen(py)),
            }
        }
    })
}

/// The class behind the views. It has no name in the module, since nobody needs it.
pub(super) fn make_type<'py>(module: &Object<'py>) -> Result<Object<'py>> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let doc = c"A binary of Erlang, for memoryviews to look into.";
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_bf_getbuffer, get_buffer as *mut c_void),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut spec = ffi::PyType_Spec {
        name: c"erlang.Binary".as_ptr(),
        basicsize: size_of::<Lent>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the spec is read during the call, its texts are static.
    unsafe {
        Object::owned_or_raised(
            module.py(),
            ffi::PyType_FromModuleAndSpec(module.as_ptr(), &mut spec, std::ptr::null_mut()),
        )
    }
}
