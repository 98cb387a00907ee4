//! What goes back when the code of a request has ended, and how.

use super::continuation::Continuation;
use super::functions::FEW;
use super::many::Batch;
use super::owner::Owner;
use super::stream::Items;
use super::{Body, Context, Request};
use crate::beam::{Shared, TermEnv, TermType, Word, atoms};
use parking_lot::MutexGuard;

/// What goes back: `{ok, Value}` or `ok` or `{error, Reason}`, and the story of an exception.
pub(crate) struct Answer {
    pub(crate) result: Word,
    pub(crate) story: Option<Word>,
    /// It lies in the environment of the request itself.
    pub(super) at_home: bool,
}

impl Answer {
    /// The namespace, or what was asked, is gone.
    pub(super) fn stale(env: &TermEnv) -> Self {
        Self {
            result: env.tuple(&[atoms().error, atoms().stale_reference]),
            story: None,
            at_home: false,
        }
    }

    /// `{error, {Step, Reason}}` of an error.
    pub(super) fn of_step(self, env: &TermEnv, step: Word) -> Self {
        let result = match env.get_tuple(self.result) {
            Some(&[error, reason]) => env.tuple(&[error, env.tuple(&[step, reason])]),
            _ => self.result,
        };
        Self { result, ..self }
    }

    pub(super) fn of(result: Word) -> Outcome {
        Outcome::Answer(Self {
            result,
            story: None,
            at_home: false,
        })
    }
}

/// How the code of a request has ended.
pub(crate) enum Outcome {
    Answer(Answer),
    /// An Erlang function takes its place.
    Tail {
        function: Word,
        arguments: Word,
    },
    /// It goes on in Python, later.
    Next(Continuation),
    /// It goes on as a stream.
    Items(Items),
    /// It has had a turn as a batch, which may be its last.
    Many(Batch),
}

pub(super) fn deliver(request: &Shared<Request>, reply: &mut TermEnv, message: Option<Word>) {
    // First: whoever reads the answer may submit at once.
    request.code_ended();
    match message {
        Some(message) if request.state.finish() => request.send(reply, message),
        _ => {
            let _unwanted = request.state.finish();
            reply.clear();
        }
    }
}

impl Owner {
    pub(super) fn answer(
        context: &Context,
        request: &Shared<Request>,
        answer: &Answer,
        reply: &mut TermEnv,
    ) {
        if request.kind.is_cast()
            && let Some(story) = answer.story
        {
            context.tell(|to| to.tuple(&[atoms().cast_failed, to.copy(story)]));
        }
        let message = {
            let body = request.body.lock();
            let result = if !answer.at_home {
                answer.result
            } else if context.may_hold_answers() {
                reply.copy(answer.result)
            } else {
                return Self::deliver_from_home(context, request, body, answer.result);
            };
            body.as_ref()
                .and_then(|body| Request::message(request, reply, body, result, answer.story))
        };
        Self::deliver_or_hold(context, request, reply, message);
    }

    /// Sends the answer in the environment that the request came in: the emulator neither copies what is there nor
    /// makes room elsewhere, and frees on the caller's scheduler what it had made there.
    fn deliver_from_home(
        context: &Context,
        request: &Shared<Request>,
        mut body: MutexGuard<'_, Option<Body>>,
        result: Word,
    ) {
        // First: whoever reads the answer may submit at once.
        request.code_ended();
        let message = body
            .as_ref()
            .and_then(|body| Request::message(request, &body.env, body, result, None));
        // Under the lock: until then, others may read the reference in order to answer.
        if request.state.finish()
            && let Some(message) = message
            && let Some(Body { mut env, .. }) = body.take()
        {
            drop(body);
            request.send(&mut env, message);
            context.envs.put_cleared(env);
        }
    }

    /// Sends what ends a request, or leaves that to whoever takes the output of its code.
    pub(super) fn deliver_or_hold(
        context: &Context,
        request: &Shared<Request>,
        reply: &mut TermEnv,
        message: Option<Word>,
    ) {
        if !context.hold_answer(request, reply, message) {
            deliver(request, reply, message);
        }
    }
}

/// Binaries up to this are copied when they are sent.
const COPIED: usize = 64;

/// Whether arguments take so little room that they may stay until the caller has its answer, and beyond.
pub(super) fn is_light(env: &TermEnv, arguments: Word, keywords: Word) -> bool {
    env.map_size(keywords) == Some(0) && {
        let mut arguments = env.list(arguments);
        let mut first = arguments.by_ref().take(FEW);
        first.all(|word| is_light_term(env, word)) && arguments.next().is_none()
    }
}

/// The same for an expression and its variables.
pub(super) fn is_light_code(env: &TermEnv, code: &[u8], locals: Word) -> bool {
    let mut variables = env.map(locals).into_iter().flatten();
    code.len() <= COPIED
        && env.map_size(locals).is_some_and(|size| size <= FEW)
        && variables.all(|(name, value)| is_light_term(env, name) && is_light_term(env, value))
}

fn is_light_term(env: &TermEnv, word: Word) -> bool {
    match env.term_type(word) {
        TermType::Atom | TermType::Float | TermType::Pid => true,
        TermType::Integer => env.get_int(word).is_some(),
        TermType::Bitstring => env.get_binary(word).is_some_and(|b| b.len() <= COPIED),
        _ => false,
    }
}
