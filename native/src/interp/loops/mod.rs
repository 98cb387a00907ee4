//! Event loops of Python's on the owner thread of a context.
//!
//! ```text
//!   loop: _run_once ──select──▶ [wait]: serves the mailbox, looks at the descriptors, sleeps
//!                                  │ on top of the loop, [aside]
//!                                  ▼
//!                         requests, as when nothing runs; new tasks ([tasks])
//! ```
//!
//! When a context has a loop of its own and nothing else to do, its thread drives that loop, and serves the mailbox
//! there. On other threads, and while a context ends, a loop sleeps in its own set.

mod aside;
mod functions;
mod tasks;
mod wait;

pub(super) use aside::Aside;
pub(crate) use aside::RunningLoop;
pub(super) use functions::METHODS;
pub(crate) use tasks::LoopTools;
