//! What Erlang holds references to.

use crate::beam::{Shared, Watched};
use crate::interp::{Callback, Client, Context, Environment, Request};
use crate::term::{LentBytes, ObjectRef};
use rustler::{Env, LocalPid, Monitor, Resource};
use std::sync::Arc;

/// A context, for its own process and for the pool.
pub(crate) struct Handle(pub(crate) Arc<Context>);

impl Handle {
    pub(super) fn shared(context: Arc<Context>) -> Shared<Self> {
        Shared::new(Self(context))
    }
}

#[rustler::resource_impl]
impl Resource for Handle {}

/// A listening socket, for the process that accepts.
pub(crate) struct Listener(pub(super) Watched);

#[rustler::resource_impl]
impl Resource for Listener {}

#[rustler::resource_impl]
impl Resource for Request {}

#[rustler::resource_impl]
impl Resource for Environment {}

#[rustler::resource_impl]
impl Resource for ObjectRef {}

#[rustler::resource_impl]
impl Resource for LentBytes {}

#[rustler::resource_impl]
impl Resource for Callback {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        Callback::down(self, env);
    }
}

#[rustler::resource_impl]
impl Resource for Client {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        Client::down(self);
    }
}

/// The process of a context: its death closes the context whatever killed it.
pub(crate) struct Owned(pub(crate) Arc<Context>);

#[rustler::resource_impl]
impl Resource for Owned {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.0.orphaned();
    }
}
