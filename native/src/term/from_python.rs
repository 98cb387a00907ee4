//! Python objects as Erlang terms.
//!
//! A container is read in one go, in which no code of users can run: simple elements become terms at once,
//! and the others are noted down, to be converted one after another. Converting those may run code of users
//! (`__erlang_term__`, `tolist`, …), which finds nothing to disturb: what was noted down is owned.

mod integers;
mod size;

pub(crate) use size::TooLarge;

use super::held::Held;
use super::simplify::Simplifier;
use super::{Conversion, DEEPEST, too_deep};
use crate::beam::{Interned, TermEnv, Word, atoms, existing_atom, named_atom};
use crate::erlang_module::{Native, Types};
use crate::py::{Object, Python, Raised, Result, api, ffi};
use size::{BINARY, FLOAT, Size, WORD};
use std::collections::HashSet;
use std::sync::Arc;

/// Replacements of one object by another (see [`Simplifier`]) before a chain of them counts as endless.
const LONGEST_CHAIN: usize = 1000;

/// The emulator has 24 bits for the size of a tuple, and does not check.
const LARGEST_TUPLE: usize = (1 << 24) - 1;

/// So many containers around one are looked through for itself; beyond them a table is kept.
const NEAR: usize = 16;

/// Converts objects into terms of one environment.
pub(crate) struct FromPython<'a, 'py> {
    py: Python<'py>,
    env: &'a TermEnv,
    types: &'a Types,
    held: &'a Arc<Held>,
    /// The serial of the context that gives out references to objects.
    context: u64,
    options: Conversion,
    simplifier: &'a mut Simplifier,
    /// Large bytes are lent.
    lends: bool,
    size: Size,
    /// Elements of the containers that are being built, innermost last.
    words: Vec<Word>,
    /// What is to be converted yet: the place in `words`, and the object.
    waiting: Vec<(usize, Object<'py>)>,
    open: Vec<Open<'py>>,
    /// The containers that are open beyond the first [`NEAR`].
    far: Option<HashSet<*mut ffi::PyObject>>,
}

#[derive(Clone, Copy)]
enum Kind {
    List,
    Tuple,
    /// Keys first, then values. `distinct`: the keys cannot be the same term.
    Map,
}

/// A container that has been read.
struct Open<'py> {
    kind: Kind,
    object: Object<'py>,
    /// Where its elements are in `words`.
    base: usize,
    /// Its elements that wait: the next one, and where they begin in `waiting`.
    next: usize,
    first: usize,
    /// Where they end.
    end: usize,
    /// Where the container itself goes in `words`.
    place: usize,
}

/// What an object turned out to be.
enum Met<'py> {
    Word(Word),
    Container(Kind, Object<'py>),
}

impl<'a, 'py> FromPython<'a, 'py> {
    pub(crate) fn new(
        py: Python<'py>,
        env: &'a TermEnv,
        types: &'a Types,
        held: &'a Arc<Held>,
        context: u64,
        options: Conversion,
        simplifier: &'a mut Simplifier,
    ) -> Self {
        Self {
            py,
            env,
            types,
            held,
            context,
            options,
            simplifier,
            lends: true,
            size: Size::up_to(usize::MAX),
            words: Vec::new(),
            waiting: Vec::new(),
            open: Vec::new(),
            far: None,
        }
    }

    /// No more than so many bytes of Erlang's.
    pub(crate) fn up_to(mut self, bytes: usize) -> Self {
        self.size = Size::up_to(bytes);
        self
    }

    /// The terms need nothing of the interpreter but the objects that are no values.
    pub(crate) fn lending_nothing(mut self) -> Self {
        self.lends = false;
        self
    }

    /// So many bytes of Erlang's were taken, all in all.
    pub(crate) fn counted(&self) -> usize {
        self.size.counted()
    }

