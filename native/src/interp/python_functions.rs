//! What the functions of `_erlang` that need a context are made of: method tables, and the reading of arguments.

use crate::py::{Object, Python, Raised, Result, ffi};

/// A method table that CPython only reads.
pub(super) struct Methods<const N: usize>(pub(super) [ffi::PyMethodDef; N]);
// SAFETY: constant data.
unsafe impl<const N: usize> Sync for Methods<N> {}

/// What CPython passes: positional arguments, then those by name, and the names.
pub(super) type FastCall = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

pub(super) const fn method(
    name: &'static std::ffi::CStr,
    body: FastCall,
    doc: &'static std::ffi::CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: body,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// Adds the functions to the module of the attached interpreter.
pub(super) fn add<const N: usize>(py: Python<'_>, methods: &'static Methods<N>) -> Result<()> {
    let module = Object::import(py, "_erlang")?;
    let table = (&raw const methods.0).cast_mut().cast();
    // SAFETY: attached; a module and a static table that CPython only reads.
    match unsafe { ffi::PyModule_AddFunctions(module.as_ptr(), table) } {
        0 => Ok(()),
        _ => Err(Raised::seen(py)),
    }
}

/// The arguments of one call.
pub(super) struct Arguments<'py> {
    pub(super) py: Python<'py>,
    /// `_erlang`, which can no longer be imported when an interpreter ends.
    pub(super) module: Object<'py>,
    name: &'static str,
    values: Vec<Object<'py>>,
}

impl<'py> Arguments<'py> {
    /// # Safety
    /// What CPython has passed to a function of the table.
    pub(super) unsafe fn read(
        py: Python<'py>,
        name: &'static str,
        module: *mut ffi::PyObject,
        values: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Result<Self> {
        if !names.is_null() {
            return Err(Raised::type_error(
                py,
                &format!(
                    "erlang.{name}() takes no keyword arguments: Erlang functions have none; pass a dict"
                ),
            ));
        }
        // SAFETY: the caller's promise; the module of a function lives for the call.
        let module = unsafe { Object::borrowed(py, module) };
        let values = (0..count)
            // SAFETY: the caller's promise; the arguments live for the call.
            .map(|i| unsafe { Object::borrowed(py, *values.offset(i)) })
            .collect();
        Ok(Self {
            py,
            module,
            name,
            values,
        })
    }

    /// Exactly so many.
    pub(super) fn exactly<const N: usize>(&self) -> Result<&[Object<'py>; N]> {
        self.values.as_slice().try_into().map_err(|_| {
            let count = self.values.len();
            let text = format!("erlang.{}() takes {N} arguments ({count} given)", self.name);
            Raised::type_error(self.py, &text)
        })
    }

    /// The first, and the rest.
    pub(super) fn first(&self, what: &str) -> Result<(&Object<'py>, &[Object<'py>])> {
        self.values.split_first().ok_or_else(|| {
            let text = format!("erlang.{}() needs {what}", self.name);
            Raised::type_error(self.py, &text)
        })
    }
}

/// The text of a str.
pub(super) fn name(object: &Object<'_>, what: &str) -> Result<String> {
    object.str_of()?.ok_or_else(|| {
        let py = object.py();
        Raised::type_error(py, &format!("{what} is a str, not {}", object.type_name()))
    })
}

/// A number that `_erlang` has given out.
pub(super) fn number(object: &Object<'_>) -> Result<u64> {
    Ok(object.as_int()?.cast_unsigned())
}

/// A C function of a method table.
macro_rules! function {
    ($entry:ident, $name:literal, $body:expr) => {
        unsafe extern "C" fn $entry(
            module: *mut $crate::py::ffi::PyObject,
            values: *const *mut $crate::py::ffi::PyObject,
            count: $crate::py::ffi::Py_ssize_t,
            names: *mut $crate::py::ffi::PyObject,
        ) -> *mut $crate::py::ffi::PyObject {
            $crate::erlang_module::trampoline::object(|py| {
                // SAFETY: CPython passes what it says.
                let arguments = unsafe {
                    $crate::interp::python_functions::Arguments::read(
                        py, $name, module, values, count, names,
                    )?
                };
                let body: for<'py> fn(
                    $crate::py::Python<'py>,
                    &$crate::interp::python_functions::Arguments<'py>,
                ) -> $crate::py::Result<$crate::py::Object<'py>> = $body;
                body(py, &arguments)
            })
        }
    };
}
pub(super) use function;
