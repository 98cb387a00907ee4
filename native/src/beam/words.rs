//! Taking terms apart and putting them together.

use super::{Share, Shared, TermEnv, Word};
use rustler::sys as nif;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

/// Emulators before ERTS 15.2.3 crash when a thread that is no scheduler makes a map of more than 128 keys at
/// once (erlang/otp#8208: sorting asks the scheduler for a random number). There, larger maps grow key by key.
static LARGE_MAPS_AT_ONCE: AtomicBool = AtomicBool::new(false);
const SMALL_ENOUGH: usize = 128;

/// The emulator makes maps of any size at once on any thread.
pub(crate) fn allow_large_maps() {
    LARGE_MAPS_AT_ONCE.store(true, Ordering::Relaxed);
}

/// What kind of term a word is; `None` for kinds that a future emulator adds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TermType {
    Atom,
    Bitstring,
    Float,
    Fun,
    Integer,
    List,
    Map,
    Pid,
    Port,
    Reference,
    Tuple,
    Unknown,
}

/// Binaries up to this lie with other terms.
const SMALL_BINARY: usize = 64;

/// What lies before the bytes of one.
const BEFORE_BYTES: usize = 2 * size_of::<Word>();

/// Other terms between two small binaries, such as floats, that are no sign of another piece of memory: less than what
/// lies at the beginning of one.
const BETWEEN: usize = 4 * size_of::<Word>();

impl TermEnv {
    pub(crate) fn term_type(&self, word: Word) -> TermType {
        // SAFETY: module rule. The result is read as a number, since a newer emulator may answer with
        // one that rustler's enumeration does not have.
        let number = unsafe {
            let ask: unsafe extern "C" fn(*mut nif::ErlNifEnv, Word) -> std::ffi::c_int =
                std::mem::transmute(enif_term_type as *const ());
            ask(self.raw(), word)
        };
        match number {
            1 => TermType::Atom,
            2 => TermType::Bitstring,
            3 => TermType::Float,
            4 => TermType::Fun,
            5 => TermType::Integer,
            6 => TermType::List,
            7 => TermType::Map,
            8 => TermType::Pid,
            9 => TermType::Port,
            10 => TermType::Reference,
            11 => TermType::Tuple,
            _ => TermType::Unknown,
        }
    }

    pub(crate) fn get_int(&self, word: Word) -> Option<i64> {
        let mut value = 0;
        // SAFETY: module rule.
        (unsafe { nif::enif_get_int64(self.raw(), word, &mut value) } != 0).then_some(value)
    }

    pub(crate) fn get_float(&self, word: Word) -> Option<f64> {
        let mut value = 0.0;
        // SAFETY: module rule.
        (unsafe { nif::enif_get_double(self.raw(), word, &mut value) } != 0).then_some(value)
    }

    /// The bytes of a binary; they live as long as the term.
    pub(crate) fn get_binary(&self, word: Word) -> Option<&[u8]> {
        let mut binary = MaybeUninit::<nif::ErlNifBinary>::uninit();
        // SAFETY: module rule; on success the struct is filled and points to bytes that the
        // environment keeps. An empty binary may have a null pointer.
        unsafe {
            if nif::enif_inspect_binary(self.raw(), word, binary.as_mut_ptr()) == 0 {
                return None;
            }
            let binary = binary.assume_init();
            if binary.size == 0 {
                return Some(&[]);
            }
            Some(std::slice::from_raw_parts(binary.data, binary.size))
        }
    }

    /// The text of an atom.
    pub(crate) fn get_atom(&self, word: Word) -> Option<String> {
        // An atom has at most 255 characters, all of them Latin-1 where the emulator gives it out as such.
        let mut buffer = [0u8; 256];
        // SAFETY: module rule; the buffer's size is passed on.
        let written = unsafe {
            nif::enif_get_atom(
                self.raw(),
                word,
                buffer.as_mut_ptr().cast(),
                256,
                nif::ErlNifCharEncoding::ERL_NIF_LATIN1,
            )
        };
        if written > 0 {
            let length = usize::try_from(written).unwrap_or(1) - 1;
            return Some(
                buffer[..length]
                    .iter()
                    .map(|&byte| char::from(byte))
                    .collect(),
            );
        }
        if self.term_type(word) != TermType::Atom {
            return None;
        }
        self.wide_atom(word)
    }

