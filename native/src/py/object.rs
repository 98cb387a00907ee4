//! Owned references to Python objects.

use super::{Python, Raised, Result, ffi};
use std::ptr::NonNull;

/// A reference that is owned while its thread is attached; dropping it gives it back. A slice of them is
/// laid out as C's array of pointers.
#[repr(transparent)]
pub(crate) struct Object<'py> {
    ptr: NonNull<ffi::PyObject>,
    py: Python<'py>,
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        // SAFETY: `py` proves that the thread is attached, and we own the reference.
        unsafe { ffi::Py_DECREF(self.ptr.as_ptr()) };
    }
}

impl<'py> Object<'py> {
    /// Takes over a new reference; `None` for null.
    ///
    /// # Safety
    /// `ptr` is null or a new reference of the attached interpreter.
    pub(crate) unsafe fn owned(py: Python<'py>, ptr: *mut ffi::PyObject) -> Option<Self> {
        NonNull::new(ptr).map(|ptr| Self { ptr, py })
    }

    /// Takes over a new reference; null means that an exception is set.
    ///
    /// # Safety
    /// As [`Self::owned`].
    pub(crate) unsafe fn owned_or_raised(py: Python<'py>, ptr: *mut ffi::PyObject) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::owned(py, ptr) }.ok_or_else(|| Raised::seen(py))
    }

    /// Makes a reference of a borrowed one.
    ///
    /// # Safety
    /// `ptr` is an object of the attached interpreter, or immortal.
    pub(crate) unsafe fn borrowed(py: Python<'py>, ptr: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller's promise; it is not null.
        unsafe {
            ffi::Py_INCREF(ptr);
            Self {
                ptr: NonNull::new_unchecked(ptr),
                py,
            }
        }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    /// The pointer, still owned by `self`.
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.ptr.as_ptr()
    }

