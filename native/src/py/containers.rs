//! Lists, dicts and tuples, and a few plain values.

use super::{Object, Python, Raised, Result, ffi};

impl<'py> Object<'py> {
    /// An empty list.
    pub(crate) fn list(py: Python<'py>) -> Result<Self> {
        // SAFETY: attached; a new reference.
        unsafe { Self::owned_or_raised(py, ffi::PyList_New(0)) }
    }

    /// An empty dict.
    pub(crate) fn dict(py: Python<'py>) -> Result<Self> {
        // SAFETY: attached; a new reference.
        unsafe { Self::owned_or_raised(py, ffi::PyDict_New()) }
    }

    /// A tuple of so many elements.
    pub(crate) fn tuple_of(py: Python<'py>, elements: Vec<Self>) -> Result<Self> {
        let count = elements.len().cast_signed();
        // SAFETY: attached; a tuple of empty places, each of which is given a reference.
        unsafe {
            let tuple = Self::owned_or_raised(py, ffi::PyTuple_New(count))?;
            for (i, element) in elements.into_iter().enumerate() {
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i.cast_signed(), element.into_ptr());
            }
            Ok(tuple)
        }
    }

    /// Enters a value into a dict.
    pub(crate) fn set_item(&self, key: &Object<'_>, value: &Object<'_>) -> Result<()> {
        // SAFETY: attached; a dict, which takes references of its own.
        match unsafe { ffi::PyDict_SetItem(self.as_ptr(), key.as_ptr(), value.as_ptr()) } {
            0 => Ok(()),
            _ => Err(Raised::seen(self.py())),
        }
    }

    /// What a dict has under a key; a `TypeError` for other objects.
    pub(crate) fn dict_get(&self, key: &Object<'_>) -> Result<Option<Self>> {
        let py = self.py();
        // SAFETY: attached; the type is looked at first. The value is a borrowed reference.
        unsafe {
            if ffi::PyDict_Check(self.as_ptr()) == 0 {
                let text = format!("a dict was expected, not {}", self.type_name());
                return Err(Raised::type_error(py, &text));
            }
            let value = ffi::PyDict_GetItemWithError(self.as_ptr(), key.as_ptr());
            if !value.is_null() {
                return Ok(Some(Self::borrowed(py, value)));
            }
            if ffi::PyErr_Occurred().is_null() {
                Ok(None)
            } else {
                Err(Raised::seen(py))
            }
        }
    }

    /// The first element of a list, if there is one; `None` for other objects, too.
    pub(crate) fn list_first(&self) -> Option<Self> {
        let py = self.py();
        // SAFETY: attached; the type and the size are looked at first. The element is a borrowed reference.
        unsafe {
            if ffi::PyList_Check(self.as_ptr()) == 0 || ffi::PyList_Size(self.as_ptr()) == 0 {
                return None;
            }
            let first = ffi::PyList_GetItem(self.as_ptr(), 0);
            Some(Self::borrowed(py, first))
        }
    }

    /// How many elements any container has.
    pub(crate) fn size(&self) -> Result<isize> {
        // SAFETY: attached; any object.
        match unsafe { ffi::PyObject_Size(self.as_ptr()) } {
            -1 => Err(Raised::seen(self.py())),
            size => Ok(size),
        }
    }

    /// The value of a float, or of what has one.
    pub(crate) fn as_float(&self) -> Result<f64> {
        // SAFETY: attached; any object.
        let value = unsafe { ffi::PyFloat_AsDouble(self.as_ptr()) };
        // SAFETY: attached.
        if value == -1.0 && !unsafe { ffi::PyErr_Occurred() }.is_null() {
            return Err(Raised::seen(self.py()));
        }
        Ok(value)
    }

    pub(crate) fn is_none(&self) -> bool {
        // SAFETY: the address of an immortal object.
        self.as_ptr() == unsafe { ffi::Py_None() }
    }

    /// Whether it is `True` itself.
    pub(crate) fn is_true(&self) -> bool {
        // SAFETY: the address of an immortal object.
        self.as_ptr() == unsafe { ffi::Py_True() }
    }
}
