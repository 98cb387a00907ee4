//! Erlang terms as Python objects.

use super::held::{Held, ObjectRef, Unusable};
use super::{AtomNames, Conversion, DEEPEST, KeyNames, too_deep};
use crate::beam::{ListCells, MapPairs, TermEnv, TermType, Word, atoms};
use crate::erlang_module::Types;
use crate::py::{Object, Python, Raised, Result, api, ffi};
use std::sync::Arc;

/// Keys of maps may be nested this deep: Python hashes tuples by recursion on the stack.
const DEEPEST_KEY: usize = 1000;

/// Converts terms of one environment.
pub(crate) struct FromErlang<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) env: &'a TermEnv,
    pub(crate) types: &'a Types,
    pub(crate) names: &'a mut AtomNames,
    pub(crate) keys: &'a mut KeyNames,
    pub(crate) held: &'a Arc<Held>,
    pub(crate) options: Conversion,
}

/// A container that is being filled.
enum Open<'a, 'py> {
    List {
        list: Object<'py>,
        filled: isize,
        rest: ListCells<'a>,
    },
    Tuple {
        tuple: Object<'py>,
        filled: usize,
        elements: &'a [Word],
    },
    Map(Box<OpenMap<'a, 'py>>),
}

struct OpenMap<'a, 'py> {
    dict: Object<'py>,
    pairs: MapPairs<'a>,
    size: usize,
    /// The key whose value is being made.
    key: Option<Object<'py>>,
}

/// A term that has been begun.
enum Begun<'a, 'py> {
    Done(Object<'py>),
    Open(Open<'a, 'py>),
}

impl<'a, 'py> FromErlang<'a, 'py> {
    /// The Python object of a term.
    pub(crate) fn object(&mut self, word: Word) -> Result<Object<'py>> {
        let mut outer: Vec<Open<'a, 'py>> = Vec::new();
        let mut begun = self.begin(word, self.options, false)?;
        loop {
            let mut done = match begun {
                Begun::Done(object) => object,
                Begun::Open(open) => {
                    if outer.len() >= DEEPEST {
                        return Err(too_deep(self.py));
                    }
                    match self.fill(open)? {
                        (filled, None) => filled.finished(self.py)?,
                        (unfinished, Some(inner)) => {
                            outer.push(unfinished);
                            begun = Begun::Open(inner);
                            continue;
                        }
                    }
                }
            };
            // Whatever is done goes into the container around it, and may complete that.
            loop {
                let Some(mut open) = outer.pop() else {
                    return Ok(done);
                };
                open.put(done)?;
                match self.fill(open)? {
                    (filled, None) => done = filled.finished(self.py)?,
                    (unfinished, Some(inner)) => {
                        outer.push(unfinished);
                        begun = Begun::Open(inner);
                        break;
                    }
                }
            }
        }
    }

    /// A name, such as that of a keyword argument, is a str whatever the options say. `None` when it cannot be.
    fn begin(&mut self, word: Word, options: Conversion, in_key: bool) -> Result<Begun<'a, 'py>> {
        let done = match self.env.term_type(word) {
            TermType::Integer => self.int(word),
            TermType::Float => self.float(word),
            TermType::Atom => self.atom(word, options),
            TermType::Bitstring => self.binary(word, options),
            TermType::Pid => self.types.pid(self.py, self.env, word),
            TermType::Reference => self.reference(word),
            TermType::Port => self.types.port(self.py, self.env, word),
            TermType::Fun => self.types.fun(self.py, self.env, word),
            TermType::Tuple => return self.tuple(word),
            TermType::List if !in_key => return self.list(word),
            TermType::Map if !in_key => return self.map(word),
            TermType::List => Err(self.unhashable("list")),
            TermType::Map => Err(self.unhashable("map")),
            TermType::Unknown => Err(self.no_counterpart("this kind of term", word)),
        };
        done.map(Begun::Done)
    }