    /// The reference itself, for C functions that steal it.
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        std::mem::ManuallyDrop::new(self).ptr.as_ptr()
    }

    /// Stores the reference beyond this attachment.
    pub(crate) fn keep(self) -> Kept {
        Kept(std::mem::ManuallyDrop::new(self).ptr)
    }

    pub(crate) fn str(py: Python<'py>, text: &str) -> Result<Self> {
        // SAFETY: attached; the text is UTF-8 of the given length.
        unsafe {
            Self::owned_or_raised(
                py,
                ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as isize),
            )
        }
    }

    /// A str of bytes that are all ASCII.
    #[inline]
    pub(crate) fn ascii(py: Python<'py>, text: &[u8]) -> Result<Self> {
        // Short ones are shared by CPython.
        if text.len() < 2 {
            // SAFETY: attached; ASCII is UTF-8.
            return unsafe {
                let size = text.len().cast_signed();
                Self::owned_or_raised(
                    py,
                    ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), size),
                )
            };
        }
        // SAFETY: attached; a new str of that many places, which are all written before anybody sees it.
        unsafe {
            let str = Self::owned_or_raised(py, ffi::PyUnicode_New(text.len().cast_signed(), 127))?;
            let places = ffi::PyUnicode_DATA(str.as_ptr()).cast();
            std::ptr::copy_nonoverlapping(text.as_ptr(), places, text.len());
            Ok(str)
        }
    }

    pub(crate) fn none(py: Python<'py>) -> Self {
        // SAFETY: attached; an immortal object.
        unsafe { Self::borrowed(py, ffi::Py_None()) }
    }

    pub(crate) fn int(py: Python<'py>, value: i64) -> Result<Self> {
        // SAFETY: attached; a new reference.
        unsafe { Self::owned_or_raised(py, ffi::PyLong_FromLongLong(value)) }
    }

    /// The value of an int within 64 bits; an exception for others.
    pub(crate) fn as_int(&self) -> Result<i64> {
        // SAFETY: attached; the object is alive.
        let value = unsafe { ffi::PyLong_AsLongLong(self.as_ptr()) };
        // SAFETY: attached.
        if value == -1 && !unsafe { ffi::PyErr_Occurred() }.is_null() {
            return Err(Raised::seen(self.py));
        }
        Ok(value)
    }

    /// The text of a str, `None` for other objects; an exception where it has lone surrogates.
    pub(crate) fn str_of(&self) -> Result<Option<String>> {
        let mut size = 0;
        // SAFETY: attached; reads the type of a live object, and the buffer of a str, which lives as long.
        unsafe {
            if ffi::PyUnicode_Check(self.as_ptr()) == 0 {
                return Ok(None);
            }
            let data = ffi::PyUnicode_AsUTF8AndSize(self.as_ptr(), &mut size);
            if data.is_null() {
                return Err(Raised::seen(self.py));
            }
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), size as usize);
            Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
        }
    }

    /// The text of an exact str as UTF-8, `None` for other objects; an exception where it has lone surrogates.
    pub(crate) fn exact_str(&self) -> Result<Option<&[u8]>> {
        let mut size = 0;
        // SAFETY: attached; reads the type of a live object, and the buffer of a str, which lives as long.
        unsafe {
            if ffi::PyUnicode_CheckExact(self.as_ptr()) == 0 {
                return Ok(None);
            }
            let data = ffi::PyUnicode_AsUTF8AndSize(self.as_ptr(), &mut size);
            if data.is_null() {
                return Err(Raised::seen(self.py));
            }
            Ok(Some(std::slice::from_raw_parts(
                data.cast(),
                size.cast_unsigned(),
            )))
        }
    }

    /// The name of its class, for texts.
    pub(crate) fn type_name(&self) -> String {
        // SAFETY: attached; the type of a live object.
        let name = unsafe {
            Self::owned_or_raised(self.py, ffi::PyType_GetName(ffi::Py_TYPE(self.as_ptr())))
        };
        name.and_then(|name| name.str_lossy())
            .unwrap_or_else(|raised| {
                raised.clear(self.py);
                "?".into()
            })
    }

    /// The elements of a tuple; a `TypeError` for other objects.
    pub(crate) fn tuple_items(&self) -> Result<Vec<Self>> {
        // SAFETY: attached; a tuple never changes, and its elements are alive as long as it is.
        unsafe {
            if ffi::PyTuple_Check(self.as_ptr()) == 0 {
                let text = format!("a tuple was expected, not {}", self.type_name());
                return Err(Raised::type_error(self.py, &text));
            }
            let size = ffi::PyTuple_Size(self.as_ptr());
            Ok((0..size)
                .map(|i| Self::borrowed(self.py, ffi::PyTuple_GetItem(self.as_ptr(), i)))
                .collect())
        }
    }

    /// Appends to a list.
    pub(crate) fn append(&self, element: &Object<'_>) -> Result<()> {
        // SAFETY: attached; the list takes a reference of its own.
        match unsafe { ffi::PyList_Append(self.as_ptr(), element.as_ptr()) } {
            0 => Ok(()),
            _ => Err(Raised::seen(self.py)),
        }
    }

    pub(crate) fn bytes(py: Python<'py>, bytes: &[u8]) -> Result<Self> {
        let size = bytes.len().cast_signed();
        // SAFETY: attached; the bytes are copied.
        unsafe {
            Self::owned_or_raised(
                py,
                ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), size),
            )
        }
    }

    pub(crate) fn bool(py: Python<'py>, value: bool) -> Self {
        // SAFETY: attached; immortal objects.
        unsafe {
            Self::borrowed(
                py,
                if value {
                    ffi::Py_True()
                } else {
                    ffi::Py_False()
                },
            )
        }
    }

    pub(crate) fn tuple<const N: usize>(py: Python<'py>, elements: [Self; N]) -> Result<Self> {
        // SAFETY: attached; a tuple of empty places, each of which is given a reference.
        unsafe {
            let tuple = Self::owned_or_raised(py, ffi::PyTuple_New(N.cast_signed()))?;
            for (i, element) in elements.into_iter().enumerate() {
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i.cast_signed(), element.into_ptr());
            }
            Ok(tuple)
        }
    }

    /// An attribute, `None` where there is none.
    pub(crate) fn getattr_optional(&self, name: &Object<'_>) -> Result<Option<Self>> {
        let mut found = std::ptr::null_mut();
        // SAFETY: attached; both are alive. On success the result is null or a new reference.
        unsafe {
            let status =
                ffi::compat::PyObject_GetOptionalAttr(self.as_ptr(), name.as_ptr(), &mut found);
            if status < 0 {
                return Err(Raised::seen(self.py));
            }
            Ok(Self::owned(self.py, found))
        }
    }

    pub(crate) fn getattr(&self, name: &Object<'_>) -> Result<Self> {
        // SAFETY: attached; both are alive.
        unsafe {
            Self::owned_or_raised(self.py, ffi::PyObject_GetAttr(self.as_ptr(), name.as_ptr()))
        }
    }

    /// Like [`Self::getattr`] for a name that is written in this library.
    pub(crate) fn getattr_str(&self, name: &str) -> Result<Self> {
        self.getattr(&Self::str(self.py, name)?)
    }

    pub(crate) fn set_attr(&self, name: &Object<'_>, value: &Object<'_>) -> Result<()> {
        // SAFETY: attached; all are alive.
        match unsafe { ffi::PyObject_SetAttr(self.as_ptr(), name.as_ptr(), value.as_ptr()) } {
            0 => Ok(()),
            _ => Err(Raised::seen(self.py)),
        }
    }

    /// Its class.
    pub(crate) fn class(&self) -> Self {
        // SAFETY: attached; the type of a live object.
        unsafe { Self::borrowed(self.py, ffi::Py_TYPE(self.as_ptr()).cast()) }
    }

    pub(crate) fn call(&self, arguments: &[&Object<'_>]) -> Result<Self> {
        let pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        // SAFETY: attached; callee and arguments are alive.
        unsafe {
            Self::owned_or_raised(
                self.py,
                ffi::PyObject_Vectorcall(
                    self.as_ptr(),
                    pointers.as_ptr(),
                    pointers.len(),
                    std::ptr::null_mut(),
                ),
            )
        }
    }

    pub(crate) fn import(py: Python<'py>, name: &str) -> Result<Self> {
        let name = Self::str(py, name)?;
        // SAFETY: attached; the name is a str.
        unsafe { Self::owned_or_raised(py, ffi::PyImport_Import(name.as_ptr())) }
    }

    /// Whether its type is a class or derives from it; `__class__` and `__instancecheck__` mean nothing here.
    pub(crate) fn is_a(&self, class: *mut ffi::PyObject) -> bool {
        // SAFETY: attached; the type of a live object, and a class.
        unsafe { ffi::PyType_IsSubtype(ffi::Py_TYPE(self.as_ptr()), class.cast()) != 0 }
    }

    /// Whether it is a class that is `class` or derives from it.
    pub(crate) fn derives_from(&self, class: *mut ffi::PyObject) -> bool {
        // SAFETY: attached; looked into as a class only if it is one.
        unsafe {
            ffi::PyType_Check(self.as_ptr()) != 0
                && ffi::PyType_IsSubtype(self.as_ptr().cast(), class.cast()) != 0
        }
    }

    /// Another reference to the same object.
    pub(crate) fn again(&self) -> Self {
        // SAFETY: attached; the object is alive.
        unsafe { Self::borrowed(self.py, self.as_ptr()) }
    }

    /// `str(self)` as text, as [`Self::str_lossy`] gives it.
    pub(crate) fn to_text(&self) -> Result<String> {
        // SAFETY: attached.
        let text = unsafe { Self::owned_or_raised(self.py, ffi::PyObject_Str(self.as_ptr()))? };
        text.str_lossy()
    }

    /// The text of a str; lone surrogates are written out, as `\\ud800`.
    pub(crate) fn str_lossy(&self) -> Result<String> {
        let mut size = 0;
        // SAFETY: attached, and a str; the buffer lives as long as the str.
        unsafe {
            let data = ffi::PyUnicode_AsUTF8AndSize(self.as_ptr(), &mut size);
            if !data.is_null() {
                let bytes = std::slice::from_raw_parts(data.cast::<u8>(), size as usize);
                return Ok(String::from_utf8_lossy(bytes).into_owned());
            }
        }
        Raised::seen(self.py).clear(self.py);
        // SAFETY: attached; the bytes live as long as `encoded`.
        unsafe {
            let encoded = Self::owned_or_raised(
                self.py,
                ffi::PyUnicode_AsEncodedString(
                    self.as_ptr(),
                    c"utf-8".as_ptr(),
                    c"backslashreplace".as_ptr(),
                ),
            )?;
            let data = ffi::PyBytes_AsString(encoded.as_ptr());
            let size = ffi::PyBytes_Size(encoded.as_ptr());
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), size as usize);
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

/// A reference stored beyond an attachment. It belongs to one interpreter, whose owner thread holds it;
/// dropped without [`Kept::release`] it leaks, which is safe.
pub(crate) struct Kept(NonNull<ffi::PyObject>);

// SAFETY: a mere address; using it takes proof of being attached.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Kept {
    /// Another reference to it.
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Object<'py> {
        // SAFETY: the holder is the owner thread of the object's interpreter (see the type).
        unsafe { Object::borrowed(py, self.0.as_ptr()) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference back.
    pub(crate) fn release(self, py: Python<'_>) {
        // SAFETY: as `get`; the reference is ours.
        drop(unsafe { Object::owned(py, self.0.as_ptr()) });
    }
}
