//! Python objects as Erlang terms.

use super::{DEEPEST, too_deep};
use crate::beam::{TermEnv, Word, atoms, identical};
use crate::erlang_module::Types;
use crate::py::{Object, Python, Raised, Result, api, ffi};
use std::collections::HashMap;

/// Converts objects into terms of one environment.
pub(crate) struct FromPython<'a, 'py> {
    py: Python<'py>,
    env: &'a TermEnv,
    types: &'a Types,
    /// Elements of the containers that are being built, innermost last.
    elements: Vec<Word>,
}

impl<'a, 'py> FromPython<'a, 'py> {
    pub(crate) fn new(py: Python<'py>, env: &'a TermEnv, types: &'a Types) -> Self {
        Self {
            py,
            env,
            types,
            elements: Vec::new(),
        }
    }

    /// The term of an object.
    pub(crate) fn term(&mut self, object: &Object<'py>) -> Result<Word> {
        self.at_depth(object.as_ptr(), 0)
    }

    fn at_depth(&mut self, object: *mut ffi::PyObject, depth: usize) -> Result<Word> {
        // SAFETY: attached, and the object is alive: whoever calls holds a reference to it or to its
        // container, and nothing below runs Python code that could drop it. The checks read its type.
        unsafe {
            if ffi::PyFloat_Check(object) != 0 {
                return Ok(self.float(ffi::PyFloat_AsDouble(object)));
            }
            if ffi::PyUnicode_Check(object) != 0 {
                return self.str(object);
            }
            if object == ffi::Py_True() {
                return Ok(atoms().true_);
            }
            if object == ffi::Py_False() {
                return Ok(atoms().false_);
            }
            if object == ffi::Py_None() {
                return Ok(atoms().none);
            }
            if ffi::PyLong_Check(object) != 0 {
                return self.int(object);
            }
            if ffi::PyList_Check(object) != 0 {
                return self.list(object, depth);
            }
            if ffi::PyDict_Check(object) != 0 {
                return self.dict(object, depth);
            }
            if ffi::PyTuple_Check(object) != 0 {
                return self.tuple(object, depth);
            }
            if ffi::PyBytes_Check(object) != 0 {
                return Ok(self.bytes(object));
            }
            if let Some(word) = self.types.term(self.env, object) {
                return Ok(word);
            }
        }
        Err(self.no_counterpart(object))
    }

    fn no_counterpart(&self, object: *mut ffi::PyObject) -> Raised {
        // SAFETY: attached; the type of a live object.
        let class = unsafe { Object::borrowed(self.py, ffi::Py_TYPE(object).cast()) };
        let name = class
            .getattr_str("__qualname__")
            .and_then(|name| name.to_text())
            .unwrap_or_else(|raised| {
                raised.clear(self.py);
                "?".into()
            });
        let text = format!("an object of type '{name}' cannot be converted to an Erlang term");
        Raised::type_error(self.py, &text)
    }

    fn float(&self, value: f64) -> Word {
        if value.is_finite() {
            self.env.float(value)
        } else if value.is_nan() {
            atoms().nan
        } else if value > 0.0 {
            atoms().infinity
        } else {
            atoms().neg_infinity
        }
    }

