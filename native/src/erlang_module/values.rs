//! `Pid`, `Ref`, `Port` and `Fun`: Erlang values in Python's hands, which go back as what they were.
//!
//! Pids and ports of this node are immediate words and are kept as such. Everything else lies in an
//! environment of the object's own, where it also keeps alive what it refers to.

use super::{add, trampoline};
use crate::beam::{TermEnv, Word, identical};
use crate::py::{Object, Python, Raised, Result, ffi};
use std::ffi::{CStr, c_int, c_uint, c_void};

#[repr(C)]
struct Value {
    base: ffi::PyObject,
    word: Word,
    /// Where the word lives; none for an immediate.
    env: Option<Box<TermEnv>>,
}

/// Whether a class is one of ours, and its objects have the layout of [`Value`]: they cannot be derived from, and code
/// may have put anything in their places in the module.
pub(super) fn is_ours(class: *mut ffi::PyObject) -> bool {
    // SAFETY: attached; a live object, looked into as a class only if it is one.
    unsafe {
        ffi::PyType_Check(class) != 0
            && (*class.cast::<ffi::PyTypeObject>())
                .tp_dealloc
                .is_some_and(|found| std::ptr::fn_addr_eq(found, dealloc as ffi::destructor))
    }
}

/// A new object of one of the classes.
pub(super) fn make<'py>(
    py: Python<'py>,
    class: *mut ffi::PyObject,
    env: &TermEnv,
    word: Word,
) -> Result<Object<'py>> {
    if !is_ours(class) {
        return Err(super::replaced(py));
    }
    let (word, env) = if env.is_immediate(word) {
        (word, None)
    } else {
        let own = TermEnv::new();
        (own.copy(word), Some(Box::new(own)))
    };
    // SAFETY: attached; the class has the layout of `Value`, whose fields are set before anybody sees them.
    unsafe {
        let object = Object::owned_or_raised(py, ffi::PyType_GenericAlloc(class.cast(), 0))?;
        let value = object.as_ptr().cast::<Value>();
        (&raw mut (*value).word).write(word);
        (&raw mut (*value).env).write(env);
        Ok(object)
    }
}

/// The term in an environment.
///
/// # Safety
/// Attached; `object` is of one of the classes.
pub(super) unsafe fn term(object: *mut ffi::PyObject, env: &TermEnv) -> Word {
    // SAFETY: the caller's promise; the fields never change.
    unsafe {
        let value = object.cast::<Value>();
        match (*value).env {
            None => (*value).word,
            Some(_) => env.copy((*value).word),
        }
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called once, when the last reference is gone; an object of a heap type holds its type.
    unsafe {
        let class = ffi::Py_TYPE(object);
        (&raw mut (*object.cast::<Value>()).env).drop_in_place();
        if let Some(free) = (*class).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

/// The environment of a term, or one that serves for any immediate.
///
/// # Safety
/// As [`term`].
unsafe fn with_env<T>(object: *mut ffi::PyObject, body: impl FnOnce(&TermEnv, Word) -> T) -> T {
    // SAFETY: the caller's promise.
    let value = unsafe { &*object.cast::<Value>() };
    match &value.env {
        Some(env) => body(env, value.word),
        None => body(&TermEnv::new(), value.word),
    }
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of the class that has this slot.
        let printed = unsafe { with_env(object, TermEnv::printed) };
        Object::str(py, &printed)
    })
}

unsafe extern "C" fn hash(object: *mut ffi::PyObject) -> ffi::Py_hash_t {
    trampoline::hash(|_py| {
        // SAFETY: as in `repr`.
        Ok(unsafe { with_env(object, TermEnv::hash) }.cast_signed() as isize)
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
            let equal = identical((*left.cast::<Value>()).word, (*right.cast::<Value>()).word);
            Ok(Object::bool(py, equal == (operation == ffi::Py_EQ)))
        }
    })
}

/// `__reduce__`: the function that reads Erlang's external format, and the value in it.
unsafe extern "C" fn reduce(
    object: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: as in `repr`.
        let external = unsafe { with_env(object, TermEnv::to_external) };
        let read = Object::import(py, "_erlang")?.getattr_str("from_external")?;
        let external = Object::bytes(py, &external)?;
        Object::tuple(py, [read, Object::tuple(py, [external])?])
    })
}

unsafe extern "C" fn refuse_reduce(
    _object: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        let text = "an Erlang function, or a term without a counterpart, cannot be pickled";
        Err(Raised::type_error(py, text))
    })
}

/// Calling a `Fun` is `_erlang.call_fun`, which waits for Erlang and lies above this module.
unsafe extern "C" fn call(
    fun: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of the class that has this slot, a tuple, and null or a dict.
        let (fun, arguments, named) = unsafe {
            let named = !keywords.is_null() && ffi::PyDict_Size(keywords) > 0;
            let arguments = Object::borrowed(py, arguments);
            (Object::borrowed(py, fun), arguments, named)
        };
        if named {
            let text = "an erlang.Fun takes no keyword arguments; pass a dict";
            return Err(Raised::type_error(py, text));
        }
        let function = Object::import(py, "_erlang")?.getattr_str("call_fun")?;
        let arguments = arguments.tuple_items()?;
        let all: Vec<_> = std::iter::once(&fun).chain(&arguments).collect();
        function.call(&all)
    })
}

/// A method table that CPython only reads.
struct Methods([ffi::PyMethodDef; 2]);
// SAFETY: constant data.
unsafe impl Sync for Methods {}

const fn reduced_by(method: ffi::PyCFunction) -> Methods {
    Methods([
        ffi::PyMethodDef {
            ml_name: c"__reduce__".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunction: method,
            },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: std::ptr::null(),
        },
        ffi::PyMethodDef::zeroed(),
    ])
}

static PICKLED: Methods = reduced_by(reduce);
static NOT_PICKLED: Methods = reduced_by(refuse_reduce);

/// Makes the classes and adds them to the module.
pub(super) fn add_types(module: &Object<'_>) -> Result<()> {
    add_type(
        module,
        c"Pid",
        c"erlang.Pid",
        c"A process identifier.",
        &PICKLED,
    )?;
    add_type(module, c"Ref", c"erlang.Ref", c"A reference.", &PICKLED)?;
    add_type(
        module,
        c"Port",
        c"erlang.Port",
        c"A port identifier.",
        &PICKLED,
    )?;
    add_type(
        module,
        c"Fun",
        c"erlang.Fun",
        c"An Erlang function. Calling it runs it in Erlang.",
        &NOT_PICKLED,
    )?;
    add_type(
        module,
        c"Term",
        c"erlang.Term",
        c"An Erlang term that has no counterpart in Python. It goes back as what it was.",
        &NOT_PICKLED,
    )
}

fn add_type(
    module: &Object<'_>,
    name: &CStr,
    qualified: &'static CStr,
    doc: &'static CStr,
    methods: &'static Methods,
) -> Result<()> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_hash, hash as *mut c_void),
        slot(ffi::Py_tp_richcompare, richcompare as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw const methods.0).cast_mut().cast()),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        // The end, but for functions.
        slot(0, std::ptr::null_mut()),
        slot(0, std::ptr::null_mut()),
    ];
    if name == c"Fun" {
        slots[6] = slot(ffi::Py_tp_call, call as *mut c_void);
    }
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
