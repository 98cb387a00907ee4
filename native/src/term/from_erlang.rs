//! Erlang terms as Python objects.

use super::{AtomNames, DEEPEST, too_deep};
use crate::beam::{TermEnv, TermType, Word, atoms};
use crate::erlang_module::Types;
use crate::py::{Object, Python, Raised, Result, api, ffi};

/// Converts terms of one environment.
pub(crate) struct FromErlang<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) env: &'a TermEnv,
    pub(crate) types: &'a Types,
    pub(crate) names: &'a mut AtomNames,
}

impl<'py> FromErlang<'_, 'py> {
    /// The Python object of a term.
    pub(crate) fn object(&mut self, word: Word) -> Result<Object<'py>> {
        self.at_depth(word, 0)
    }

    fn at_depth(&mut self, word: Word, depth: usize) -> Result<Object<'py>> {
        match self.env.term_type(word) {
            TermType::Integer => self.int(word),
            TermType::Float => self.float(word),
            TermType::Atom => self.atom(word),
            TermType::Bitstring => self.binary(word),
            TermType::List => self.list(word, depth),
            TermType::Tuple => self.tuple(word, depth),
            TermType::Map => self.map(word, depth),
            TermType::Pid => self.types.pid(self.py, self.env, word),
            TermType::Reference => self.types.reference(self.py, self.env, word),
            TermType::Fun => Err(self.no_counterpart("a fun", word)),
            TermType::Port => Err(self.no_counterpart("a port", word)),
            TermType::Unknown => Err(self.no_counterpart("this kind of term", word)),
        }
    }

    fn no_counterpart(&self, kind: &str, word: Word) -> Raised {
        let text = format!(
            "{kind} cannot be converted to a Python object: {}",
            self.env.printed(word)
        );
        Raised::type_error(self.py, &text)
    }

    /// # Safety
    /// `ptr` is null with an exception set, or a new reference.
    unsafe fn checked(&self, ptr: *mut ffi::PyObject) -> Result<Object<'py>> {
        // SAFETY: the caller's promise.
        unsafe { Object::owned_or_raised(self.py, ptr) }
    }

    fn int(&self, word: Word) -> Result<Object<'py>> {
        match self.env.get_int(word) {
            // SAFETY: attached; a new reference.
            Some(value) => unsafe { self.checked(ffi::PyLong_FromLongLong(value)) },
            None => self.big_int(word),
        }
    }

    /// An integer beyond 64 bits, read from the external format: 131, 110 (one byte of length) or 111
    /// (four bytes), a byte for the sign, then the magnitude, little end first.
    fn big_int(&self, word: Word) -> Result<Object<'py>> {
        let external = self.env.to_external(word);
        let (sign, magnitude) = match external.as_slice() {
            [131, 110, _, sign, magnitude @ ..] | [131, 111, _, _, _, _, sign, magnitude @ ..] => {
                (*sign, magnitude)
            }
            _ => return Err(self.no_counterpart("this integer", word)),
        };
        // SAFETY: attached; both functions give new references or raise.
        unsafe {
            let value = self.checked(api::int_from_bytes(magnitude))?;
            if sign == 0 {
                Ok(value)
            } else {
                self.checked(ffi::PyNumber_Negative(value.as_ptr()))
            }
        }
    }

    fn float(&self, word: Word) -> Result<Object<'py>> {
        let value = self.env.get_float(word).unwrap_or(f64::NAN);
        // SAFETY: attached; a new reference.
        unsafe { self.checked(ffi::PyFloat_FromDouble(value)) }
    }

    fn atom(&mut self, word: Word) -> Result<Object<'py>> {
        let known = atoms();
        let constant = if word == known.true_ {
            // SAFETY: immortal objects.
            unsafe { ffi::Py_True() }
        } else if word == known.false_ {
            // SAFETY: as above.
            unsafe { ffi::Py_False() }
        } else if word == known.undefined || word == known.none || word == known.nil {
            // SAFETY: as above.
            unsafe { ffi::Py_None() }
        } else {
            return self.names.get(self.py, self.env, word);
        };
        // SAFETY: attached; an immortal object.
        Ok(unsafe { Object::borrowed(self.py, constant) })
    }

    /// Valid UTF-8 is a str, anything else bytes.
    fn binary(&self, word: Word) -> Result<Object<'py>> {
        let Some(bytes) = self.env.get_binary(word) else {
            return Err(self.no_counterpart("a bitstring that is no binary", word));
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Object::str(self.py, text),
            Err(_) => self.bytes(bytes),
        }
    }

    fn bytes(&self, bytes: &[u8]) -> Result<Object<'py>> {
        // SAFETY: attached; the bytes are copied.
        unsafe {
            self.checked(ffi::PyBytes_FromStringAndSize(
                bytes.as_ptr().cast(),
                bytes.len() as isize,
            ))
        }
    }

    fn list(&mut self, word: Word, depth: usize) -> Result<Object<'py>> {
        if depth >= DEEPEST {
            return Err(too_deep(self.py));
        }
        let Some(length) = self.env.list_length(word) else {
            return Err(self.no_counterpart("an improper list", word));
        };
        // SAFETY: attached; a list of empty places, which are all filled below or freed as they are.
        let list = unsafe { self.checked(ffi::PyList_New(length as isize))? };
        let env = self.env;
        for (i, element) in env.list(word).enumerate() {
            let element = self.at_depth(element, depth + 1)?;
            // SAFETY: the place is within the list and empty; the reference is given to it.
            unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), i as isize, element.into_ptr()) };
        }
        Ok(list)
    }

    /// A tuple; `{bytes, Binary}` is bytes whatever they hold.
    fn tuple(&mut self, word: Word, depth: usize) -> Result<Object<'py>> {
        if depth >= DEEPEST {
            return Err(too_deep(self.py));
        }
        let env = self.env;
        let elements = env.get_tuple(word).unwrap_or(&[]);
        if let [tag, binary] = elements
            && *tag == atoms().bytes
            && let Some(bytes) = env.get_binary(*binary)
        {
            return self.bytes(bytes);
        }
        self.tuple_of(elements.iter().copied(), elements.len(), depth)
    }

    /// A Python tuple of terms.
    fn tuple_of(
        &mut self,
        elements: impl Iterator<Item = Word>,
        length: usize,
        depth: usize,
    ) -> Result<Object<'py>> {
        // SAFETY: attached; as in `list`.
        let tuple = unsafe { self.checked(ffi::PyTuple_New(length as isize))? };
        for (i, element) in elements.enumerate() {
            let element = self.at_depth(element, depth + 1)?;
            // SAFETY: as in `list`.
            unsafe { ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i as isize, element.into_ptr()) };
        }
        Ok(tuple)
    }

    fn map(&mut self, word: Word, depth: usize) -> Result<Object<'py>> {
        if depth >= DEEPEST {
            return Err(too_deep(self.py));
        }
        // SAFETY: attached; a new reference.
        let dict = unsafe { self.checked(ffi::PyDict_New())? };
        let env = self.env;
        for (key, value) in env.map(word).into_iter().flatten() {
            let object = self.at_depth(key, depth + 1)?;
            let value = self.at_depth(value, depth + 1)?;
            // SAFETY: attached; the dict takes references of its own.
            let failed =
                unsafe { ffi::PyDict_SetItem(dict.as_ptr(), object.as_ptr(), value.as_ptr()) != 0 };
            if failed {
                return Err(Raised::seen(self.py));
            }
        }
        // SAFETY: attached; a dict.
        let size = unsafe { ffi::PyDict_Size(dict.as_ptr()) };
        if env.map_size(word) != usize::try_from(size).ok() {
            return Err(Raised::value_error(
                self.py,
                "keys of this map that differ in Erlang are equal in Python (such as 1 and 1.0, or <<\"a\">> and a)",
            ));
        }
        Ok(dict)
    }
}
