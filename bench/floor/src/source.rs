//! The values to build from, laid out so that reading them costs next to nothing.

use rustler::types::ListIterator;
use rustler::types::atom::is_truthy;
use rustler::types::map::MapIterator;
use rustler::{Binary, Error, NifResult, NifUnitEnum, Term, TermType};

/// What kind of term there is to read.
#[derive(NifUnitEnum)]
pub(crate) enum Kind {
    /// A list of integers of 64 bits.
    Ints,
    /// A list of floats.
    Floats,
    /// A list of binaries that become strs.
    Texts,
    /// A list of binaries that become bytes.
    Bytes,
    /// A map of binaries to integers.
    Map,
    /// Maps with binaries as keys, lists, numbers, binaries, booleans and `none`.
    Tree,
}

pub(crate) enum Source {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Texts),
    Bytes(Texts),
    Map(Texts, Vec<i64>),
    Tree(Node),
}

/// Texts one behind the other.
#[derive(Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn read(list: Term<'_>) -> NifResult<Self> {
        let mut texts = Self::default();
        for text in list.decode::<ListIterator>()? {
            texts.push(text)?;
        }
        Ok(texts)
    }

    fn push(&mut self, text: Term<'_>) -> NifResult<()> {
        self.bytes.extend_from_slice(&Binary::from_term(text)?);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = &self.bytes[start..end];
            start = end;
            text
        })
    }
}

/// What JSON can say.
pub(crate) enum Node {
    Int(i64),
    Float(f64),
    Text(Box<[u8]>),
    Bool(bool),
    Null,
    List(Vec<Node>),
    Map(Vec<(Box<[u8]>, Node)>),
}

impl Source {
    pub(crate) fn read(kind: Kind, term: Term<'_>) -> NifResult<Self> {
        Ok(match kind {
            Kind::Ints => Self::Ints(term.decode()?),
            Kind::Floats => Self::Floats(term.decode()?),
            Kind::Texts => Self::Texts(Texts::read(term)?),
            Kind::Bytes => Self::Bytes(Texts::read(term)?),
            Kind::Map => {
                let (mut keys, mut values) = (Texts::default(), Vec::new());
                for (key, value) in pairs(term)? {
                    keys.push(key)?;
                    values.push(value.decode()?);
                }
                Self::Map(keys, values)
            }
            Kind::Tree => Self::Tree(Node::read(term)?),
        })
    }
}

fn pairs(term: Term<'_>) -> NifResult<MapIterator<'_>> {
    MapIterator::new(term).ok_or(Error::BadArg)
}

fn text(term: Term<'_>) -> NifResult<Box<[u8]>> {
    Ok(Binary::from_term(term)?.as_slice().into())
}

impl Node {
    fn read(term: Term<'_>) -> NifResult<Self> {
        Ok(match term.get_type() {
            TermType::Integer => Self::Int(term.decode()?),
            TermType::Float => Self::Float(term.decode()?),
            TermType::Binary => Self::Text(text(term)?),
            TermType::List => Self::List(
                term.decode::<ListIterator>()?
                    .map(Self::read)
                    .collect::<NifResult<_>>()?,
            ),
            TermType::Map => Self::Map(
                pairs(term)?
                    .map(|(key, value)| Ok((text(key)?, Self::read(value)?)))
                    .collect::<NifResult<_>>()?,
            ),
            TermType::Atom if term.atom_to_string()? == "none" => Self::Null,
            TermType::Atom => Self::Bool(is_truthy(term)),
            _ => return Err(Error::BadArg),
        })
    }
}