    unsafe fn int(&self, object: *mut ffi::PyObject) -> Result<Word> {
        let mut overflow = 0;
        // SAFETY: attached; an int.
        let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(object, &mut overflow) };
        if overflow == 0 {
            return Ok(self.env.int(value));
        }
        self.big_int(object, overflow < 0)
    }

    /// An integer beyond 64 bits, by way of the external format (see `from_erlang`).
    fn big_int(&self, object: *mut ffi::PyObject, negative: bool) -> Result<Word> {
        let magnitude = self.magnitude(object)?;
        // `int`'s own method, on an exact int.
        let bits = magnitude.getattr_str("bit_length")?.call(&[])?;
        // SAFETY: attached; an int.
        let bits = unsafe { ffi::PyLong_AsSize_t(bits.as_ptr()) };
        if bits == usize::MAX {
            return Err(Raised::seen(self.py));
        }
        // One bit more than the magnitude has, for the sign that the C function writes.
        let mut digits = vec![0; bits / 8 + 1];
        // SAFETY: attached; an int that is not negative.
        if !unsafe { api::int_to_bytes(magnitude.as_ptr(), &mut digits) } {
            return Err(Raised::seen(self.py));
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let mut external = vec![131, 111];
        external.extend(
            u32::try_from(digits.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        external.push(u8::from(negative));
        external.extend(&digits);
        self.env.of_external(&external).ok_or_else(|| {
            Raised::overflow_error(self.py, "the int is larger than Erlang's largest integer")
        })
    }

    /// The absolute value as an exact int. A subclass may define `__abs__`, and no code of users may run while
    /// containers are being walked; so this asks `int` itself.
    fn magnitude(&self, object: *mut ffi::PyObject) -> Result<Object<'py>> {
        // SAFETY: attached; the slots of the static type `int` never change, and they take any int.
        unsafe {
            let slots = ffi::PyLong_Type.tp_as_number;
            let absolute = if slots.is_null() {
                None
            } else {
                (*slots).nb_absolute
            };
            let Some(absolute) = absolute else {
                return Err(Raised::runtime_error(self.py, "int has no absolute value"));
            };
            let magnitude = Object::owned_or_raised(self.py, absolute(object))?;
            if ffi::PyLong_CheckExact(magnitude.as_ptr()) == 0 {
                return Err(Raised::runtime_error(self.py, "int gave no int"));
            }
            Ok(magnitude)
        }
    }

    unsafe fn str(&self, object: *mut ffi::PyObject) -> Result<Word> {
        let mut size = 0;
        // SAFETY: attached; a str. The bytes live as long as it.
        unsafe {
            let data = ffi::PyUnicode_AsUTF8AndSize(object, &mut size);
            if data.is_null() {
                return Err(Raised::seen(self.py));
            }
            Ok(self
                .env
                .binary(std::slice::from_raw_parts(data.cast(), size as usize)))
        }
    }

    unsafe fn bytes(&self, object: *mut ffi::PyObject) -> Word {
        // SAFETY: attached; bytes, which cannot change.
        unsafe {
            let data = ffi::PyBytes_AsString(object).cast();
            let size = ffi::PyBytes_Size(object);
            self.env
                .binary(std::slice::from_raw_parts(data, size as usize))
        }
    }

    unsafe fn list(&mut self, object: *mut ffi::PyObject, depth: usize) -> Result<Word> {
        if depth >= DEEPEST {
            return Err(too_deep(self.py));
        }
        let base = self.elements.len();
        // SAFETY: attached; a list, whose size and places are read anew each time.
        unsafe {
            let mut i = 0;
            while i < ffi::PyList_GET_SIZE(object) {
                let element = ffi::PyList_GET_ITEM(object, i);
                let word = self.at_depth(element, depth + 1)?;
                self.elements.push(word);
                i += 1;
            }
        }
        let word = self.env.list_of(&self.elements[base..]);
        self.elements.truncate(base);
        Ok(word)
    }

    unsafe fn tuple(&mut self, object: *mut ffi::PyObject, depth: usize) -> Result<Word> {
        if depth >= DEEPEST {
            return Err(too_deep(self.py));
        }
        let base = self.elements.len();
        // SAFETY: attached; a tuple, which cannot change.
        unsafe {
            for i in 0..ffi::PyTuple_GET_SIZE(object) {
                let word = self.at_depth(ffi::PyTuple_GET_ITEM(object, i), depth + 1)?;
                self.elements.push(word);
            }
        }
        let word = self.env.tuple(&self.elements[base..]);
        self.elements.truncate(base);
        Ok(word)
    }

    unsafe fn dict(&mut self, object: *mut ffi::PyObject, depth: usize) -> Result<Word> {
        if depth >= DEEPEST {
            return Err(too_deep(self.py));
        }
        let base = self.elements.len();
        let mut values = Vec::new();
        let mut all_str = true;
        let mut all_int = true;
        // SAFETY: attached; a dict that nothing changes meanwhile, since no Python code runs.
        unsafe {
            let (mut position, mut key, mut value) =
                (0, std::ptr::null_mut(), std::ptr::null_mut());
            while ffi::PyDict_Next(object, &mut position, &mut key, &mut value) != 0 {
                all_str &= ffi::PyUnicode_CheckExact(key) != 0;
                all_int &= ffi::PyLong_CheckExact(key) != 0;
                let key = self.at_depth(key, depth + 1)?;
                self.elements.push(key);
                let value = self.at_depth(value, depth + 1)?;
                values.push(value);
            }
        }
        // Distinct strs are distinct binaries, and ints integers; other keys may meet as terms.
        if !all_str && !all_int {
            self.check_distinct(base)?;
        }
        let word = self.env.map_of(&self.elements[base..], &values);
        self.elements.truncate(base);
        word.ok_or_else(|| self.colliding_keys())
    }

    fn check_distinct(&self, base: usize) -> Result<()> {
        let mut seen: HashMap<u64, Vec<Word>> = HashMap::new();
        for &key in &self.elements[base..] {
            let same_hash = seen.entry(self.env.hash(key)).or_default();
            if same_hash.iter().any(|&other| identical(key, other)) {
                return Err(self.colliding_keys());
            }
            same_hash.push(key);
        }
        Ok(())
    }

    fn colliding_keys(&self) -> Raised {
        Raised::value_error(
            self.py,
            "keys of this dict that differ in Python are the same Erlang term (such as 'a' and b'a')",
        )
    }
}
