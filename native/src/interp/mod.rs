//! Contexts: an interpreter, the one OS thread that runs it, and the mailbox between it and Erlang.

mod answer;
mod begun;
mod birth;
pub(crate) mod callback;
mod client;
mod code;
mod context;
mod continuation;
mod environment;
mod execute;
mod failure;
mod flow;
mod functions;
pub(crate) mod inline;
mod loops;
mod many;
mod modules;
pub(crate) mod output;
mod owner;
pub(crate) mod permit;
mod python_functions;
mod queue;
pub(crate) mod reactor;
mod reaper;
mod registry;
mod request;
mod retire;
mod scope;
mod sources;
mod spares;
mod stack;
mod stream;
mod task;
pub(crate) mod trace;
pub(crate) mod warm;
pub(crate) mod watch;

pub(crate) use begun::{Looked, Turn};
pub(crate) use callback::{Callback, Stage, Station};
pub(crate) use client::Client;
pub(crate) use context::{Closing, Context, Envelope, Mode, Settings};
pub(crate) use environment::{Environment, Scope};
pub(crate) use owner::{STACK, prepare_main, start};
pub(crate) use permit::Permit;
pub(crate) use queue::Queue;
use reaper::reaper;
pub(crate) use reaper::start_reaper;
pub(crate) use registry::registry;
pub(crate) use request::{Body, Kind, Origin, Request};

use std::sync::atomic::{AtomicUsize, Ordering};

/// What an operator wants to know about threads and interpreters.
#[derive(Default)]
pub(crate) struct Counters {
    /// Owner threads that live, spares included.
    pub(crate) threads: AtomicUsize,
    /// Recycled interpreters that wait for a context.
    pub(crate) spares: AtomicUsize,
    /// Contexts whose code ignores interrupts, and that were given up.
    pub(crate) stuck: AtomicUsize,
    /// Interpreters that could not be ended because threads of theirs live on.
    pub(crate) set_aside: AtomicUsize,
}

impl Counters {
    pub(crate) fn up(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn down(counter: &AtomicUsize) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters of this node.
pub(crate) static COUNTERS: Counters = Counters {
    threads: AtomicUsize::new(0),
    spares: AtomicUsize::new(0),
    stuck: AtomicUsize::new(0),
    set_aside: AtomicUsize::new(0),
};
