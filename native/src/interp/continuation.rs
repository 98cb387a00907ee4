//! What a call returns to go on with something else: `erlang.schedule` and its relatives.
//!
//! A Python function is called when the requests that wait had their turn; an Erlang function takes the place of the
//! call, which Python has no part in any more.

use super::answer::{Answer, Outcome};
use super::callback::{Callback, dispatch_tail};
use super::owner::Owner;
use super::{Closing, Context, Envelope, Kind, Request, failure, reaper};
use crate::beam::{Shared, TermEnv, Word, atoms};
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::sync::Arc;

/// A Python function with its arguments.
pub(crate) struct Continuation {
    module: Kept,
    function: Kept,
    arguments: Kept,
    keywords: Kept,
}

impl Continuation {
    pub(crate) fn release(self, py: Python<'_>) {
        for object in [self.module, self.function, self.arguments, self.keywords] {
            object.release(py);
        }
    }
}

impl Owner {
    /// What comes after a call that has returned `value`; `None` when that is its result. `reply` gets the terms.
    pub(super) fn continuation(
        &mut self,
        value: &Object<'_>,
        context: &Context,
        reply: &TermEnv,
    ) -> Result<Option<Outcome>> {
        if !self.types.is_continuation(value) {
            return Ok(None);
        }
        let py = value.py();
        let Ok([module, function, arguments, keywords]) =
            <[Object<'_>; 4]>::try_from(value.tuple_items()?)
        else {
            let text = "an erlang.Continuation is made by erlang.schedule, schedule_py and schedule_inline";
            return Err(Raised::type_error(py, text));
        };
        // SAFETY: the address of an immortal object.
        if module.as_ptr() != unsafe { ffi::Py_None() } {
            return Ok(Some(Outcome::Next(Continuation {
                module: module.keep(),
                function: function.keep(),
                arguments: arguments.keep(),
                keywords: keywords.keep(),
            })));
        }
        let name = function.str_of()?.unwrap_or_default();
        let mut words = Vec::new();
        for argument in arguments.tuple_items()? {
            words.push(self.convert(py, context, reply, &argument)?);
        }
        Ok(Some(Outcome::Tail {
            function: reply.binary(name.as_bytes()),
            arguments: reply.list_of(&words),
        }))
    }

    /// An Erlang function takes the place of a request. `false`: its process answers, later.
    pub(super) fn hand_over(
        context: &Arc<Context>,
        request: &Shared<Request>,
        reply: &mut TermEnv,
        function: Word,
        arguments: Word,
    ) -> bool {
        if request.kind == Kind::Call {
            let message = request.tail_message(reply, function, arguments);
            Self::deliver_or_hold(context, request, reply, message);
            return true;
        }
        let callback = Callback::tail(request.clone(), context);
        if dispatch_tail(&callback, reply, function, arguments) {
            return false;
        }
        reply.clear();
        Request::abandon(request, atoms().not_running);
        true
    }

    /// The innermost request goes on with a Python function when others had their turn.
    pub(super) fn suspend(
        &mut self,
        context: &Arc<Context>,
        request: &Shared<Request>,
        continuation: Continuation,
    ) {
        self.continuations.insert(request.id, continuation);
        context.suspend_running();
        if !context.mailbox.push(Envelope::Continue(request.clone())) {
            // Whoever has answered what ran may not have seen it.
            reaper().close(context);
        }
    }

    /// The turn of a request that was suspended.
    pub(super) fn go_on(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        reply: &mut TermEnv,
    ) {
        if let Some(batch) = self.batches.remove(&request.id) {
            self.batch_goes_on(py, context, request, batch);
            return;
        }
        let Some(continuation) = self.continuations.remove(&request.id) else {
            self.stream_goes_on(py, context, request, reply);
            return;
        };
        let namespace = self.namespace(context, request);
        context.resume_suspended(request);
        context.interrupts.enter(request.id);
        if let Some(Closing::Answer(reason) | Closing::Keep(reason)) = context.closing() {
            Request::abandon(request, reason);
        }
        let outcome = match namespace {
            _ if request.state.is_over() => None,
            Some(namespace) => {
                let entered = self.enter_trace(py, request);
                let called =
                    self.call_continuation(py, context, &continuation, namespace.id, reply);
                self.leave_trace(py, entered);
                Some(called.unwrap_or_else(|raised| {
                    Outcome::Answer(failure::answer(py, reply, self, request, raised))
                }))
            }
            None => Some(Outcome::Answer(Answer::stale(reply))),
        };
        // Its arguments may have finalisers.
        continuation.release(py);
        match outcome {
            Some(outcome) => self.conclude(py, context, request, outcome, reply),
            None => {
                context.interrupts.leave(py);
                context.pop_running();
            }
        }
        self.forget_orphaned(py, context, namespace);
    }

    fn call_continuation(
        &mut self,
        py: Python<'_>,
        context: &Context,
        continuation: &Continuation,
        namespace: u64,
        reply: &TermEnv,
    ) -> Result<Outcome> {
        if let Some(stage) = &self.stage {
            stage.begin_turn();
        }
        let function = self.named_function(
            py,
            namespace,
            &continuation.module.get(py),
            &continuation.function.get(py),
        )?;
        let value = self.lending(|| {
            // SAFETY: attached; a callable, a tuple and a dict.
            unsafe {
                Object::owned_or_raised(
                    py,
                    ffi::PyObject_Call(
                        function.as_ptr(),
                        continuation.arguments.as_ptr(),
                        continuation.keywords.as_ptr(),
                    ),
                )
            }
        })?;
        self.outcome(&value, context, reply)
    }

    /// Forgets what was to come next.
    pub(super) fn forget_continuations(&mut self, py: Python<'_>) {
        for (_, continuation) in std::mem::take(&mut self.continuations) {
            continuation.release(py);
        }
    }
}
