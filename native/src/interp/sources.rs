//! The texts that code was compiled from, so that tracebacks can show their lines.
//!
//! `erlang._sources` keeps them, for Python's own modules look there, too; see it for how long. This side
//! enters them, and finds lines for [`super::failure`].

use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Longer texts are not kept: their tracebacks show no lines.
const LONGEST: usize = 4 << 20;

/// After this many texts or bytes the Python side is asked to let go of what no code needs any more.
const MOST_TEXTS: isize = 4096;
const MOST_NEW_BYTES: usize = 4 << 20;

/// See the module.
pub(crate) struct Sources {
    /// `erlang._sources.texts`: name to `(name, text)`.
    texts: Kept,
    /// `erlang._sources.trim`.
    trim: Kept,
    /// Entered from here since it was last called.
    new_bytes: usize,
}

impl Sources {
    pub(crate) fn new(py: Python<'_>) -> Result<Self> {
        let module = Object::import(py, "erlang._sources")?;
        Ok(Self {
            texts: module.getattr_str("texts")?.keep(),
            trim: module.getattr_str("trim")?.keep(),
            new_bytes: 0,
        })
    }

    /// The name of the file that a text is compiled as. The same text has the same one, as one object, which
    /// lives as long as code of it does: by that the Python side knows whether there is any.
    pub(super) fn enter<'py>(
        &mut self,
        py: Python<'py>,
        kind: &str,
        text: &str,
    ) -> Result<Object<'py>> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let mut hash = hasher.finish() >> 16;
        loop {
            let name = Object::str(py, &format!("<erlang {kind} {hash:012x}>"))?;
            if text.len() > LONGEST {
                return Ok(name);
            }
            let Some(entry) = self.entry(&name)? else {
                self.add(&name, text)?;
                return Ok(name);
            };
            if utf8(&entry.text) == Some(text) {
                return Ok(entry.name);
            }
            hash += 1;
        }
    }

    fn add(&mut self, name: &Object<'_>, text: &str) -> Result<()> {
        let py = name.py();
        self.new_bytes += text.len();
        // SAFETY: attached; a dict.
        let crowded = unsafe { ffi::PyDict_Size(self.texts.as_ptr()) } >= MOST_TEXTS;
        if crowded || self.new_bytes > MOST_NEW_BYTES {
            self.new_bytes = text.len();
            self.trim.get(py).call(&[])?;
        }
        let value = Object::str(py, text)?;
        // SAFETY: attached; the tuple and the dict take references of their own.
        unsafe {
            let entry =
                Object::owned_or_raised(py, ffi::PyTuple_Pack(2, name.as_ptr(), value.as_ptr()))?;
            if ffi::PyDict_SetItem(self.texts.as_ptr(), name.as_ptr(), entry.as_ptr()) != 0 {
                return Err(Raised::seen(py));
            }
        }
        Ok(())
    }

    /// What is kept under a name. Code of users can reach the table, so what lies there may be anything.
    fn entry<'py>(&self, name: &Object<'py>) -> Result<Option<Entry<'py>>> {
        let py = name.py();
        let mut found = std::ptr::null_mut();
        // SAFETY: attached; a dict and a str. A new reference, or null with or without an exception; the places
        // are those of a tuple of two, which cannot change.
        unsafe {
            if ffi::compat::PyDict_GetItemRef(self.texts.as_ptr(), name.as_ptr(), &mut found) < 0 {
                return Err(Raised::seen(py));
            }
            let Some(entry) = Object::owned(py, found) else {
                return Ok(None);
            };
            let tuple = entry.as_ptr();
            if ffi::PyTuple_CheckExact(tuple) == 0 || ffi::PyTuple_GET_SIZE(tuple) != 2 {
                return Ok(None);
            }
            let (name, text) = (
                Object::borrowed(py, ffi::PyTuple_GET_ITEM(tuple, 0)),
                Object::borrowed(py, ffi::PyTuple_GET_ITEM(tuple, 1)),
            );
            let are_texts = ffi::PyUnicode_CheckExact(name.as_ptr()) != 0
                && ffi::PyUnicode_CheckExact(text.as_ptr()) != 0;
            Ok(are_texts.then_some(Entry { name, text }))
        }
    }

    pub(super) fn release(self, py: Python<'_>) {
        self.texts.release(py);
        self.trim.release(py);
    }
}

struct Entry<'py> {
    name: Object<'py>,
    text: Object<'py>,
}

/// The text of a str; `None` when there are lone surrogates in it.
fn utf8<'a>(object: &'a Object<'_>) -> Option<&'a str> {
    let mut size = 0;
    // SAFETY: attached, and a str, which keeps the bytes as long as it lives.
    unsafe {
        let data = ffi::PyUnicode_AsUTF8AndSize(object.as_ptr(), &mut size);
        if data.is_null() {
            Raised::seen(object.py()).clear(object.py());
            return None;
        }
        std::str::from_utf8(std::slice::from_raw_parts(data.cast::<u8>(), size as usize)).ok()
    }
}

/// Lines of the texts that one story needs. Each text is searched for its lines once.
#[derive(Default)]
pub(super) struct Lines<'py>(Vec<Indexed<'py>>);

struct Indexed<'py> {
    text: Object<'py>,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'py> Lines<'py> {
    /// A line of the text that a file name stands for, without the blanks around it.
    pub(super) fn get(
        &mut self,
        sources: &Sources,
        file: &Object<'py>,
        line: usize,
    ) -> Result<Option<&str>> {
        let Some(Entry { text, .. }) = sources.entry(file)? else {
            return Ok(None);
        };
        let known = self.0.iter().position(|i| i.text.as_ptr() == text.as_ptr());
        let place = known.unwrap_or_else(|| {
            let starts = utf8(&text).map(starts).unwrap_or_default();
            self.0.push(Indexed { text, starts });
            self.0.len() - 1
        });
        Ok(self.0[place].line(line))
    }
}

impl Indexed<'_> {
    fn line(&self, number: usize) -> Option<&str> {
        let &start = self.starts.get(number.checked_sub(1)?)?;
        let text = utf8(&self.text)?;
        let end = self.starts.get(number).copied().unwrap_or(text.len());
        text.get(start..end).map(str::trim)
    }
}

/// Lines end as they do for Python's compiler: with a line feed, a carriage return, or both.
fn starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut starts = vec![0];
    for (i, &byte) in bytes.iter().enumerate() {
        if byte == b'\n' || (byte == b'\r' && bytes.get(i + 1) != Some(&b'\n')) {
            starts.push(i + 1);
        }
    }
    starts
}
