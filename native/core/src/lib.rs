//! The parts of `py_nif` that need neither the BEAM nor Python.
//!
//! | module | what it holds |
//! |---|---|
//! | [`protocol`] | the life of one request as a state word: who may answer, who may cancel |
//! | [`mailbox`] | the queue of a context: many producers, one consumer, closing, parking |
//! | [`door`] | what one thread owns and others may use while it idles |
//! | [`learner`] | which functions are short enough for the calling thread |
//! | [`descriptors`] | whose descriptors are |
//! | [`event`] | waiting for descriptors, and being woken meanwhile |
//! | [`reactor`] | connections that were handed over, and their time limits |
//! | [`spin`] | how long a consumer looks for work before it parks, and how many may look at once |
//! | [`stopwatch`] | how long something has taken |
//! | [`lifecycle`] | the states of the whole runtime |
//! | [`backoff`] | growing intervals for repeated interrupts |
//! | [`permits`] | a bound on how many may work at the same time |
//! | [`seccomp`] | what the kernel refuses to a thread |
//! | [`account`] | memory that is counted for one holder, and the lines that it meets |
//! | [`shelf`] | large blocks of memory that a thread keeps for what it asks for next |
//! | [`tally`] | what the waiting requests of one process hold |
//!
//! Everything that is concurrent here, but for what descriptors do, is model-checked: `RUSTFLAGS="--cfg loom" cargo test -p py_core`.

pub mod account;
pub mod backoff;
#[cfg(not(loom))]
pub mod descriptors;
pub mod door;
#[cfg(not(loom))]
pub mod event;
pub mod learner;
pub mod lifecycle;
pub mod mailbox;
pub mod permits;
pub mod protocol;
#[cfg(not(loom))]
pub mod reactor;
#[cfg(not(loom))]
pub mod seccomp;
pub mod shelf;
pub mod spin;
pub mod stopwatch;
mod sync;
pub mod tally;
