//! `Pid` and `Ref`: Erlang values in Python's hands, which go back as what they were.
//!
//! A local pid is an immediate word and is kept as such. Everything else is kept in Erlang's external
//! format, which is the same for the same term, so that it serves for equality and hashing, too.

use super::{add, trampoline};
use crate::beam::{TermEnv, Word};
use crate::py::{Object, Python, Raised, Result, ffi};
use std::ffi::{c_int, c_uint, c_void};

#[repr(C)]
struct Value {
    base: ffi::PyObject,
    /// Meaningful when there is no `external`.
    immediate: Word,
    /// The external format as bytes, or null.
    external: *mut ffi::PyObject,
}

/// A new object of one of the two classes.
pub(super) fn make<'py>(
    py: Python<'py>,
    class: *mut ffi::PyObject,
    env: &TermEnv,
    word: Word,
) -> Result<Object<'py>> {
    let external = if env.is_local_pid(word) {
        None
    } else {
        let bytes = env.to_external(word);
        // SAFETY: attached; the bytes are copied.
        Some(unsafe {
            Object::owned_or_raised(
                py,
                ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as isize),
            )?
        })
    };
    // SAFETY: attached; the class has the layout of `Value`, whose fields are set before anybody sees them.
    unsafe {
        let object = Object::owned_or_raised(py, ffi::PyType_GenericAlloc(class.cast(), 0))?;
        let value = object.as_ptr().cast::<Value>();
        (*value).immediate = word;
        (*value).external = external.map_or(std::ptr::null_mut(), Object::into_ptr);
        Ok(object)
    }
}

/// The term in an environment.
///
/// # Safety
/// Attached; `object` is of one of the two classes.
pub(super) unsafe fn term(object: *mut ffi::PyObject, env: &TermEnv) -> Option<Word> {
    // SAFETY: the caller's promise; the bytes live as long as the object.
    unsafe {
        let value = object.cast::<Value>();
        if (*value).external.is_null() {
            return Some((*value).immediate);
        }
        let data = ffi::PyBytes_AsString((*value).external).cast::<u8>();
        let size = ffi::PyBytes_Size((*value).external);
        env.of_external(std::slice::from_raw_parts(data, size as usize))
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called once, when the last reference is gone; an object of a heap type holds its type.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::Py_XDECREF((*object.cast::<Value>()).external);
        if let Some(free) = (*class).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        let env = TermEnv::new();
        // SAFETY: CPython passes an object of the class that has this slot.
        let printed = unsafe { term(object, &env) }
            .map_or_else(|| "<unreadable term>".into(), |word| env.printed(word));
        Object::str(py, &printed)
    })
}

unsafe extern "C" fn hash(object: *mut ffi::PyObject) -> ffi::Py_hash_t {
    trampoline::hash(|py| {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        // SAFETY: as in `repr`.
        unsafe {
            let value = object.cast::<Value>();
            if (*value).external.is_null() {
                let hasher = BuildHasherDefault::<DefaultHasher>::default();
                return Ok(hasher.hash_one((*value).immediate) as isize);
            }
            match ffi::PyObject_Hash((*value).external) {
                -1 => Err(Raised::seen(py)),
                hash => Ok(hash),
            }
        }
    })
}

unsafe extern "C" fn richcompare(
    left: *mut ffi::PyObject,
    right: *mut ffi::PyObject,
    operation: c_int,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: `left` is of the class that has this slot; `right` is read only if it is, too.
        unsafe {
            let comparable = ffi::Py_TYPE(left) == ffi::Py_TYPE(right)
                && (operation == ffi::Py_EQ || operation == ffi::Py_NE);
            if !comparable {
                return Ok(Object::borrowed(py, ffi::Py_NotImplemented()));
            }
            let (a, b) = (left.cast::<Value>(), right.cast::<Value>());
            let equal = match ((*a).external.is_null(), (*b).external.is_null()) {
                (true, true) => (*a).immediate == (*b).immediate,
                (false, false) => {
                    ffi::PyObject_RichCompareBool((*a).external, (*b).external, ffi::Py_EQ) == 1
                }
                _ => false,
            };
            let answer = equal == (operation == ffi::Py_EQ);
            Ok(Object::borrowed(
                py,
                if answer {
                    ffi::Py_True()
                } else {
                    ffi::Py_False()
                },
            ))
        }
    })
}

/// Makes both classes and adds them to the module.
pub(super) fn add_types(module: &Object<'_>) -> Result<()> {
    add_type(module, c"Pid", c"erlang.Pid", c"A process identifier.")?;
    add_type(module, c"Ref", c"erlang.Ref", c"A reference.")
}

fn add_type(
    module: &Object<'_>,
    name: &std::ffi::CStr,
    qualified: &'static std::ffi::CStr,
    doc: &'static std::ffi::CStr,
) -> Result<()> {
    let mut slots = [
        ffi::PyType_Slot {
            slot: ffi::Py_tp_dealloc,
            pfunc: dealloc as *mut c_void,
        },
        ffi::PyType_Slot {
            slot: ffi::Py_tp_repr,
            pfunc: repr as *mut c_void,
        },
        ffi::PyType_Slot {
            slot: ffi::Py_tp_hash,
            pfunc: hash as *mut c_void,
        },
        ffi::PyType_Slot {
            slot: ffi::Py_tp_richcompare,
            pfunc: richcompare as *mut c_void,
        },
        ffi::PyType_Slot {
            slot: ffi::Py_tp_doc,
            pfunc: doc.as_ptr().cast_mut().cast(),
        },
        ffi::PyType_Slot {
            slot: 0,
            pfunc: std::ptr::null_mut(),
        },
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut spec = ffi::PyType_Spec {
        name: qualified.as_ptr(),
        basicsize: size_of::<Value>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the spec is read during the call, its texts are static.
    let class = unsafe {
        Object::owned_or_raised(
            module.py(),
            ffi::PyType_FromModuleAndSpec(module.as_ptr(), &mut spec, std::ptr::null_mut()),
        )?
    };
    add(module, name, class)
}
