//! What asyncio does for every packet and every callback, in native code. Each class here stands for a few lines of the
//! standard library that run in the simple case, and leaves every other case to those lines; `erlang._transport` and
//! `erlang._iteration` put them in place.

mod handle;
mod reader;
mod ready;
mod reference;
mod transfer;
mod writer;

use super::{add, trampoline};
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::sandbox::descriptors;
use std::ffi::{CStr, c_int, c_uint};
pub(crate) use transfer::in_buffer;

/// Makes the classes and adds them to the module.
pub(super) fn add_types(module: &Object<'_>) -> Result<()> {
    reader::add_type(module)?;
    writer::add_type(module)?;
    ready::add_type(module)?;
    let table = (&raw const FUNCTIONS.0).cast_mut().cast();
    // SAFETY: attached; a module and a static table that CPython only reads.
    match unsafe { ffi::PyModule_AddFunctions(module.as_ptr(), table) } {
        0 => Ok(()),
        _ => Err(Raised::seen(module.py())),
    }
}

/// A method table that CPython only reads.
struct Functions([ffi::PyMethodDef; 2]);
// SAFETY: constant data.
unsafe impl Sync for Functions {}

static FUNCTIONS: Functions = Functions([
    ffi::PyMethodDef {
        ml_name: c"receive".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: receive },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: c"receive(fd, limit, /)\n--\n\nWhat a socket has to read now, at most so many bytes; None if that is nothing yet.".as_ptr(),
    },
    ffi::PyMethodDef::zeroed(),
]);

unsafe extern "C" fn receive(
    _module: *mut ffi::PyObject,
    given: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        if count != 2 {
            return Err(Raised::type_error(py, "two arguments were expected"));
        }
        // SAFETY: CPython passes so many arguments, which live for the call.
        let (fd, limit) = unsafe {
            (
                Object::borrowed(py, *given),
                Object::borrowed(py, *given.add(1)),
            )
        };
        let limit = usize::try_from(limit.as_int()?)
            .map_err(|_| Raised::value_error(py, "negative buffersize in recv"))?;
        match transfer::receive(descriptor(&fd)?, limit, |bytes| Object::bytes(py, bytes)) {
            Ok(data) => data,
            Err(error) if transfer::would_block(&error) => Ok(Object::none(py)),
            Err(error) => Err(transfer::raised(py, &error)),
        }
    })
}

const fn slot(slot: c_int, pfunc: *mut std::ffi::c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// Makes a class whose objects hold others, and adds it to the module.
///
/// # Safety
/// `size` is that of what the slots expect; they end with a zero one and are those that the collector needs at least.
unsafe fn add_class(
    module: &Object<'_>,
    name: &CStr,
    qualified: &'static CStr,
    size: usize,
    more_flags: std::ffi::c_ulong,
    slots: &mut [ffi::PyType_Slot],
) -> Result<()> {
    let flags = ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_HAVE_GC
        | ffi::Py_TPFLAGS_IMMUTABLETYPE
        | more_flags;
    let mut spec = ffi::PyType_Spec {
        name: qualified.as_ptr(),
        basicsize: size as c_int,
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

/// A new object of a class, with what its fields are before they are set: zero.
///
/// # Safety
/// `class` is what CPython passes to `tp_new`.
unsafe fn allocate(py: Python<'_>, class: *mut ffi::PyTypeObject) -> Result<Object<'_>> {
    // SAFETY: attached; a class that is ready has this slot, which gives memory filled with zeros.
    unsafe {
        match (*class).tp_alloc {
            Some(allocate) => Object::owned_or_raised(py, allocate(class, 0)),
            None => Err(Raised::type_error(py, "the class has no objects")),
        }
    }
}

/// Exactly so many positional arguments, and none by name.
///
/// # Safety
/// The arguments are those that CPython passes to `tp_new`.
unsafe fn arguments<'py, const N: usize>(
    py: Python<'py>,
    arguments: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> Result<[Object<'py>; N]> {
    // SAFETY: the caller's promise: a tuple, and null or a dict.
    let (positional, named) = unsafe {
        let named = !keywords.is_null() && ffi::PyDict_Size(keywords) > 0;
        (Object::borrowed(py, arguments).tuple_items()?, named)
    };
    let given = positional.len();
    match positional.try_into() {
        Ok(all) if !named => Ok(all),
        _ => Err(Raised::type_error(
            py,
            &format!("{N} positional arguments were expected, {given} given"),
        )),
    }
}

/// A descriptor that code may read from and write to.
fn descriptor(fd: &Object<'_>) -> Result<c_int> {
    let descriptor = c_int::try_from(fd.as_int()?)
        .map_err(|_| Raised::value_error(fd.py(), "this is no file descriptor"))?;
    descriptors::check_read(fd.py(), descriptor)?;
    Ok(descriptor)
}

/// Calls a method, with one argument or none.
fn call_method<'py>(
    object: &Object<'py>,
    name: &Object<'py>,
    argument: Option<&Object<'py>>,
) -> Result<Object<'py>> {
    let py = object.py();
    let given = [
        object.as_ptr(),
        argument.map_or(std::ptr::null_mut(), Object::as_ptr),
    ];
    let count = if argument.is_some() { 2 } else { 1 };
    // SAFETY: attached; so many objects, which are alive.
    unsafe {
        Object::owned_or_raised(
            py,
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                given.as_ptr(),
                count,
                std::ptr::null_mut(),
            ),
        )
    }
}

/// A name, shared with all other strings that say the same.
fn interned<'py>(py: Python<'py>, name: &'static CStr) -> Result<Object<'py>> {
    // SAFETY: attached; the text ends with a zero.
    unsafe { Object::owned_or_raised(py, ffi::PyUnicode_InternFromString(name.as_ptr())) }
}

/// The exception that was raised, unless it is one that ends the loop: that is raised again.
fn reportable(py: Python<'_>, raised: Raised) -> Result<Object<'_>> {
    // SAFETY: attached, and an exception is set; the classes are static.
    let ends = unsafe {
        ffi::PyErr_ExceptionMatches(ffi::PyExc_SystemExit) != 0
            || ffi::PyErr_ExceptionMatches(ffi::PyExc_KeyboardInterrupt) != 0
    };
    if ends {
        return Err(raised);
    }
    Ok(raised.fetch(py).unwrap_or_else(|| Object::none(py)))
}

/// Tells a transport that it cannot go on.
fn fail<'py>(
    transport: &Object<'py>,
    error: &Object<'py>,
    text: &'static str,
) -> Result<Object<'py>> {
    let text = Object::str(transport.py(), text)?;
    transport.getattr_str("_fatal_error")?.call(&[error, &text])
}
