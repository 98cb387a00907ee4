//! Waiting for descriptors: what an event loop of Python's waits with, without Python and without terms.
//!
//! - [`PollSet`](poll::PollSet): the descriptors of one loop.
//! - [`Poller`]: a loop's set, and how another thread wakes the loop.
//! - [`Root`]: the one descriptor that the emulator watches for a context while the context's thread sleeps.

mod bell;
mod poll;
mod poller;
mod root;

pub(crate) use bell::Bell;
pub(crate) use poll::{Event, Interest};
pub(crate) use poller::{Poller, Wake};
pub(crate) use root::Root;
