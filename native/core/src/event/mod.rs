//! Waiting for descriptors: what an event loop of Python's waits with.

mod bell;
mod poll;
mod poller;
#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use poll::{Event, Interest, PollSet, READ, WRITE, nest, unnest};
pub use poller::{Poller, Wake};
