//! For which context and request the calling thread prints.

use crate::beam::Shared;
use crate::interp::callback::{here, request_of};
use crate::interp::{Context, Request, Stage};
use crate::interrupt::scope_of_code;
use crate::py::Python;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// The context whose interpreter the calling thread makes, serves or ends.
    static CONTEXT: RefCell<Option<Arc<Context>>> = const { RefCell::new(None) };
}

/// Until it is dropped, the calling thread prints for a context also where it serves no request.
pub(crate) fn speaks_for(context: &Arc<Context>) -> Speaks {
    CONTEXT.with(|own| *own.borrow_mut() = Some(context.clone()));
    Speaks(())
}

/// See [`speaks_for`].
pub(crate) struct Speaks(());

impl Drop for Speaks {
    fn drop(&mut self) {
        let before = CONTEXT.with(|own| own.borrow_mut().take());
        drop(before);
    }
}

/// See the module.
pub(super) struct Speaker {
    pub(super) context: Arc<Context>,
    pub(super) request: Option<Shared<Request>>,
}

impl Speaker {
    /// None where no context is served any more, or none yet.
    pub(super) fn here(py: Python<'_>) -> Option<Self> {
        if let Some(stage) = Stage::here() {
            let context = stage.context.clone();
            let scope = scope_of_code(py, &context.interrupts);
            let request = request_of(&context, scope);
            return Some(Self { context, request });
        }
        let own = CONTEXT.with(|own| own.borrow().clone());
        let context = own.or_else(|| match here(py) {
            Ok((_station, context)) => Some(context),
            Err(raised) => {
                raised.clear(py);
                None
            }
        })?;
        Some(Self {
            context,
            request: None,
        })
    }

    /// Tells threads apart where there is no request.
    pub(super) fn thread(&self) -> u64 {
        if self.request.is_some() {
            return 0;
        }
        calling_thread()
    }
}

/// The number of the calling thread.
pub(super) fn calling_thread() -> u64 {
    // SAFETY: no precondition.
    (unsafe { libc::pthread_self() }) as u64
}
