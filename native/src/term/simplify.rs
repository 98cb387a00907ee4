//! Objects that are converted as something simpler: those that say so themselves, and some classes of the
//! standard library. What they become is decided in Python (`erlang._values`), since it is asked once per
//! object, not once per element.

use super::Conversion;
use crate::py::{Kept, Object, Python, Result, ffi};

/// The Python functions, imported at their first use.
#[derive(Default)]
pub(crate) struct Simplifier(Option<Functions>);

struct Functions {
    simplify: Kept,
    contents: Kept,
    /// `__erlang_term__` and `__dataclass_fields__`.
    telling: [Kept; 2],
}

impl Functions {
    fn import(py: Python<'_>) -> Result<Self> {
        let module = Object::import(py, "erlang._values")?;
        Ok(Self {
            simplify: module.getattr_str("simplify")?.keep(),
            contents: module.getattr_str("contents")?.keep(),
            telling: [
                Object::str(py, "__erlang_term__")?.keep(),
                Object::str(py, "__dataclass_fields__")?.keep(),
            ],
        })
    }
}

impl Simplifier {
    fn functions(&mut self, py: Python<'_>) -> Result<&Functions> {
        if self.0.is_none() {
            self.0 = Some(Functions::import(py)?);
        }
        self.0
            .as_ref()
            .ok_or_else(|| crate::py::Raised::runtime_error(py, "erlang._values is missing"))
    }

    /// What to convert in the place of an object; `None` when it is to be taken as what its class derives
    /// from, or has no counterpart. Runs code of users.
    pub(crate) fn replacement<'py>(
        &mut self,
        object: &Object<'py>,
        options: Conversion,
    ) -> Result<Option<Object<'py>>> {
        let py = object.py();
        let functions = self.functions(py)?;
        if functions.is_plain(object)? {
            return Ok(None);
        }
        let arrays = Object::bool(py, options.binary_arrays);
        let simpler = functions.simplify.get(py).call(&[object, &arrays])?;
        // SAFETY: the address of an immortal object.
        let same = simpler.as_ptr() == unsafe { ffi::Py_NotImplemented() };
        Ok((!same).then_some(simpler))
    }

    /// The contents of an object that has a length and can be iterated over; a `TypeError` for others.
    pub(crate) fn contents<'py>(&mut self, object: &Object<'py>) -> Result<Object<'py>> {
        let py = object.py();
        self.functions(py)?.contents.get(py).call(&[object])
    }

    pub(crate) fn clear(&mut self, py: Python<'_>) {
        if let Some(functions) = self.0.take() {
            functions.simplify.release(py);
            functions.contents.release(py);
            for name in functions.telling {
                name.release(py);
            }
        }
    }
}

impl Functions {
    /// Whether an object is of a class that derives from a convertible one and says nothing itself: the
    /// common case of named tuples, which need not be asked about in Python.
    fn is_plain(&self, object: &Object<'_>) -> Result<bool> {
        let py = object.py();
        // SAFETY: attached; the class of a live object.
        let (class, derived) = unsafe {
            let class = ffi::Py_TYPE(object.as_ptr());
            let convertible = ffi::Py_TPFLAGS_LONG_SUBCLASS
                | ffi::Py_TPFLAGS_LIST_SUBCLASS
                | ffi::Py_TPFLAGS_TUPLE_SUBCLASS
                | ffi::Py_TPFLAGS_BYTES_SUBCLASS
                | ffi::Py_TPFLAGS_UNICODE_SUBCLASS
                | ffi::Py_TPFLAGS_DICT_SUBCLASS;
            // Enumerations have a metaclass of their own.
            let ordinary = ffi::Py_TYPE(class.cast()) == &raw mut ffi::PyType_Type;
            let derived = ordinary && ffi::PyType_GetFlags(class) & convertible != 0;
            (Object::borrowed(py, class.cast()), derived)
        };
        if !derived {
            return Ok(false);
        }
        for name in &self.telling {
            if class.getattr_optional(&name.get(py))?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
