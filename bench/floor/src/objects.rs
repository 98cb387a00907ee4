//! Python objects, built through CPython's C API and by nothing else.

use crate::source::{Node, Source};
use pyo3_ffi as ffi;
use std::ptr::{NonNull, null_mut};

/// A new reference, or none with an exception set.
type Owned = Option<NonNull<ffi::PyObject>>;

/// Builds the objects of the values.
///
/// # Safety
/// Attached to an interpreter, here and in every function below.
pub(crate) unsafe fn build(source: &Source) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    let built = unsafe {
        match source {
            Source::Ints(values) => list(values.iter(), |&value| int(value)),
            Source::Floats(values) => list(values.iter(), |&value| float(value)),
            Source::Texts(texts) => list_of(texts.len(), texts.iter(), |text| str(text)),
            Source::Bytes(texts) => list_of(texts.len(), texts.iter(), |text| bytes(text)),
            Source::Map(keys, values) => dict(keys.iter().zip(values), |&value| int(value)),
            Source::Tree(node) => object(node),
        }
    };
    built.map_or(null_mut(), NonNull::as_ptr)
}

unsafe fn int(value: i64) -> Owned {
    // SAFETY: attached.
    NonNull::new(unsafe { ffi::PyLong_FromLongLong(value) })
}

unsafe fn float(value: f64) -> Owned {
    // SAFETY: attached.
    NonNull::new(unsafe { ffi::PyFloat_FromDouble(value) })
}

unsafe fn str(text: &[u8]) -> Owned {
    // SAFETY: attached; the bytes are copied.
    NonNull::new(unsafe {
        ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as isize)
    })
}

unsafe fn bytes(text: &[u8]) -> Owned {
    // SAFETY: attached; the bytes are copied.
    NonNull::new(unsafe {
        ffi::PyBytes_FromStringAndSize(text.as_ptr().cast(), text.len() as isize)
    })
}

unsafe fn list<T>(items: impl ExactSizeIterator<Item = T>, make: impl Fn(T) -> Owned) -> Owned {
    // SAFETY: attached.
    unsafe { list_of(items.len(), items, make) }
}

unsafe fn list_of<T>(
    length: usize,
    items: impl Iterator<Item = T>,
    make: impl Fn(T) -> Owned,
) -> Owned {
    // SAFETY: attached; each of the `length` places is filled once, or freed empty.
    unsafe {
        let list = NonNull::new(ffi::PyList_New(length as isize))?;
        for (i, item) in items.enumerate() {
            let Some(object) = make(item) else {
                ffi::Py_DECREF(list.as_ptr());
                return None;
            };
            ffi::PyList_SET_ITEM(list.as_ptr(), i as isize, object.as_ptr());
        }
        Some(list)
    }
}

unsafe fn dict<'a, T>(
    pairs: impl Iterator<Item = (&'a [u8], T)>,
    make: impl Fn(T) -> Owned,
) -> Owned {
    // SAFETY: attached; the dict takes references of its own.
    unsafe {
        let dict = NonNull::new(ffi::PyDict_New())?;
        for (key, value) in pairs {
            let (key, value) = (str(key), make(value));
            let set = match (key, value) {
                (Some(key), Some(value)) => {
                    ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) == 0
                }
                _ => false,
            };
            ffi::Py_XDECREF(key.map_or(null_mut(), NonNull::as_ptr));
            ffi::Py_XDECREF(value.map_or(null_mut(), NonNull::as_ptr));
            if !set {
                ffi::Py_DECREF(dict.as_ptr());
                return None;
            }
        }
        Some(dict)
    }
}

unsafe fn object(node: &Node) -> Owned {
    // SAFETY: attached; the three constants are immortal.
    unsafe {
        match node {
            Node::Int(value) => int(*value),
            Node::Float(value) => float(*value),
            Node::Text(text) => str(text),
            Node::Bool(true) => NonNull::new(ffi::Py_True()),
            Node::Bool(false) => NonNull::new(ffi::Py_False()),
            Node::Null => NonNull::new(ffi::Py_None()),
            Node::List(nodes) => list(nodes.iter(), |node| object(node)),
            Node::Map(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| (&**key, value));
                dict(pairs, |node| object(node))
            }
        }
    }
}