    /// Converts the elements of a container up to the first that is a container, too.
    fn fill(&mut self, mut open: Open<'a, 'py>) -> Result<(Open<'a, 'py>, Option<Open<'a, 'py>>)> {
        let options = self.options;
        match &mut open {
            Open::List { list, filled, rest } => {
                // Lists mostly hold terms of one type.
                let mut usual = TermType::Unknown;
                for word in rest.by_ref() {
                    let element = match self.usual(word, &mut usual)? {
                        Some(element) => element,
                        None => match self.begin(word, options, false)? {
                            Begun::Done(element) => element,
                            Begun::Open(inner) => return Ok((open, Some(inner))),
                        },
                    };
                    // SAFETY: the place is within the list and empty; the reference is given to it.
                    unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), *filled, element.into_ptr()) };
                    *filled += 1;
                }
            }
            Open::Tuple {
                tuple,
                filled,
                elements,
            } => {
                while let Some(&word) = elements.get(*filled) {
                    match self.begin(word, options, false)? {
                        Begun::Done(element) => put_in_tuple(tuple, *filled, element),
                        Begun::Open(inner) => return Ok((open, Some(inner))),
                    }
                    *filled += 1;
                }
            }
            Open::Map(map) => {
                for (key, value) in map.pairs.by_ref() {
                    let key = self.key(key, map.size)?;
                    match self.begin(value, options, false)? {
                        Begun::Done(value) => set_item(&map.dict, &key, &value)?,
                        Begun::Open(inner) => {
                            map.key = Some(key);
                            return Ok((open, Some(inner)));
                        }
                    }
                }
            }
        }
        Ok((open, None))
    }

    /// An element of the type that the one before had, without asking for the type first.
    #[inline]
    fn usual(&mut self, word: Word, usual: &mut TermType) -> Result<Option<Object<'py>>> {
        match *usual {
            TermType::Integer => {
                if let Some(value) = self.env.get_int(word) {
                    // SAFETY: attached; a new reference.
                    return unsafe { self.checked(ffi::PyLong_FromLongLong(value)) }.map(Some);
                }
            }
            TermType::Float => {
                if let Some(value) = self.env.get_float(word) {
                    // SAFETY: attached; a new reference.
                    return unsafe { self.checked(ffi::PyFloat_FromDouble(value)) }.map(Some);
                }
            }
            TermType::Bitstring => {
                if let Some(bytes) = self.env.get_binary(word) {
                    return self.text_or_bytes(bytes, self.options).map(Some);
                }
            }
            _ => {}
        }
        *usual = self.env.term_type(word);
        Ok(None)
    }

    /// A key of a map of that size. Only tuples are containers here, since Python can hash no others.
    fn key(&mut self, word: Word, size: usize) -> Result<Object<'py>> {
        let mut options = self.options;
        if options.text_keys {
            options.bytes_only = false;
            options.keep_atoms = false;
        }
        if !options.bytes_only
            && let Some(bytes) = self.env.get_binary(word)
            && KeyNames::takes(bytes, size)
        {
            return self.keys.get(self.py, bytes);
        }
        let mut outer: Vec<Open<'a, 'py>> = Vec::new();
        let mut next = word;
        loop {
            match self.begin(next, options, true)? {
                Begun::Open(open) => {
                    if outer.len() >= DEEPEST_KEY {
                        return Err(too_deep(self.py));
                    }
                    outer.push(open);
                }
                Begun::Done(object) => match outer.last_mut() {
                    None => return Ok(object),
                    Some(open) => open.put(object)?,
                },
            }
            // On to the next element of the innermost tuple that is not complete.
            loop {
                let Some(Open::Tuple {
                    filled, elements, ..
                }) = outer.last()
                else {
                    return Err(Raised::runtime_error(self.py, "a key is no tuple"));
                };
                if let Some(&element) = elements.get(*filled) {
                    next = element;
                    break;
                }
                let complete = match outer.pop() {
                    Some(open) => open.finished(self.py)?,
                    None => return Err(Raised::runtime_error(self.py, "a key is no tuple")),
                };
                match outer.last_mut() {
                    None => return Ok(complete),
                    Some(open) => open.put(complete)?,
                }
            }
        }
    }

    /// Keyword arguments and variables of `eval`: a dict whose keys are names.
    pub(crate) fn variables(&mut self, word: Word) -> Result<Object<'py>> {
        let text_keys = std::mem::replace(&mut self.options.text_keys, true);
        // The names are those of the outermost map; the maps within have their keys by the options.
        let Begun::Open(Open::Map(mut map)) = self.map(word)? else {
            return Err(Raised::type_error(self.py, "a map was expected"));
        };
        for (key, value) in map.pairs.by_ref() {
            self.options.text_keys = true;
            let key = self.key(key, map.size)?;
            self.options.text_keys = text_keys;
            let value = self.object(value)?;
            set_item(&map.dict, &key, &value)?;
        }
        self.options.text_keys = text_keys;
        Open::Map(map).finished(self.py)
    }

    fn no_counterpart(&self, kind: &str, word: Word) -> Raised {
        let text = format!(
            "{kind} cannot be converted to a Python object: {}",
            self.env.printed(word)
        );
        Raised::type_error(self.py, &text)
    }

    fn unhashable(&self, kind: &str) -> Raised {
        let text = format!("a {kind} in a key of a map cannot be hashed by Python");
        Raised::type_error(self.py, &text)
    }

    /// # Safety
    /// `ptr` is null with an exception set, or a new reference.
    #[inline]
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

    fn atom(&mut self, word: Word, options: Conversion) -> Result<Object<'py>> {
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
        } else if options.keep_atoms {
            return self.names.atom(self.py, self.env, self.types, word);
        } else {
            return self.names.get(self.py, self.env, word);
        };
        // SAFETY: attached; an immortal object.
        Ok(unsafe { Object::borrowed(self.py, constant) })
    }

    /// Valid UTF-8 is a str, unless the options say otherwise; anything else bytes.
    fn binary(&self, word: Word, options: Conversion) -> Result<Object<'py>> {
        match self.env.get_binary(word) {
            Some(bytes) => self.text_or_bytes(bytes, options),
            None => Err(self.no_counterpart("a bitstring that is no binary", word)),
        }
    }

    #[inline]
    fn text_or_bytes(&self, bytes: &[u8], options: Conversion) -> Result<Object<'py>> {
        if options.bytes_only {
            return Object::bytes(self.py, bytes);
        }
        if bytes.is_ascii() {
            return Object::ascii(self.py, bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Object::str(self.py, text),
            Err(_) => Object::bytes(self.py, bytes),
        }
    }

    fn reference(&self, word: Word) -> Result<Object<'py>> {
        let Some(reference) = self.env.resource::<ObjectRef>(word) else {
            return self.types.reference(self.py, self.env, word);
        };
        reference.get(self.py, self.held).map_err(|unusable| match unusable {
            Unusable::Stale => Raised::of_class(
                self.py,
                &self.types.stale_reference().get(self.py),
                "the object of this reference is gone",
            ),
            Unusable::Foreign => Raised::value_error(
                self.py,
                "this reference is to an object of another interpreter; use it in a call to the object's own context",
            ),
        })
    }

    fn list(&self, word: Word) -> Result<Begun<'a, 'py>> {
        let Some(length) = self.env.list_length(word) else {
            return Err(self.no_counterpart("an improper list", word));
        };
        // SAFETY: attached; a list of empty places, which are all filled or freed as they are.
        let list = unsafe { self.checked(ffi::PyList_New(length.cast_signed()))? };
        Ok(Begun::Open(Open::List {
            list,
            filled: 0,
            rest: self.env.list(word),
        }))
    }

    /// A tuple; `{bytes, Binary}` is bytes whatever they hold, `{memoryview, Binary}` a view of the binary.
    fn tuple(&self, word: Word) -> Result<Begun<'a, 'py>> {
        let elements = self.env.get_tuple(word).unwrap_or(&[]);
        if let &[tag, binary] = elements
            && (tag == atoms().bytes || tag == atoms().memoryview)
            && let Some(bytes) = self.env.get_binary(binary)
        {
            let object = if tag == atoms().bytes {
                Object::bytes(self.py, bytes)?
            } else {
                self.types.memoryview(self.py, self.env, binary)?
            };
            return Ok(Begun::Done(object));
        }
        // SAFETY: attached; as in `list`.
        let tuple = unsafe { self.checked(ffi::PyTuple_New(elements.len().cast_signed()))? };
        Ok(Begun::Open(Open::Tuple {
            tuple,
            filled: 0,
            elements,
        }))
    }

    fn map(&self, word: Word) -> Result<Begun<'a, 'py>> {
        let (Some(size), Some(pairs)) = (self.env.map_size(word), self.env.map(word)) else {
            return Err(self.no_counterpart("this kind of term", word));
        };
        // SAFETY: attached; a new reference.
        let dict = unsafe { self.checked(ffi::PyDict_New())? };
        Ok(Begun::Open(Open::Map(Box::new(OpenMap {
            dict,
            pairs,
            size,
            key: None,
        }))))
    }
}

