//! The functions of `_erlang`. Most replace one of the standard library's that would block the context for
//! good or change the node's process behind the BEAM's back; `erlang._boot` puts them in place.

use super::{trampoline, values};
use crate::beam::{TermEnv, TermType};
use crate::interrupt;
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::tracing;
use std::time::{Duration, Instant};

/// A method table that CPython only reads.
struct Methods<const N: usize>([ffi::PyMethodDef; N]);
// SAFETY: constant data.
unsafe impl<const N: usize> Sync for Methods<N> {}

static METHODS: Methods<7> = Methods([
    ffi::PyMethodDef {
        ml_name: c"from_external".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: from_external },
        ml_flags: ffi::METH_O,
        ml_doc: c"from_external(data, /)\n--\n\nThe Pid, Ref or Port of bytes in Erlang's external format; for pickle.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"sleep".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: sleep },
        ml_flags: ffi::METH_O,
        ml_doc: c"sleep(seconds, /)\n--\n\nLike time.sleep, but ends at once with erlang.Interrupted when the call is interrupted from Erlang.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"putenv".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: putenv },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: c"putenv(name, value, /)\n--\n\nDoes nothing: os.environ belongs to this interpreter, and the environment of the node's process never changes.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"unsetenv".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: unsetenv },
        ml_flags: ffi::METH_O,
        ml_doc: c"unsetenv(name, /)\n--\n\nDoes nothing; see putenv.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"interpreter_id".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: interpreter_id },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"interpreter_id()\n--\n\nThe number of the running interpreter; 0 is the main one.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"trace_memory".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: trace_memory },
        ml_flags: ffi::METH_O,
        ml_doc: c"trace_memory(on, /)\n--\n\nSay that memory is traced from now on, or no longer. False: it must not be, since there are interpreters with GILs of their own.".as_ptr(),
    },
    ffi::PyMethodDef::zeroed(),
]);

/// What a module definition takes: CPython does not write to it.
pub(super) const fn table() -> *mut ffi::PyMethodDef {
    (&raw const METHODS.0).cast_mut().cast()
}

fn none(py: Python<'_>) -> Object<'_> {
    // SAFETY: attached; an immortal object.
    unsafe { Object::borrowed(py, ffi::Py_None()) }
}

/// The longest sleep that is told apart from sleeping for ever: some 136 years.
const LONGEST: f64 = 4_294_967_296.0;

fn duration(py: Python<'_>, seconds: *mut ffi::PyObject) -> Result<Duration> {
    // SAFETY: attached; an argument of the call.
    let seconds = unsafe { ffi::PyFloat_AsDouble(seconds) };
    // SAFETY: attached.
    if seconds == -1.0 && !unsafe { ffi::PyErr_Occurred() }.is_null() {
        return Err(Raised::seen(py));
    }
    if seconds.is_nan() {
        return Err(Raised::value_error(py, "Invalid value NaN (not a number)"));
    }
    if seconds < 0.0 {
        return Err(Raised::value_error(py, "sleep length must be non-negative"));
    }
    if seconds > LONGEST {
        return Err(Raised::overflow_error(py, "sleep length is too large"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

unsafe extern "C" fn sleep(
    _module: *mut ffi::PyObject,
    seconds: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        let duration = duration(py, seconds)?;
        interrupt::sleep_until(py, Instant::now() + duration)?;
        Ok(none(py))
    })
}

unsafe extern "C" fn putenv(
    _module: *mut ffi::PyObject,
    _arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        if count == 2 {
            return Ok(none(py));
        }
        Err(Raised::type_error(
            py,
            &format!("putenv expected 2 arguments, got {count}"),
        ))
    })
}

unsafe extern "C" fn unsetenv(
    _module: *mut ffi::PyObject,
    _name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| Ok(none(py)))
}

/// The tags of pids, references and ports in the external format, old forms included.
const IDENTIFIERS: [u8; 8] = [88, 89, 90, 101, 102, 103, 114, 120];

unsafe extern "C" fn from_external(
    module: *mut ffi::PyObject,
    data: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes the module, and an argument that lives for the call.
        let (module, bytes) = unsafe {
            if ffi::PyBytes_Check(data) == 0 {
                return Err(Raised::type_error(py, "bytes were expected"));
            }
            let size = ffi::PyBytes_Size(data).cast_unsigned();
            let bytes = std::slice::from_raw_parts(ffi::PyBytes_AsString(data).cast(), size);
            (Object::borrowed(py, module), bytes)
        };
        let env = TermEnv::new();
        // Other terms are not even read: a large map would crash emulators that make none on this thread.
        let word = match bytes {
            [131, tag, ..] if IDENTIFIERS.contains(tag) => env.of_external_safe(bytes),
            _ => None,
        };
        let class = match word.map(|word| env.term_type(word)) {
            Some(TermType::Pid) => "Pid",
            Some(TermType::Reference) => "Ref",
            Some(TermType::Port) => "Port",
            _ => return Err(Raised::value_error(py, "this is no pid, reference or port")),
        };
        let class = module.getattr_str(class)?;
        values::make(py, class.as_ptr(), &env, word.unwrap_or_default())
    })
}

unsafe extern "C" fn interpreter_id(
    _module: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: attached; a new reference.
        unsafe { Object::owned_or_raised(py, ffi::PyLong_FromLongLong(py.interpreter_id())) }
    })
}

unsafe extern "C" fn trace_memory(
    _module: *mut ffi::PyObject,
    on: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: attached; the argument of the call.
        let allowed = match unsafe { ffi::PyObject_IsTrue(on) } {
            -1 => return Err(Raised::seen(py)),
            0 => {
                tracing::end();
                true
            }
            _ => tracing::begin(),
        };
        // SAFETY: attached; a new reference.
        unsafe { Object::owned_or_raised(py, ffi::PyBool_FromLong(allowed.into())) }
    })
}
