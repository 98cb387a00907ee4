//! Terms, built through the NIF API and by nothing else.

use crate::source::{Node, Source, Texts};
use rustler::sys::{self as nif, ErlNifEnv, ErlNifTerm as Word};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Arrays that are there before the clock runs.
#[derive(Default)]
pub(crate) struct Scratch {
    words: Vec<Word>,
    values: Vec<Word>,
    atoms: Option<[Word; 3]>,
}

/// An environment of no process, and the arrays: kept, so that the loop alone is timed.
struct Workplace(*mut ErlNifEnv, Scratch);

// SAFETY: any one thread at a time may use such an environment; the mutex around it sees to that.
unsafe impl Send for Workplace {}

static WORKPLACE: Mutex<Option<Workplace>> = Mutex::new(None);

/// Nanoseconds of building the terms and freeing them.
pub(crate) fn timed(source: &Source) -> Option<u64> {
    let mut kept = WORKPLACE.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: no precondition. It is never freed: the mutex keeps it for the life of the node.
    let Workplace(env, scratch) =
        kept.get_or_insert_with(|| Workplace(unsafe { nif::enif_alloc_env() }, Scratch::default()));
    let start = Instant::now();
    let built = build(*env, source, scratch);
    // SAFETY: the environment is alive, and the term is not used again.
    unsafe { nif::enif_clear_env(*env) };
    let elapsed = start.elapsed().as_nanos();
    built?;
    u64::try_from(elapsed).ok()
}

/// Builds the terms of the values; `None` when two keys of a map are the same.
pub(crate) fn build(env: *mut ErlNifEnv, source: &Source, scratch: &mut Scratch) -> Option<Word> {
    let Scratch {
        words,
        values,
        atoms,
    } = scratch;
    words.clear();
    values.clear();
    match source {
        Source::Ints(ints) => words.extend(ints.iter().map(|&value| int(env, value))),
        Source::Floats(floats) => words.extend(floats.iter().map(|&value| float(env, value))),
        Source::Texts(texts) | Source::Bytes(texts) => push_all(env, texts, words),
        Source::Map(keys, ints) => {
            push_all(env, keys, words);
            values.extend(ints.iter().map(|&value| int(env, value)));
            return map(env, words, values);
        }
        Source::Tree(node) => {
            let atoms = atoms.get_or_insert_with(|| {
                [c"false", c"true", c"none"].map(|name| {
                    // SAFETY: a text that ends with zero; atoms are good in every environment.
                    unsafe { nif::enif_make_atom(env, name.as_ptr()) }
                })
            });
            return Tree { env, atoms }.term(node, words, values);
        }
    }
    Some(list(env, words))
}

fn push_all(env: *mut ErlNifEnv, texts: &Texts, words: &mut Vec<Word>) {
    words.extend(texts.iter().map(|text| binary(env, text)));
}

fn int(env: *mut ErlNifEnv, value: i64) -> Word {
    // SAFETY: the environment is alive, here and below.
    unsafe { nif::enif_make_int64(env, value) }
}

fn float(env: *mut ErlNifEnv, value: f64) -> Word {
    // SAFETY: as `int`; the values were Erlang floats, so they are finite.
    unsafe { nif::enif_make_double(env, value) }
}

fn binary(env: *mut ErlNifEnv, bytes: &[u8]) -> Word {
    let mut word = Word::default();
    // SAFETY: as `int`; the emulator gives so many bytes to write.
    unsafe {
        let data = nif::enif_make_new_binary(env, bytes.len(), &mut word);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
    }
    word
}

fn list(env: *mut ErlNifEnv, elements: &[Word]) -> Word {
    // SAFETY: as `int`; the elements were made in the same environment.
    unsafe { nif::enif_make_list_from_array(env, elements.as_ptr(), elements.len() as u32) }
}

fn map(env: *mut ErlNifEnv, keys: &[Word], values: &[Word]) -> Option<Word> {
    let mut word = Word::default();
    // SAFETY: as `list`; there are as many values as keys.
    let made = unsafe {
        nif::enif_make_map_from_arrays(env, keys.as_ptr(), values.as_ptr(), keys.len(), &mut word)
    };
    (made != 0).then_some(word)
}

struct Tree<'a> {
    env: *mut ErlNifEnv,
    /// `false`, `true` and `none`.
    atoms: &'a [Word; 3],
}

impl Tree<'_> {
    /// The term of a node. `words` and `values` hold the parts of the containers around it.
    fn term(&self, node: &Node, words: &mut Vec<Word>, values: &mut Vec<Word>) -> Option<Word> {
        let base = words.len();
        Some(match node {
            Node::Int(value) => int(self.env, *value),
            Node::Float(value) => float(self.env, *value),
            Node::Text(text) => binary(self.env, text),
            Node::Bool(value) => self.atoms[usize::from(*value)],
            Node::Null => self.atoms[2],
            Node::List(nodes) => {
                for node in nodes {
                    let word = self.term(node, words, values)?;
                    words.push(word);
                }
                let word = list(self.env, &words[base..]);
                words.truncate(base);
                word
            }
            Node::Map(pairs) => {
                let value_base = values.len();
                for (key, node) in pairs {
                    words.push(binary(self.env, key));
                    let value = self.term(node, words, values)?;
                    values.push(value);
                }
                let word = map(self.env, &words[base..], &values[value_base..])?;
                words.truncate(base);
                values.truncate(value_base);
                word
            }
        })
    }
}
