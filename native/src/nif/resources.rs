//! What Erlang holds references to.

use crate::beam::{Env, Kind, Share, Shared, Watched};
use crate::interp::{Callback, Client, Context, Environment, Request};
use crate::term::{LentBytes, ObjectRef};
use std::sync::Arc;

/// A context, for its own process and for the pool.
pub(crate) struct Handle(pub(crate) Arc<Context>);

impl Handle {
    pub(super) fn shared(context: Arc<Context>) -> Shared<Self> {
        Shared::new(Self(context))
    }
}

/// A listening socket, for the process that accepts.
pub(crate) struct Listener(pub(super) Watched);

/// The process of a context: its death closes the context whatever killed it.
pub(crate) struct Owned(pub(crate) Arc<Context>);

/// The kinds, by the names that the emulator knows them by.
macro_rules! kinds {
    ($($name:literal: $kind:ty $(, down $down:expr)?;)*) => {
        $(impl Share for $kind {
            fn kind() -> &'static Kind {
                static KIND: Kind = Kind::new();
                &KIND
            }
            $(
                const MONITORS: bool = true;

                fn down(&self, env: Env) {
                    let down: fn(&Self, Env) = $down;
                    down(self, env);
                }
            )?
        })*

        /// Opens them, for the function that the emulator calls when the library is loaded.
        pub(super) fn open(env: Env) -> bool {
            $(<$kind as Share>::open(env, $name))&&*
        }
    };
}

kinds! {
    c"py_context": Handle;
    c"py_listener": Listener;
    c"py_request": Request;
    c"py_environment": Environment;
    c"py_object": ObjectRef;
    c"py_bytes": LentBytes;
    c"py_callback": Callback, down |callback, env| Callback::down(callback, env);
    c"py_client": Client, down |client, _env| Client::down(client);
    c"py_owned": Owned, down |owned, _env| owned.0.orphaned();
}