fn put_in_tuple(tuple: &Object<'_>, place: usize, element: Object<'_>) {
    // SAFETY: the place is within the tuple and empty; the reference is given to it.
    unsafe { ffi::PyTuple_SET_ITEM(tuple.as_ptr(), place.cast_signed(), element.into_ptr()) };
}

fn set_item(dict: &Object<'_>, key: &Object<'_>, value: &Object<'_>) -> Result<()> {
    // SAFETY: attached; the dict takes references of its own.
    match unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Raised::seen(dict.py())),
    }
}

impl<'py> Open<'_, 'py> {
    /// The element that was waited for.
    fn put(&mut self, element: Object<'py>) -> Result<()> {
        match self {
            Self::List { list, filled, .. } => {
                // SAFETY: the place is within the list and empty; the reference is given to it.
                unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), *filled, element.into_ptr()) };
                *filled += 1;
            }
            Self::Tuple { tuple, filled, .. } => {
                put_in_tuple(tuple, *filled, element);
                *filled += 1;
            }
            Self::Map(map) => {
                if let Some(key) = map.key.take() {
                    set_item(&map.dict, &key, &element)?;
                }
            }
        }
        Ok(())
    }

    /// The container, all of whose elements are there.
    fn finished(self, py: Python<'py>) -> Result<Object<'py>> {
        let map = match self {
            Self::List { list, .. } => return Ok(list),
            Self::Tuple { tuple, .. } => return Ok(tuple),
            Self::Map(map) => map,
        };
        // SAFETY: attached; a dict.
        let size = unsafe { ffi::PyDict_Size(map.dict.as_ptr()) };
        if usize::try_from(size) != Ok(map.size) {
            return Err(Raised::value_error(
                py,
                "keys of this map that differ in Erlang are equal in Python (such as 1 and 1.0, or <<\"a\">> and a)",
            ));
        }
        Ok(map.dict)
    }
}
