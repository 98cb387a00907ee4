//! The names that are looked up for every message, and the words that handlers answer with.

use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::ffi::CStr;

/// What a handler wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Continue,
    WritePending,
    AsyncPending,
    ReadPending,
    Close,
}

macro_rules! names {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// See the module.
        pub(super) struct Names {
            /// `erlang.reactor.Protocol`.
            pub(super) base: Kept,
            $(pub(super) $field: Kept),*
        }

        impl Names {
            pub(super) fn new(py: Python<'_>, base: Object<'_>) -> Result<Self> {
                Ok(Self { base: base.keep(), $($field: interned(py, $text)?.keep()),* })
            }

            pub(super) fn release(self, py: Python<'_>) {
                for name in [self.base, $(self.$field),*] {
                    name.release(py);
                }
            }
        }
    };
}

names! {
    connection_made = c"connection_made", data_received = c"data_received", write_ready = c"write_ready",
    eof_received = c"eof_received", connection_lost = c"connection_lost",
    pause_writing = c"pause_writing", resume_writing = c"resume_writing",
    fd = c"fd", client_info = c"client_info", write_buffer = c"write_buffer", closed = c"closed", sender = c"sender",
    number = c"_number", stopping = c"stopping",
    go_on = c"continue", write_pending = c"write_pending", async_pending = c"async_pending",
    read_pending = c"read_pending", close = c"close",
}

fn interned<'py>(py: Python<'py>, name: &'static CStr) -> Result<Object<'py>> {
    // SAFETY: attached; the text ends with a zero.
    unsafe { Object::owned_or_raised(py, ffi::PyUnicode_InternFromString(name.as_ptr())) }
}

impl Names {
    /// What the result of a handler says; `None`: something that it cannot say.
    pub(super) fn action(&self, result: &Object<'_>) -> Result<Option<Action>> {
        let words = [
            (&self.go_on, Action::Continue),
            (&self.write_pending, Action::WritePending),
            (&self.async_pending, Action::AsyncPending),
            (&self.read_pending, Action::ReadPending),
            (&self.close, Action::Close),
        ];
        if result.is_none() {
            return Ok(None);
        }
        // Literals are interned, so that they are these very objects.
        let same = words
            .iter()
            .find(|(word, _)| word.as_ptr() == result.as_ptr());
        if let Some(&(_, action)) = same {
            return Ok(Some(action));
        }
        let text = result.str_of()?;
        let known = |action: Action| Ok(Some(action));
        match text.as_deref() {
            Some("continue") => known(Action::Continue),
            Some("write_pending") => known(Action::WritePending),
            Some("async_pending") => known(Action::AsyncPending),
            Some("read_pending") => known(Action::ReadPending),
            Some("close") => known(Action::Close),
            Some(other) => Err(Raised::value_error(
                result.py(),
                &format!(
                    "a protocol cannot answer {other:?}: see erlang.reactor.Protocol for what it can"
                ),
            )),
            None => Err(Raised::type_error(
                result.py(),
                &format!(
                    "a protocol answers with a str or None, not {}",
                    result.type_name()
                ),
            )),
        }
    }
}
