//! Values that Erlang and all contexts share: a bounded table of terms, which both sides read and write at once, without a
//! message to anybody.
//!
//! The locks are leaves: nothing is copied, made or dropped under them but a few words and what stands for a key. They are
//! spread over parts of the table, so that neither listing all keys nor clearing holds anybody up for long.

use crate::beam::{TermEnv, Word, identical};
use parking_lot::RwLock;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// How many parts the table has.
const PARTS: usize = 64;

/// A term in an environment that nobody writes to any more.
pub(crate) struct Stored {
    word: Word,
    /// What the term lives in.
    _env: TermEnv,
}

// SAFETY: the only use of the environment, until its only owner drops it, is that the term is copied, which reads it, and
// counts references to what lies outside of it atomically.
unsafe impl Sync for Stored {}

impl Stored {
    pub(crate) fn word(&self) -> Word {
        self.word
    }
}

/// A value of the table.
#[derive(Clone)]
pub(crate) enum Value {
    Integer(i64),
    /// A term that lives in every environment.
    Immediate(Word),
    Term(Arc<Stored>),
}

impl Value {
    /// The value that a term of this environment is; what is no use for it is given back.
    pub(crate) fn of(env: TermEnv, word: Word) -> (Self, Option<TermEnv>) {
        if let Some(integer) = env.get_int(word) {
            (Self::Integer(integer), Some(env))
        } else if env.is_immediate(word) {
            (Self::Immediate(word), Some(env))
        } else {
            (Self::Term(Arc::new(Stored { word, _env: env })), None)
        }
    }

    /// The value as a term of an environment.
    pub(crate) fn to_word(&self, env: &TermEnv) -> Word {
        match self {
            Self::Integer(integer) => env.int(*integer),
            Self::Immediate(word) => *word,
            Self::Term(stored) => env.copy(stored.word),
        }
    }
}

/// What is asked for: a binary by its bytes, all else as a term.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    Bytes(&'a [u8]),
    /// The term lives wherever it comes from.
    Term(u64, Word),
}

/// A key of the table.
#[derive(Clone)]
pub(crate) enum Key {
    Bytes(Arc<[u8]>),
    Term(u64, Arc<Stored>),
}

/// What can be told apart as keys are, so that nothing need be made for a search.
trait Keyed {
    fn asked(&self) -> Asked<'_>;
}

impl Keyed for Asked<'_> {
    fn asked(&self) -> Asked<'_> {
        *self
    }
}

impl Keyed for Key {
    fn asked(&self) -> Asked<'_> {
        match self {
            Self::Bytes(bytes) => Asked::Bytes(bytes),
            Self::Term(hash, stored) => Asked::Term(*hash, stored.word),
        }
    }
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        match (self.asked(), other.asked()) {
            (Asked::Bytes(a), Asked::Bytes(b)) => a == b,
            (Asked::Term(hash_a, a), Asked::Term(hash_b, b)) => hash_a == hash_b && identical(a, b),
            _ => false,
        }
    }
}

impl Eq for dyn Keyed + '_ {}

impl Hash for dyn Keyed + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.asked() {
            Asked::Bytes(bytes) => bytes.hash(state),
            Asked::Term(hash, _) => hash.hash(state),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (this, other): (&dyn Keyed, &dyn Keyed) = (self, other);
        this == other
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let this: &dyn Keyed = self;
        this.hash(state);
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for Key {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl Asked<'_> {
    fn owned(&self) -> Key {
        match *self {
            Self::Bytes(bytes) => Key::Bytes(bytes.into()),
            Self::Term(hash, word) => {
                let env = TermEnv::new();
                let word = env.copy(word);
                Key::Term(hash, Arc::new(Stored { word, _env: env }))
            }
        }
    }
}

/// The table has as many entries as it may have.
pub(crate) struct Full(pub(crate) usize);

/// Why nothing was added.
pub(crate) enum NotAdded {
    Full(Full),
    /// What is there is no integer, or one of more than 64 bits.
    NoInteger,
    /// The sum has more than 64 bits.
    TooLarge,
}

type Part = HashMap<Key, Value, RandomState>;

struct Table {
    hasher: RandomState,
    parts: Vec<RwLock<Part>>,
    /// How many entries there are, and may be.
    count: AtomicUsize,
    most: AtomicUsize,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let hasher = RandomState::new();
        Table {
            parts: (0..PARTS)
                .map(|_| RwLock::new(HashMap::with_hasher(hasher.clone())))
                .collect(),
            hasher,
            count: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    })
}

