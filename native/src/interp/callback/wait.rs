//! The owner thread waits for a callback, at its mailbox and without the GIL.

use super::record::{Callback, Reply};
use crate::beam::Shared;
use crate::facts::facts;
use crate::interp::owner::Owner;
use crate::interp::{Context, Envelope, reaper};
use crate::py::{Python, Raised, Result};
use py_core::mailbox::Take;
use py_core::spin::Spinner;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What ends a wait, or interrupts it.
enum Event {
    Reply(Reply),
    /// The answer is not wanted any more: the context closes, the code is interrupted, its time is over, or nobody
    /// waits for the request.
    GivenUp,
    /// To be seen to on top of the code that waits.
    Envelope(Envelope),
}

/// For code of a scope: sleeps until the answer is there, and sees meanwhile to the requests that the callback leads to, if the owner is
/// at hand.
pub(super) fn wait(
    py: Python<'_>,
    waiting: Waiting<'_>,
    scope: i64,
    mut owner: Option<&mut Owner>,
) -> Result<Reply> {
    let (context, callback) = (waiting.context, waiting.callback);
    let mut own_spinner = Spinner::default();
    loop {
        let serves = owner.is_some();
        let spinner = match &mut owner {
            Some(owner) => &mut owner.spinner,
            None => &mut own_spinner,
        };
        let event = context.interrupts.asleep(py, scope, || {
            next(context, callback, scope, serves, spinner)
        });
        match event {
            Event::Reply(reply) => return Ok(reply),
            Event::GivenUp => return Err(given_up(py, context, callback, scope)),
            Event::Envelope(envelope) => {
                if let Some(owner) = &mut owner {
                    // A task's step has nothing to do with the request whose loop it happens to run in.
                    let apart = !context.interrupts.concerns_scope(scope)
                        && context.interrupts.begin_segment();
                    owner.handle_on_top(py, context, envelope);
                    if apart {
                        context.interrupts.end_segment();
                    }
                }
            }
        }
    }
}

/// Says where the owner thread waits, for as long as it does. It begins before the callback is sent: whoever runs
/// the function must find it so.
pub(super) struct Waiting<'a> {
    context: &'a Arc<Context>,
    callback: &'a Shared<Callback>,
}

impl<'a> Waiting<'a> {
    pub(super) fn begin(context: &'a Arc<Context>, callback: &'a Shared<Callback>) -> Self {
        context.push_wait(callback.clone());
        Self { context, callback }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.context.pop_wait();
    }
}

/// Whether it could be seen to on top of some wait.
fn is_for_a_wait(envelope: &Envelope) -> bool {
    match envelope {
        Envelope::Request(request) | Envelope::Continue(request) => request.origin.parent.is_some(),
        Envelope::Dropped => true,
        Envelope::NamespaceDown(_)
        | Envelope::Connection(_)
        | Envelope::Garbage
        | Envelope::Inline
        | Envelope::Nudge => false,
    }
}

fn next(
    context: &Arc<Context>,
    callback: &Shared<Callback>,
    scope: i64,
    serves: bool,
    spinner: &mut Spinner,
) -> Event {
    let request = callback.request();
    let is_ours = |envelope: &Envelope| match envelope {
        Envelope::Request(request) | Envelope::Continue(request) => request.descends_from(callback),
        Envelope::Dropped => true,
        Envelope::NamespaceDown(_)
        | Envelope::Connection(_)
        | Envelope::Garbage
        | Envelope::Inline
        | Envelope::Nudge => false,
    };
    // What another wait has put off, further in, may be for this one.
    // Looked for only where there may be some: a long queue would be gone through for each callback of its requests.
    if serves && context.for_other_waits.load(Ordering::Relaxed) {
        let mut others = false;
        let ours = context.mailbox.take_deferred(|envelope| {
            others |= is_for_a_wait(envelope);
            is_ours(envelope)
        });
        if let Some(envelope) = ours {
            return Event::Envelope(envelope);
        }
        context.for_other_waits.store(others, Ordering::Relaxed);
    }
    loop {
        if context.mailbox.is_closed()
            || context.interrupts.waits_for(scope)
            || request.is_some_and(|request| request.state.is_over())
        {
            let _nobody_wants_it = callback.give_up();
            return Event::GivenUp;
        }
        if let Some(reply) = callback.take() {
            // What nested calls were refused for lack of time must not be taken for a value that came in time.
            return if request.is_some_and(|request| request.is_late()) {
                Event::GivenUp
            } else {
                Event::Reply(reply)
            };
        }
        if request.is_some_and(|request| request.is_late()) {
            return callback.give_up().map_or(Event::GivenUp, Event::Reply);
        }
        match context.mailbox.take_new() {
            Take::Item(Envelope::Nudge) => context.tell_of_places(),
            Take::Closed => {}
            Take::Item(envelope) if serves && is_ours(&envelope) => {
                return Event::Envelope(envelope);
            }
            Take::Item(envelope) => {
                if is_for_a_wait(&envelope) {
                    context.for_other_waits.store(true, Ordering::Relaxed);
                }
                if !context.mailbox.defer(envelope) {
                    // Whoever emptied the mailbox may not have seen it.
                    reaper().close(context);
                }
            }
            Take::Empty => {
                if !context.mailbox.look(spinner, &facts().spin_budget) {
                    let deadline = request.and_then(|request| request.deadline());
                    context.mailbox.sleep(spinner, deadline);
                }
            }
        }
    }
}

fn given_up(py: Python<'_>, context: &Context, callback: &Callback, scope: i64) -> Raised {
    if let Some(request) = callback.request()
        && request.is_late()
    {
        request.set_timed_out();
    }
    match context.interrupts.take_raised_for(py, scope) {
        Some(raised) => raised,
        None => context.interrupts.raised_for(py, scope),
    }
}
