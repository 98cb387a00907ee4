//! Atoms as Python strings, each made once.

use crate::beam::{TermEnv, Word};
use crate::py::{Kept, Object, Python, Raised, Result};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Atoms seen lately; beyond this the table starts anew, so that it cannot grow for ever.
const MOST: usize = 8192;

/// Atoms are small distinct numbers, chosen by no stranger: a multiplication spreads them well enough.
#[derive(Default)]
struct AtomHasher(u64);

impl Hasher for AtomHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_usize(usize::from(byte));
        }
    }
    fn write_usize(&mut self, word: usize) {
        self.0 = (self.0 ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// One interpreter's strings for atoms.
#[derive(Default)]
pub(crate) struct AtomNames(HashMap<Word, Kept, BuildHasherDefault<AtomHasher>>);

impl AtomNames {
    /// The interned str of an atom; a `TypeError` for any other term.
    pub(crate) fn get<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        atom: Word,
    ) -> Result<Object<'py>> {
        if let Some(name) = self.0.get(&atom) {
            return Ok(name.get(py));
        }
        let Some(text) = env.get_atom(atom) else {
            return Err(Raised::type_error(py, "an atom was expected"));
        };
        let mut name = Object::str(py, &text)?.into_ptr();
        // SAFETY: attached; `name` is a str that we own, and the function may replace it by its equal.
        let name = unsafe {
            crate::py::ffi::PyUnicode_InternInPlace(&mut name);
            Object::owned_or_raised(py, name)?
        };
        if self.0.len() >= MOST {
            self.clear(py);
        }
        // SAFETY: attached; a second reference for the table.
        let kept = unsafe { Object::borrowed(py, name.as_ptr()) }.keep();
        self.0.insert(atom, kept);
        Ok(name)
    }

    pub(crate) fn clear(&mut self, py: Python<'_>) {
        for (_, name) in self.0.drain() {
            name.release(py);
        }
    }
}
