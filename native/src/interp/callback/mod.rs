//! Python code calls Erlang.
//!
//! ```text
//!   code ──erlang.call──▶ [call] ──message──▶ the process that waits, or one of its own ([dispatch])
//!                           │                              │
//!                        [wait] ◀──── answer in the slot of the [record] ──── NIF
//!                           │
//!              nested requests run on top ([ancestry] says which)
//! ```
//!
//! The owner thread of a context waits on its mailbox, with the GIL released; threads of Python's own wait for
//! themselves, and an event loop is told through a descriptor ([`answers`]).

mod ancestry;
mod answers;
mod call;
mod dispatch;
mod functions;
mod names;
mod raised;
mod record;
mod send;
mod stage;
mod state;
mod station;
mod tools;
mod wait;

pub(crate) use ancestry::{Circle, awaits};
pub(crate) use answers::wake_loops;
pub(super) use call::{here, request_of};
pub(crate) use dispatch::{dispatch_tail, set_dispatcher};
pub(super) use functions::METHODS;
pub(crate) use names::set_known;
pub(crate) use record::{Callback, Finished};
pub(crate) use send::Relay;
pub(crate) use stage::Stage;
pub(super) use state::METHODS as STATE_METHODS;
pub(crate) use station::Station;
pub(super) use tools::with_tools_here;
