//! Tables by words and by numbers of our own.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// Atoms, pids and numbers that we give out are small and distinct, and chosen by no stranger: a multiplication spreads
/// them well enough. The high bits are the well mixed ones, and tables begin with the low ones.
#[derive(Default)]
pub(crate) struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// A table by such words or numbers.
pub(crate) type WordMap<K, V> = HashMap<K, V, BuildHasherDefault<WordHasher>>;

/// A number below `2^bits` for a word, in tables with so many places.
pub(crate) fn place_of(word: super::Word, bits: u32) -> usize {
    let hash = BuildHasherDefault::<WordHasher>::default().hash_one(word);
    (hash & ((1 << bits) - 1)) as usize
}
