//! Namespaces that Erlang holds by reference, beside the one that each process has of its own.

use super::{Client, Context, registry};
use crate::beam::Shared;

/// A namespace of one context, named by a reference in Erlang.
pub(crate) struct Environment {
    /// Names the namespace, as [`Client::id`] does.
    id: u64,
    /// The serial of the context.
    context: u64,
    /// The process whose own namespace this is; else the namespace goes with the last reference.
    of: Option<Shared<Client>>,
}

impl Environment {
    /// A new, empty namespace.
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            id: Client::next_id(),
            context: context.serial,
            of: None,
        }
    }

    /// The namespace that a process has anyway, for the use of others.
    pub(crate) fn of(client: Shared<Client>) -> Self {
        Self {
            id: client.id,
            context: client.context,
            of: Some(client),
        }
    }

    /// The namespace in a context; `None` when it is of another one, or its process has ended.
    pub(super) fn namespace(&self, context: &Context) -> Option<u64> {
        let alive = self.of.as_ref().is_none_or(|client| !client.is_dead());
        (alive && self.context == context.serial).then_some(self.id)
    }
}

impl Drop for Environment {
    /// May run on any thread, so it only enqueues.
    fn drop(&mut self) {
        if self.of.is_none()
            && let Some(context) = registry().by_serial(self.context)
        {
            context.drop_namespace(self.id);
        }
    }
}

/// Whose namespace a request uses.
pub(crate) enum Scope {
    /// The caller's.
    Own,
    /// Another process's, for which the caller works.
    Of(Shared<Client>),
    /// One that was named explicitly.
    In(Shared<Environment>),
}