    /// The text of an atom with characters outside Latin-1, by way of the external format
    /// (131, 119 or 118, length in one or two bytes, UTF-8), which all supported emulators write.
    fn wide_atom(&self, word: Word) -> Option<String> {
        let external = self.to_external(word);
        let text = match external.as_slice() {
            [131, 119, _, text @ ..] | [131, 118, _, _, text @ ..] => text,
            _ => return None,
        };
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    pub(crate) fn get_tuple(&self, word: Word) -> Option<&[Word]> {
        let mut arity = 0;
        let mut elements = std::ptr::null();
        // SAFETY: module rule; on success the array has `arity` elements and lives with the term. An
        // empty tuple may give no array.
        unsafe {
            if nif::enif_get_tuple(self.raw(), word, &mut arity, &mut elements) == 0 {
                return None;
            }
            let arity = usize::try_from(arity).unwrap_or(0);
            if arity == 0 {
                return Some(&[]);
            }
            Some(std::slice::from_raw_parts(elements, arity))
        }
    }

    /// The length of a proper list.
    pub(crate) fn list_length(&self, word: Word) -> Option<usize> {
        let mut length = 0;
        // SAFETY: module rule.
        (unsafe { nif::enif_get_list_length(self.raw(), word, &mut length) } != 0)
            .then_some(length as usize)
    }

    /// The elements of a list, up to its end or an improper tail.
    pub(crate) fn list(&self, word: Word) -> ListCells<'_> {
        ListCells {
            env: self,
            rest: word,
        }
    }

    pub(crate) fn map_size(&self, word: Word) -> Option<usize> {
        let mut size = 0;
        // SAFETY: module rule.
        (unsafe { nif::enif_get_map_size(self.raw(), word, &mut size) } != 0).then_some(size)
    }

