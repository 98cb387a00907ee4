//! The extension module `bench_floor`, importable in interpreters with their own GILs.

use crate::{objects, source};
use pyo3_ffi as ffi;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::Instant;

fn raise(text: &std::ffi::CStr) -> *mut ffi::PyObject {
    // SAFETY: only called by functions that Python calls, so attached.
    unsafe { ffi::PyErr_SetString(ffi::PyExc_RuntimeError, text.as_ptr()) };
    null_mut()
}

/// `build() -> int`: nanoseconds of building the objects and freeing them.
unsafe extern "C" fn build(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    let Some(source) = source() else {
        return raise(c"nothing was loaded");
    };
    let start = Instant::now();
    // SAFETY: Python calls this, so attached; the reference is ours to give up.
    unsafe {
        let built = objects::build(&source);
        if built.is_null() {
            return null_mut();
        }
        ffi::Py_DECREF(built);
    }
    match i64::try_from(start.elapsed().as_nanos()) {
        // SAFETY: attached.
        Ok(elapsed) => unsafe { ffi::PyLong_FromLongLong(elapsed) },
        Err(_) => raise(c"the clock ran away"),
    }
}

/// `make() -> object`: the same objects to look at.
unsafe extern "C" fn make(_: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    match source() {
        // SAFETY: Python calls this, so attached.
        Some(source) => unsafe { objects::build(&source) },
        None => raise(c"nothing was loaded"),
    }
}

/// What CPython only reads, or writes under locks of its own.
struct Shared<T>(T);

// SAFETY: constant data, and a definition made to be shared by interpreters with their own GILs.
unsafe impl<T> Sync for Shared<T> {}

static METHODS: Shared<[ffi::PyMethodDef; 3]> = Shared([
    ffi::PyMethodDef {
        ml_name: c"build".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: build },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"Nanoseconds of building the loaded values and freeing them.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"make".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: make },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"The loaded values.".as_ptr(),
    },
    ffi::PyMethodDef::zeroed(),
]);

static SLOTS: Shared<[ffi::PyModuleDef_Slot; 2]> = Shared([
    ffi::PyModuleDef_Slot {
        slot: ffi::Py_mod_multiple_interpreters,
        value: ffi::Py_MOD_PER_INTERPRETER_GIL_SUPPORTED,
    },
    ffi::PyModuleDef_Slot {
        slot: 0,
        value: null_mut::<c_void>(),
    },
]);

static DEFINITION: Shared<UnsafeCell<ffi::PyModuleDef>> =
    Shared(UnsafeCell::new(ffi::PyModuleDef {
        m_base: ffi::PyModuleDef_HEAD_INIT,
        m_name: c"bench_floor".as_ptr(),
        m_doc: c"Loops that only build Python objects.".as_ptr(),
        m_size: 0,
        m_methods: (&raw const METHODS.0).cast_mut().cast(),
        m_slots: (&raw const SLOTS.0).cast_mut().cast(),
        m_traverse: None,
        m_clear: None,
        m_free: None,
    }));

/// What `import bench_floor` calls.
#[unsafe(no_mangle)]
unsafe extern "C" fn PyInit_bench_floor() -> *mut ffi::PyObject {
    // SAFETY: CPython calls this, attached; the definition lives for ever.
    unsafe { ffi::PyModuleDef_Init(DEFINITION.0.get()) }
}