impl Table {
    fn part(&self, key: &dyn Keyed) -> &RwLock<Part> {
        let hash = self.hasher.hash_one(key);
        // The maps choose their places by the other end.
        &self.parts[(hash >> 32) as usize % PARTS]
    }

    /// Room for one more.
    fn enter(&self) -> Result<(), Full> {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |count: usize| (count < most).then_some(count + 1);
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map(drop)
            .map_err(|_full| Full(most))
    }

    fn leave(&self, entries: usize) {
        self.count.fetch_sub(entries, Ordering::Relaxed);
    }
}

/// Whatever is there goes; from now on there may be so many entries. Takes as long as there were entries.
pub(crate) fn open(most: usize) {
    table().most.store(most, Ordering::Relaxed);
    clear();
}

pub(crate) fn get(key: Asked<'_>) -> Option<Value> {
    let key: &dyn Keyed = &key;
    table().part(key).read().get(key).cloned()
}

pub(crate) fn put(key: Asked<'_>, value: Value) -> Result<(), Full> {
    let table = table();
    let searched: &dyn Keyed = &key;
    let part = table.part(searched);
    let before = {
        let mut part = part.write();
        part.get_mut(searched)
            .map(|there| std::mem::replace(there, value.clone()))
    };
    // Dropped when the lock is free again, as is all below: the last reference to a value may be in it.
    if before.is_some() {
        return Ok(());
    }
    table.enter()?;
    let owned = key.owned();
    let before = part.write().insert(owned, value);
    if before.is_some() {
        // Somebody else was faster with the same key.
        table.leave(1);
    }
    Ok(())
}

/// Whether it was there.
pub(crate) fn remove(key: Asked<'_>) -> bool {
    let table = table();
    let key: &dyn Keyed = &key;
    let removed = table.part(key).write().remove_entry(key);
    if removed.is_some() {
        table.leave(1);
    }
    removed.is_some()
}

/// Adds to the integer under a key, which is 0 where there is none, and gives the sum.
pub(crate) fn add(key: Asked<'_>, amount: i64) -> Result<i64, NotAdded> {
    let table = table();
    let searched: &dyn Keyed = &key;
    let part = table.part(searched);
    let added = |there: &mut Value| match there {
        Value::Integer(integer) => {
            let sum = integer.checked_add(amount).ok_or(NotAdded::TooLarge)?;
            *integer = sum;
            Ok(sum)
        }
        Value::Immediate(_) | Value::Term(_) => Err(NotAdded::NoInteger),
    };
    if let Some(there) = part.write().get_mut(searched) {
        return added(there);
    }
    table.enter().map_err(NotAdded::Full)?;
    let owned = key.owned();
    let mut part = part.write();
    if let Some(there) = part.get_mut(searched) {
        table.leave(1);
        let result = added(there);
        drop(part);
        return result;
    }
    part.insert(owned, Value::Integer(amount));
    Ok(amount)
}

/// All keys, in no particular order. Takes as long as there are entries.
pub(crate) fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for part in &table().parts {
        keys.extend(part.read().keys().cloned());
    }
    keys
}

/// Takes as long as there were entries.
#[expect(
    clippy::mutable_key_type,
    reason = "what changes in an environment is no part of what is compared"
)]
pub(crate) fn clear() {
    let table = table();
    for part in &table.parts {
        let gone = std::mem::replace(
            &mut *part.write(),
            HashMap::with_hasher(table.hasher.clone()),
        );
        table.leave(gone.len());
    }
}

/// How many entries there are, and may be.
pub(crate) fn counted() -> (usize, usize) {
    let table = table();
    (
        table.count.load(Ordering::Relaxed),
        table.most.load(Ordering::Relaxed),
    )
}