    /// The pairs of a map, in no particular order.
    pub(crate) fn map(&self, word: Word) -> Option<MapPairs<'_>> {
        let mut iterator = MaybeUninit::uninit();
        // SAFETY: module rule; on success the iterator is initialised and `MapPairs` destroys it.
        unsafe {
            let first = nif::ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
            if nif::enif_map_iterator_create(self.raw(), word, iterator.as_mut_ptr(), first) == 0 {
                return None;
            }
            Some(MapPairs {
                env: self,
                iterator: iterator.assume_init(),
            })
        }
    }

    /// Whether the word lives in every environment: an atom, a pid or a port of this node.
    pub(crate) fn is_immediate(&self, word: Word) -> bool {
        let mut pid = MaybeUninit::uninit();
        let mut port = MaybeUninit::uninit();
        // SAFETY: module rule.
        unsafe {
            nif::enif_is_atom(self.raw(), word) != 0
                || nif::enif_get_local_pid(self.raw(), word, pid.as_mut_ptr()) != 0
                || nif::enif_get_local_port(self.raw(), word, port.as_mut_ptr()) != 0
        }
    }

    /// The shared value that a reference stands for.
    pub(crate) fn resource<T: Share>(&self, word: Word) -> Option<Shared<T>> {
        // SAFETY: module rule.
        unsafe { Shared::of_term(self.raw(), word) }
    }

    /// The term in Erlang's external format.
    pub(crate) fn to_external(&self, word: Word) -> Vec<u8> {
        let mut binary = MaybeUninit::<nif::ErlNifBinary>::uninit();
        // SAFETY: module rule; the binary is ours on success, is copied and released.
        unsafe {
            if nif::enif_term_to_binary(self.raw(), word, binary.as_mut_ptr()) == 0 {
                return Vec::new();
            }
            let mut binary = binary.assume_init();
            let bytes = std::slice::from_raw_parts(binary.data, binary.size).to_vec();
            nif::enif_release_binary(&mut binary);
            bytes
        }
    }

    /// The term of bytes in Erlang's external format.
    pub(crate) fn of_external(&self, bytes: &[u8]) -> Option<Word> {
        self.read_external(bytes, false)
    }

    /// As [`Self::of_external`], but never makes an atom.
    pub(crate) fn of_external_safe(&self, bytes: &[u8]) -> Option<Word> {
        self.read_external(bytes, true)
    }

    fn read_external(&self, bytes: &[u8], safe: bool) -> Option<Word> {
        let mut word = Word::default();
        let options = if safe { nif::ERL_NIF_BIN2TERM_SAFE } else { 0 };
        // SAFETY: the bytes are alive for the call; the term is made in this environment.
        let read = unsafe {
            nif::enif_binary_to_term(
                self.raw(),
                bytes.as_ptr().cast_mut(),
                bytes.len(),
                &mut word,
                options,
            )
        };
        (read != 0).then_some(word)
    }

    /// How Erlang prints the term, cut to a sane length.
    pub(crate) fn printed(&self, word: Word) -> String {
        let mut buffer = [0u8; 512];
        // SAFETY: `%T` prints a term; the size of the buffer is passed on and the text ends with a zero.
        unsafe {
            nif::enif_snprintf!(
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                c"%T".as_ptr(),
                word
            );
        }
        let end = buffer
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(buffer.len());
        String::from_utf8_lossy(&buffer[..end]).into_owned()
    }

    pub(crate) fn int(&self, value: i64) -> Word {
        // SAFETY: makes a term in this environment, as the functions below do.
        unsafe { nif::enif_make_int64(self.raw(), value) }
    }

    /// A finite float.
    pub(crate) fn float(&self, value: f64) -> Word {
        // SAFETY: as `int`.
        unsafe { nif::enif_make_double(self.raw(), value) }
    }

    #[inline]
    pub(crate) fn binary(&self, bytes: &[u8]) -> Word {
        let mut word = Word::default();
        let is_small = bytes.len() <= SMALL_BINARY;
        if is_small && self.next_small.get() == 0 {
            self.make_room();
        }
        // SAFETY: the emulator gives `bytes.len()` writable bytes, which do not overlap ours.
        let place = unsafe {
            let data = nif::enif_make_new_binary(self.raw(), bytes.len(), &mut word);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
            data.addr()
        };
        if is_small {
            if place.wrapping_sub(self.next_small.get()) > BETWEEN {
                self.make_room();
            }
            let end = place + bytes.len().next_multiple_of(size_of::<Word>());
            self.next_small.set(end + BEFORE_BYTES);
        }
        word
    }

    /// The emulator takes memory for each small binary alone where there is no room left. For other terms it takes some
    /// more than they need, so a list cell makes room for those that follow.
    #[cold]
    fn make_room(&self) {
        let nothing = super::atoms().none;
        // SAFETY: as `int`.
        let _unused = unsafe { nif::enif_make_list_cell(self.raw(), nothing, nothing) };
    }

    pub(crate) fn tuple(&self, elements: &[Word]) -> Word {
        // SAFETY: as `int`; an arity beyond what the C API takes cannot fit in memory.
        unsafe {
            nif::enif_make_tuple_from_array(self.raw(), elements.as_ptr(), elements.len() as u32)
        }
    }

    pub(crate) fn list_of(&self, elements: &[Word]) -> Word {
        // SAFETY: as `int`.
        unsafe {
            nif::enif_make_list_from_array(self.raw(), elements.as_ptr(), elements.len() as u32)
        }
    }

    /// A map; `None` when keys are the same term.
    pub(crate) fn map_of(&self, keys: &[Word], values: &[Word]) -> Option<Word> {
        debug_assert_eq!(keys.len(), values.len());
        let at_once = if LARGE_MAPS_AT_ONCE.load(Ordering::Relaxed) {
            keys.len()
        } else {
            keys.len().min(SMALL_ENOUGH)
        };
        let mut word = Word::default();
        // SAFETY: as `int`; both arrays have at least the given length.
        let mut made = unsafe {
            nif::enif_make_map_from_arrays(
                self.raw(),
                keys.as_ptr(),
                values.as_ptr(),
                at_once,
                &mut word,
            )
        };
        for (&key, &value) in keys.iter().zip(values).skip(at_once) {
            let smaller = word;
            // SAFETY: as `int`; the map was made in this environment.
            made &= unsafe { nif::enif_make_map_put(self.raw(), smaller, key, value, &mut word) };
        }
        // Keys that were put one by one replace their equals.
        (made != 0 && self.map_size(word) == Some(keys.len())).then_some(word)
    }

    /// A binary of bytes that a shared value keeps alive and unchanged, without a copy.
    ///
    /// # Safety
    /// The bytes stay as they are until the value is dropped.
    pub(crate) unsafe fn lent_binary<T: Share>(&self, owner: &Shared<T>, bytes: &[u8]) -> Word {
        // SAFETY: the caller's promise; the binary keeps the resource.
        unsafe {
            nif::enif_make_resource_binary(
                self.raw(),
                owner.as_c_arg(),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        }
    }

    /// A hash that is equal for terms that are equal.
    pub(crate) fn hash(&self, word: Word) -> u64 {
        // SAFETY: module rule.
        unsafe { nif::enif_hash(nif::ErlNifHash::ERL_NIF_INTERNAL_HASH, word, 0) }
    }

    /// A string: the list of its code points.
    pub(crate) fn string(&self, text: &str) -> Word {
        let codes: Vec<Word> = text
            .chars()
            .map(|c| self.int(i64::from(u32::from(c))))
            .collect();
        self.list_of(&codes)
    }

    /// The reference by which Erlang knows a shared value.
    pub(crate) fn shared<T: Share>(&self, value: &Shared<T>) -> Word {
        // SAFETY: the resource is alive; the term keeps it so.
        unsafe { nif::enif_make_resource(self.raw(), value.as_c_arg()) }
    }
}

