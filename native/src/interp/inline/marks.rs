//! The functions that are marked to run inline, as the whole node knows them.
//!
//! Every call that says nothing of it asks, on whatever scheduler, and marks change rarely: readers take the table as it
//! is without waiting for one another, and a change puts another one in its place. Words of atoms last as long as the node.

use crate::beam::{Word, WordMap};
use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// `inline` or `auto`, by module and function.
pub(crate) type Marks = WordMap<(Word, Word), Word>;

static MARKS: ArcSwapOption<Marks> = ArcSwapOption::const_empty();

/// Puts these in the place of all that there were.
pub(crate) fn publish(marks: Marks) {
    MARKS.store(Some(Arc::new(marks)));
}

/// How a function is marked. All words are those of atoms.
pub(crate) fn of(module: Word, function: Word) -> Option<Word> {
    let marks = MARKS.load();
    marks.as_ref()?.get(&(module, function)).copied()
}
