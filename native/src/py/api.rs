//! Parts of CPython's C API that pyo3-ffi does not declare.

use pyo3_ffi::{PyInterpreterState, PyObject};
use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

/// `int _PyEval_AddPendingCall(PyInterpreterState *, int (*)(void *), void *, int)`: runs a function in
/// whichever thread of that interpreter next reaches a safe point. It needs no thread state and no GIL.
/// Private but exported in 3.12 to 3.15, with this shape in all of them; looked up at run time so that
/// its absence can be met.
pub(crate) type AddPendingCall = unsafe extern "C" fn(
    *mut PyInterpreterState,
    unsafe extern "C" fn(*mut c_void) -> c_int,
    *mut c_void,
    c_int,
) -> c_int;

/// See [`AddPendingCall`].
pub(crate) fn add_pending_call() -> Option<AddPendingCall> {
    static FOUND: OnceLock<Option<AddPendingCall>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: a look-up by name among the global symbols, which libpython's are by then.
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_PyEval_AddPendingCall".as_ptr()) };
        // SAFETY: the symbol has this type in every supported version.
        (!symbol.is_null())
            .then(|| unsafe { std::mem::transmute::<*mut c_void, AddPendingCall>(symbol) })
    })
}

/// Writes `value`, an int, as `buffer.len()` bytes of magnitude, little end first; `false` with an
/// exception set when it does not fit. `negative` says which sign it has.
///
/// # Safety
/// Attached; `value` is an int whose sign is known.
pub(crate) unsafe fn int_to_bytes(value: *mut PyObject, buffer: &mut [u8]) -> bool {
    #[cfg(Py_3_13)]
    {
        // SAFETY: the caller's promise; the flags ask for little-endian two's complement.
        let needed = unsafe {
            pyo3_ffi::PyLong_AsNativeBytes(
                value,
                buffer.as_mut_ptr().cast(),
                buffer.len() as isize,
                pyo3_ffi::Py_ASNATIVEBYTES_LITTLE_ENDIAN,
            )
        };
        needed >= 0 && needed as usize <= buffer.len()
    }
    #[cfg(not(Py_3_13))]
    {
        // SAFETY: as above.
        unsafe {
            pyo3_ffi::_PyLong_AsByteArray(value.cast(), buffer.as_mut_ptr(), buffer.len(), 1, 1)
                == 0
        }
    }
}

/// A new int of little-endian bytes without sign; null with an exception set when memory is short.
///
/// # Safety
/// Attached.
pub(crate) unsafe fn int_from_bytes(bytes: &[u8]) -> *mut PyObject {
    #[cfg(Py_3_13)]
    {
        // SAFETY: the caller's promise.
        unsafe {
            pyo3_ffi::PyLong_FromNativeBytes(
                bytes.as_ptr().cast(),
                bytes.len(),
                pyo3_ffi::Py_ASNATIVEBYTES_LITTLE_ENDIAN
                    | pyo3_ffi::Py_ASNATIVEBYTES_UNSIGNED_BUFFER,
            )
        }
    }
    #[cfg(not(Py_3_13))]
    {
        // SAFETY: as above.
        unsafe { pyo3_ffi::_PyLong_FromByteArray(bytes.as_ptr(), bytes.len(), 1, 0) }
    }
}

/// The value of an int that CPython keeps in at most two digits, read in its place as the inline functions of
/// its headers do (`PyUnstable_Long_CompactValue`). `None` for others, and on versions whose layout is not
/// known.
///
/// # Safety
/// Attached; `int` is an int.
#[inline(always)]
pub(crate) unsafe fn short_int(int: *mut PyObject) -> Option<i64> {
    #[cfg(not(Py_3_16))]
    {
        /// `PyLongObject` of 3.12 to 3.15: the lowest two bits of the tag tell the sign (0 positive, 1 zero, 2
        /// negative), those above the third the number of digits of 30 bits.
        #[repr(C)]
        struct Long {
            base: PyObject,
            tag: usize,
            digits: [u32; 3],
        }
        const ONE_DIGIT: usize = 1 << 3;
        let long = int.cast::<Long>();
        // SAFETY: the caller's promise; each digit is only read where there is one.
        unsafe {
            let tag = (*long).tag;
            let digits = (&raw const (*long).digits).cast::<u32>();
            // By far the most.
            if tag == ONE_DIGIT {
                return Some(i64::from(*digits));
            }
            let sign = 1 - (tag & 3).cast_signed() as i64;
            match tag >> 3 {
                0 | 1 => return Some(sign * i64::from(*digits)),
                2 => return Some(sign * (i64::from(*digits) | i64::from(*digits.add(1)) << 30)),
                // All but the least of those with 64 bits.
                3 if *digits.add(2) < 8 => {
                    let low = i64::from(*digits) | i64::from(*digits.add(1)) << 30;
                    return Some(sign * (low | i64::from(*digits.add(2)) << 60));
                }
                _ => {}
            }
        }
    }
    #[cfg(Py_3_16)]
    let _unread = int;
    None
}

/// `Py_AuditHookFunction`: an event's name, its arguments as a tuple, and what was given with the hook.
pub(crate) type AuditHook =
    unsafe extern "C" fn(*const c_char, *mut PyObject, *mut c_void) -> c_int;

unsafe extern "C" {
    /// Adds a hook for all interpreters, for ever. Callable before initialisation.
    pub(crate) fn PySys_AddAuditHook(hook: AuditHook, data: *mut c_void) -> c_int;

    /// Calls a function for each object that the garbage collector knows, until that gives 0. It must make and free
    /// none.
    pub(crate) fn PyUnstable_GC_VisitObjects(
        visit: unsafe extern "C" fn(*mut PyObject, *mut c_void) -> c_int,
        data: *mut c_void,
    );

    /// A function bound to an object.
    pub(crate) fn PyMethod_New(function: *mut PyObject, object: *mut PyObject) -> *mut PyObject;
}
