//! Short keys of maps as Python strings. Data from outside mostly has the same few keys again and again; a key
//! that is known costs a comparison instead of a new str and its hash.

use crate::py::{Kept, Object, Python, Result, ffi};

/// A power of two. Each key has one place, where the last one wins.
const PLACES: usize = 512;
/// Longer keys are not kept, nor those of maps with more of them: such keys are data, not names.
const LONGEST: usize = 32;
const MOST: usize = 64;

/// One interpreter's strings for keys.
#[derive(Default)]
pub(crate) struct KeyNames(Vec<Option<Kept>>);

impl KeyNames {
    /// Whether keys like this one, of a map of that size, are worth keeping.
    pub(super) fn takes(key: &[u8], size: usize) -> bool {
        size <= MOST && (2..=LONGEST).contains(&key.len()) && key.is_ascii()
    }

    /// The str of a key that [`Self::takes`] accepts.
    pub(super) fn get<'py>(&mut self, py: Python<'py>, key: &[u8]) -> Result<Object<'py>> {
        if self.0.is_empty() {
            self.0.resize_with(PLACES, || None);
        }
        let place = &mut self.0[spread(key) % PLACES];
        if let Some(known) = place
            && text(known) == key
        {
            return Ok(known.get(py));
        }
        let name = Object::ascii(py, key)?;
        // SAFETY: attached; a second reference for the table.
        let kept = unsafe { Object::borrowed(py, name.as_ptr()) }.keep();
        if let Some(before) = place.replace(kept) {
            before.release(py);
        }
        Ok(name)
    }

    pub(crate) fn clear(&mut self, py: Python<'_>) {
        for name in self.0.drain(..).flatten() {
            name.release(py);
        }
    }
}

/// The text of a str that was made of ASCII.
fn text(name: &Kept) -> &[u8] {
    // SAFETY: the table holds ASCII strs only, which never change and which it keeps alive.
    unsafe {
        let data = ffi::PyUnicode_DATA(name.as_ptr()).cast::<u8>();
        let size = ffi::PyUnicode_GET_LENGTH(name.as_ptr()).cast_unsigned();
        std::slice::from_raw_parts(data, size)
    }
}

/// A cheap hash (FNV-1a by words). Keys that meet only cost time.
fn spread(key: &[u8]) -> usize {
    let (words, rest) = key.as_chunks::<8>();
    let words = words.iter().map(|&word| u64::from_le_bytes(word));
    let rest = rest.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let hash = words
        .chain([rest])
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            (hash ^ word).wrapping_mul(0x0100_0000_01b3)
        });
    // The high bits are the well mixed ones.
    (hash >> 40) as usize
}