    /// Why the conversion failed, if it was for that.
    pub(crate) fn too_large(&self) -> Option<TooLarge> {
        self.size.exceeded()
    }

    /// So many bytes more are about to be taken.
    #[inline(always)]
    fn takes(&self, bytes: usize) -> Result<()> {
        if self.size.admits(bytes) {
            return Ok(());
        }
        Err(Raised::value_error(
            self.py,
            "the value is larger than a result of this context may be",
        ))
    }

    /// The term of an object.
    pub(crate) fn term(&mut self, object: &Object<'py>) -> Result<Word> {
        // SAFETY: attached; the object is alive.
        if let Some(word) = unsafe { self.simple(object.as_ptr())? } {
            self.takes(0)?;
            return Ok(word);
        }
        // SAFETY: as above.
        let object = unsafe { Object::borrowed(self.py, object.as_ptr()) };
        self.words.push(atoms().none);
        self.convert(0, object)?;
        while let Some(open) = self.open.last_mut() {
            if open.next < open.end {
                let (place, object) = &self.waiting[open.next];
                open.next += 1;
                let place = *place;
                // SAFETY: attached; `waiting` keeps it until its container is complete.
                let object = unsafe { Object::borrowed(self.py, object.as_ptr()) };
                self.convert(place, object)?;
            } else {
                self.complete()?;
            }
        }
        self.takes(0)?;
        Ok(self.words[0])
    }

    /// Puts the term of an object into its place, or opens the container that it is.
    fn convert(&mut self, place: usize, object: Object<'py>) -> Result<()> {
        match self.meet(object)? {
            Met::Word(word) => self.words[place] = word,
            Met::Container(kind, object) => self.open(place, kind, object)?,
        }
        Ok(())
    }