/// Whether two terms match exactly (`=:=`).
pub(crate) fn identical(a: Word, b: Word) -> bool {
    // SAFETY: both are alive; the function only reads.
    unsafe { nif::enif_is_identical(a, b) != 0 }
}

unsafe extern "C" {
    fn enif_term_type();
}

/// See [`TermEnv::list`].
pub(crate) struct ListCells<'e> {
    env: &'e TermEnv,
    rest: Word,
}

impl ListCells<'_> {
    /// The list of what has not been taken.
    pub(crate) fn rest(&self) -> Word {
        self.rest
    }
}

impl Iterator for ListCells<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        let (mut head, mut tail) = (Word::default(), Word::default());
        // SAFETY: module rule.
        let cell = unsafe {
            nif::enif_get_list_cell(self.env.raw(), self.rest, &mut head, &mut tail) != 0
        };
        cell.then(|| {
            self.rest = tail;
            head
        })
    }
}

/// See [`TermEnv::map`].
pub(crate) struct MapPairs<'e> {
    env: &'e TermEnv,
    iterator: nif::ErlNifMapIterator,
}

impl Iterator for MapPairs<'_> {
    type Item = (Word, Word);

    fn next(&mut self) -> Option<(Word, Word)> {
        let (mut key, mut value) = (Word::default(), Word::default());
        // SAFETY: the iterator was made for this environment and is not destroyed yet.
        unsafe {
            let env = self.env.raw();
            if nif::enif_map_iterator_get_pair(env, &mut self.iterator, &mut key, &mut value) == 0 {
                return None;
            }
            nif::enif_map_iterator_next(env, &mut self.iterator);
        }
        Some((key, value))
    }
}

impl Drop for MapPairs<'_> {
    fn drop(&mut self) {
        // SAFETY: created in `TermEnv::map` and destroyed once, here.
        unsafe { nif::enif_map_iterator_destroy(self.env.raw(), &mut self.iterator) };
    }
}