    /// The innermost container has all its elements.
    fn complete(&mut self) -> Result<()> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        if self.open.len() >= NEAR {
            let far = self.far.as_mut();
            far.map(|far| far.remove(&open.object.as_ptr()));
        }
        let elements = &self.words[open.base..];
        let word = match open.kind {
            Kind::List if u32::try_from(elements.len()).is_err() => {
                return Err(Raised::overflow_error(
                    self.py,
                    "the list has more elements than can be converted at once (4294967295)",
                ));
            }
            Kind::List => self.env.list_of(elements),
            Kind::Tuple if elements.len() > LARGEST_TUPLE => {
                return Err(Raised::overflow_error(
                    self.py,
                    "the tuple has more elements than an Erlang tuple can have (16777215); use a list",
                ));
            }
            Kind::Tuple => self.env.tuple(elements),
            Kind::Map => {
                let (keys, values) = elements.split_at(elements.len() / 2);
                let map = self.env.map_of(keys, values);
                map.ok_or_else(|| {
                    Raised::value_error(
                        self.py,
                        "keys of this dict that differ in Python are the same Erlang term (such as 'a' and b'a')",
                    )
                })?
            }
        };
        self.words.truncate(open.base);
        self.waiting.truncate(open.first);
        self.words[open.place] = word;
        Ok(())
    }

    /// The term of an object that is no container and needs no code of users; `None` for others.
    ///
    /// # Safety
    /// Attached; `object` is alive.
    #[inline(always)]
    unsafe fn simple(&self, object: *mut ffi::PyObject) -> Result<Option<Word>> {
        // SAFETY: the caller's promise. The types that are compared are static.
        unsafe {
            let class = ffi::Py_TYPE(object);
            let word = if class == &raw mut ffi::PyLong_Type {
                match api::short_int(object) {
                    Some(value) => self.env.int(value),
                    None => self.int(object)?,
                }
            } else if class == &raw mut ffi::PyUnicode_Type {
                self.str(object)?
            } else if class == &raw mut ffi::PyFloat_Type {
                self.float(ffi::PyFloat_AS_DOUBLE(object))
            } else if object == ffi::Py_None() {
                atoms().none
            } else if object == ffi::Py_True() {
                atoms().true_
            } else if object == ffi::Py_False() {
                atoms().false_
            } else if class == &raw mut ffi::PyBytes_Type {
                self.bytes(object)?
            } else {
                return self.of_our_classes(object);
            };
            Ok(Some(word))
        }
    }

    /// The part of [`Self::simple`] that is rarely needed.
    #[inline(never)]
    unsafe fn of_our_classes(&self, object: *mut ffi::PyObject) -> Result<Option<Word>> {
        // SAFETY: as there.
        unsafe {
            match self.types.native(self.env, object) {
                Some(Native::Term(word)) => Ok(Some(word)),
                Some(Native::Atom) => self.atom(object).map(Some),
                Some(Native::Continuation) => Err(Raised::type_error(
                    self.py,
                    "what erlang.schedule gives must be returned from the call itself, not as a part of a value",
                )),
                None => Ok(None),
            }
        }
    }

    /// What any object is. Runs code of users for objects that say themselves what they become.
    fn meet(&mut self, object: Object<'py>) -> Result<Met<'py>> {
        let mut object = object;
        for _ in 0..LONGEST_CHAIN {
            // SAFETY: attached; the object is alive. The checks read its type.
            unsafe {
                if let Some(word) = self.simple(object.as_ptr())? {
                    return Ok(Met::Word(word));
                }
                if let Some(kind) = exact_container(object.as_ptr()) {
                    return Ok(Met::Container(kind, object));
                }
            }
            match self.simplifier.replacement(&object, self.options)? {
                Some(simpler) => object = simpler,
                None => return self.by_base(object),
            }
        }
        Err(Raised::recursion_error(
            self.py,
            "the conversion of this object never comes to an end: its __erlang_term__ gives ever another object",
        ))
    }

    /// An object of a class that derives from a convertible one, or has no counterpart.
    fn by_base(&self, object: Object<'py>) -> Result<Met<'py>> {
        let pointer = object.as_ptr();
        // SAFETY: attached; the object is alive, and of the class that each function takes.
        unsafe {
            let word = if ffi::PyFloat_Check(pointer) != 0 {
                self.float(ffi::PyFloat_AsDouble(pointer))
            } else if ffi::PyUnicode_Check(pointer) != 0 {
                self.str(pointer)?
            } else if ffi::PyLong_Check(pointer) != 0 {
                self.int(pointer)?
            } else if ffi::PyBytes_Check(pointer) != 0 {
                self.copied_bytes(pointer)?
            } else if ffi::PyByteArray_Check(pointer) != 0 {
                let data = ffi::PyByteArray_AsString(pointer).cast();
                let size = ffi::PyByteArray_Size(pointer).cast_unsigned();
                self.takes(size.saturating_add(BINARY))?;
                self.env.binary(std::slice::from_raw_parts(data, size))
            } else if ffi::PyMemoryView_Check(pointer) != 0 {
                self.memoryview(&object)?
            } else if ffi::PyList_Check(pointer) != 0 || ffi::PyAnySet_Check(pointer) != 0 {
                return Ok(Met::Container(Kind::List, object));
            } else if ffi::PyTuple_Check(pointer) != 0 {
                return Ok(Met::Container(Kind::Tuple, object));
            } else if ffi::PyDict_Check(pointer) != 0 {
                return Ok(Met::Container(Kind::Map, object));
            } else {
                self.held.refer(self.env, self.context, object)
            };
            Ok(Met::Word(word))
        }
    }

    /// Reads a container: no code of users runs until it is done.
    fn open(&mut self, place: usize, kind: Kind, object: Object<'py>) -> Result<()> {
        if self.open.len() >= DEEPEST {
            return Err(too_deep(self.py));
        }
        self.enter(object.as_ptr())?;
        let (base, first) = (self.words.len(), self.waiting.len());
        // SAFETY: attached; an object of the kind that each function takes.
        unsafe {
            let pointer = object.as_ptr();
            if ffi::PyList_Check(pointer) != 0 {
                let size = ffi::PyList_GET_SIZE(pointer).cast_unsigned();
                self.takes(size.saturating_mul(2 * WORD))?;
                let elements = (*pointer.cast::<ffi::PyListObject>()).ob_item;
                self.elements(elements, size)?;
            } else if ffi::PyTuple_Check(pointer) != 0 {
                let size = ffi::PyTuple_GET_SIZE(pointer).cast_unsigned();
                self.takes(size.saturating_add(1).saturating_mul(WORD))?;
                let elements = &raw mut (*pointer.cast::<ffi::PyTupleObject>()).ob_item;
                self.elements(elements.cast(), size)?;
            } else if ffi::PyDict_Check(pointer) != 0 {
                self.read_dict(pointer)?;
            } else {
                self.read_set(pointer)?;
            }
        }
        self.open.push(Open {
            kind,
            object,
            base,
            next: first,
            first,
            end: self.waiting.len(),
            place,
        });
        Ok(())
    }

    /// A container must not lie in itself.
    fn enter(&mut self, object: *mut ffi::PyObject) -> Result<()> {
        let near = self.open.iter().take(NEAR);
        let known = near
            .map(|open| open.object.as_ptr())
            .any(|open| open == object);
        let is_far = self.open.len() >= NEAR;
        if known || (is_far && !self.far.get_or_insert_default().insert(object)) {
            return Err(Raised::recursion_error(
                self.py,
                "a container that contains itself cannot be converted to an Erlang term",
            ));
        }
        Ok(())
    }

    /// Notes the next element of the container that is being read.
    ///
    /// # Safety
    /// Attached; `element` is alive.
    #[inline(always)]
    unsafe fn element(&mut self, element: *mut ffi::PyObject) -> Result<()> {
        // SAFETY: the caller's promise.
        if let Some(word) = unsafe { self.simple(element)? } {
            self.words.push(word);
        } else {
            // SAFETY: as above.
            unsafe { self.later(element) };
        }
        Ok(())
    }

    /// The rare part of [`Self::element`].
    #[cold]
    unsafe fn later(&mut self, element: *mut ffi::PyObject) {
        // SAFETY: as there.
        let owned = unsafe { Object::borrowed(self.py, element) };
        self.waiting.push((self.words.len(), owned));
        self.words.push(atoms().none);
    }

    /// The elements of a list or tuple, which begin at `elements`.
    ///
    /// # Safety
    /// Attached; there are so many, and nothing changes them.
    unsafe fn elements(&mut self, elements: *mut *mut ffi::PyObject, size: usize) -> Result<()> {
        self.words.reserve(size);
        let mut done = 0;
        while done < size {
            // SAFETY: the caller's promise. Each element takes one place, so that those of the rest are left.
            unsafe {
                let element = *elements.add(done);
                let class = ffi::Py_TYPE(element);
                if class == &raw mut ffi::PyLong_Type || class == &raw mut ffi::PyFloat_Type {
                    let numbers = self.numbers(elements.add(done), size - done);
                    done += numbers;
                    if numbers > 0 {
                        continue;
                    }
                }
                self.element(element)?;
            }
            done += 1;
        }
        Ok(())
    }

    /// The elements up to the first that is no plain number: long lists are mostly made of those. Says how many.
    ///
    /// # Safety
    /// Attached; there are so many elements, and places reserved for them.
    unsafe fn numbers(&mut self, elements: *mut *mut ffi::PyObject, size: usize) -> usize {
        let (env, before) = (self.env, self.words.len());
        debug_assert!(self.words.capacity() - before >= size);
        let (mut count, mut floats) = (0, 0);
        // SAFETY: the caller's promise. The types that are compared are static.
        unsafe {
            let places = self.words.as_mut_ptr().add(before);
            while count < size {
                let element = *elements.add(count);
                let class = ffi::Py_TYPE(element);
                let word = if class == &raw mut ffi::PyLong_Type {
                    let Some(value) = api::short_int(element) else {
                        break;
                    };
                    env.int(value)
                } else if class == &raw mut ffi::PyFloat_Type {
                    let value = ffi::PyFloat_AS_DOUBLE(element);
                    if !value.is_finite() {
                        break;
                    }
                    floats += 1;
                    env.float(value)
                } else {
                    break;
                };
                places.add(count).write(word);
                count += 1;
            }
        }
        self.size.count(floats * FLOAT);
        // SAFETY: so many places were written, within the capacity.
        unsafe { self.words.set_len(before + count) };
        count
    }

    /// # Safety
    /// Attached; `dict` is a dict.
    unsafe fn read_dict(&mut self, dict: *mut ffi::PyObject) -> Result<()> {
        // SAFETY: the caller's promise; nothing changes the dict meanwhile, since no Python code runs.
        unsafe {
            let size = ffi::PyDict_Size(dict).cast_unsigned();
            self.takes(size.saturating_add(2).saturating_mul(2 * WORD))?;
            self.words.reserve(2 * size);
            let (mut position, mut key, mut value) =
                (0, std::ptr::null_mut(), std::ptr::null_mut());
            while ffi::PyDict_Next(dict, &mut position, &mut key, &mut value) != 0 {
                if self.options.atom_keys
                    && ffi::Py_TYPE(key) == &raw mut ffi::PyUnicode_Type
                    && let Some(atom) = self.existing_atom(key)
                {
                    self.words.push(atom);
                } else {
                    self.element(key)?;
                }
            }
            position = 0;
            while ffi::PyDict_Next(dict, &mut position, &mut key, &mut value) != 0 {
                self.element(value)?;
            }
            Ok(())
        }
    }

    /// # Safety
    /// Attached; `set` is a set or a frozenset.
    unsafe fn read_set(&mut self, set: *mut ffi::PyObject) -> Result<()> {
        // SAFETY: the caller's promise; the iterator is the class's own, which runs no code of users.
        unsafe {
            let Some(iterate) = ffi::PySet_Type.tp_iter else {
                return Err(Raised::runtime_error(self.py, "sets have no iterator"));
            };
            let size = ffi::PySet_Size(set).cast_unsigned();
            self.takes(size.saturating_mul(2 * WORD))?;
            let iterator = Object::owned_or_raised(self.py, iterate(set))?;
            while let Some(element) = Object::owned(self.py, ffi::PyIter_Next(iterator.as_ptr())) {
                self.element(element.as_ptr())?;
            }
            if ffi::PyErr_Occurred().is_null() {
                Ok(())
            } else {
                Err(Raised::seen(self.py))
            }
        }
    }

    #[inline(always)]
    fn float(&self, value: f64) -> Word {
        if value.is_finite() {
            self.size.count(FLOAT);
            self.env.float(value)
        } else if value.is_nan() {
            atoms().nan
        } else if value > 0.0 {
            atoms().infinity
        } else {
            atoms().neg_infinity
        }
    }

    /// The text of a str, which lives as long as it.
    ///
    /// # Safety
    /// Attached; `object` is a str, and alive for the lifetime.
    unsafe fn text<'s>(&self, object: *mut ffi::PyObject) -> Result<&'s str> {
        let mut size = 0;
        // SAFETY: the caller's promise; CPython gives valid UTF-8.
        unsafe {
            let data = ffi::PyUnicode_AsUTF8AndSize(object, &mut size);
            if data.is_null() {
                return Err(Raised::seen(self.py));
            }
            let bytes = std::slice::from_raw_parts(data.cast(), size.cast_unsigned());
            Ok(std::str::from_utf8_unchecked(bytes))
        }
    }

    unsafe fn str(&self, object: *mut ffi::PyObject) -> Result<Word> {
        // SAFETY: attached; a str. Its characters take a byte each at least, and their bytes are kept once made.
        let text = unsafe {
            let least = ffi::PyUnicode_GET_LENGTH(object).cast_unsigned();
            self.takes(least.saturating_add(BINARY))?;
            let text = self.text(object)?;
            self.takes(text.len() - least)?;
            text
        };
        Ok(self.env.binary(text.as_bytes()))
    }

    /// The atom of an `erlang.Atom`.
    unsafe fn atom(&self, object: *mut ffi::PyObject) -> Result<Word> {
        // SAFETY: attached; a str.
        let name = unsafe { self.text(object)? };
        match named_atom(self.env, name) {
            Interned::Atom(atom) => Ok(atom),
            Interned::Refused if name.chars().count() > 255 => Err(Raised::value_error(
                self.py,
                "an atom has at most 255 characters",
            )),
            Interned::Refused => Err(Raised::value_error(
                self.py,
                "Python code has brought up too many new atoms: they are never collected; use a str",
            )),
        }
    }

    /// The atom that a key names, if it exists. A key that has no text is left to fail as a str.
    unsafe fn existing_atom(&self, key: *mut ffi::PyObject) -> Option<Word> {
        // SAFETY: attached; a str.
        match unsafe { self.text(key) } {
            Ok(name) => existing_atom(self.env, name),
            Err(raised) => {
                raised.clear(self.py);
                None
            }
        }
    }

    /// Exact bytes: lent when they are large.
    unsafe fn bytes(&self, object: *mut ffi::PyObject) -> Result<Word> {
        // SAFETY: attached; alive.
        unsafe {
            let size = ffi::PyBytes_Size(object).cast_unsigned();
            self.takes(size.saturating_add(BINARY))?;
            let owned = Object::borrowed(self.py, object);
            let lent = self
                .lends
                .then(|| self.held.lend(self.env, self.context, &owned));
            Ok(lent.flatten().unwrap_or_else(|| self.copied(object)))
        }
    }

    unsafe fn copied_bytes(&self, object: *mut ffi::PyObject) -> Result<Word> {
        // SAFETY: attached; bytes.
        unsafe {
            let size = ffi::PyBytes_Size(object).cast_unsigned();
            self.takes(size.saturating_add(BINARY))?;
            Ok(self.copied(object))
        }
    }

    unsafe fn copied(&self, object: *mut ffi::PyObject) -> Word {
        // SAFETY: attached; bytes, which cannot change.
        unsafe {
            let data = ffi::PyBytes_AsString(object).cast();
            let size = ffi::PyBytes_Size(object).cast_unsigned();
            self.env.binary(std::slice::from_raw_parts(data, size))
        }
    }

    /// The bytes that a view looks at, in C order.
    fn memoryview(&self, object: &Object<'py>) -> Result<Word> {
        // SAFETY: attached; any object with a buffer gives its bytes.
        unsafe {
            let bytes = Object::owned_or_raised(self.py, ffi::PyBytes_FromObject(object.as_ptr()))?;
            self.copied_bytes(bytes.as_ptr())
        }
    }
}

/// The kind of a container of one of Python's own classes.
///
/// # Safety
/// Attached; `object` is alive.
unsafe fn exact_container(object: *mut ffi::PyObject) -> Option<Kind> {
    // SAFETY: the caller's promise; static types.
    unsafe {
        let class = ffi::Py_TYPE(object);
        if class == &raw mut ffi::PyList_Type
            || class == &raw mut ffi::PySet_Type
            || class == &raw mut ffi::PyFrozenSet_Type
        {
            Some(Kind::List)
        } else if class == &raw mut ffi::PyDict_Type {
            Some(Kind::Map)
        } else if class == &raw mut ffi::PyTuple_Type {
            Some(Kind::Tuple)
        } else {
            None
        }
    }
}
