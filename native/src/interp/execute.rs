//! Running one request in the interpreter of the owner thread.

use super::answer::{Answer, Outcome, deliver, is_light, is_light_code};
use super::code::Grammar;
use super::functions::{attribute, evaluate};
use super::owner::Owner;
use super::task::Task;
use super::trace::unwrapped;
use super::{Closing, Context, Request, Scope, failure, inline, stack};
use crate::beam::{Shared, TermEnv, Word, atoms};
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::term::{Conversion, FromErlang, FromPython, TooLarge};
use std::sync::Arc;
use std::time::Instant;

/// The namespace of a request.
#[derive(Clone, Copy)]
pub(super) struct Namespace {
    pub(super) id: u64,
    /// Its process ended before the request moved here, so that nobody will tell this context.
    orphaned: bool,
}

/// Answers an `{echo, Term}` request, which measures the way through the mailbox, before Python is entered.
/// `false`: it is something else.
pub(crate) fn echo(request: &Shared<Request>, reply: &mut TermEnv) -> bool {
    let body = request.body.lock();
    let Some(read) = body.as_ref() else {
        return true;
    };
    let Some(&[kind, term]) = read.env.get_tuple(read.payload) else {
        return false;
    };
    if kind != atoms().echo {
        return false;
    }
    if request.start() {
        let result = reply.tuple(&[atoms().ok, reply.copy(term)]);
        let message = Request::message(request, reply, read, result, None);
        deliver(request, reply, message);
    }
    true
}

impl Owner {
    /// Runs a request and sends its answer.
    pub(crate) fn run(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: Shared<Request>,
        reply: &mut TermEnv,
    ) {
        let namespace = self.namespace(context, &request);
        context.push_running(request.clone());
        context.interrupts.enter(request.id);
        // After that, so that an end of the caller is either seen here, or sees the request running.
        if request.client.is_dead() && !request.kind.is_cast() {
            let _unstarted = request.state.cancel();
        }
        // The context may have closed since the request was taken; the reaper has then either seen it as the
        // running one, or is seen here.
        if let Some(Closing::Answer(reason) | Closing::Keep(reason)) = context.closing() {
            Request::answer_unstarted(&request, reason);
        }
        if !request.start() {
            context.interrupts.leave(py);
            context.pop_running();
        } else if request.kind.is_task() {
            let namespace = namespace.map(|namespace| namespace.id);
            self.begin_task(py, context, &request, namespace, reply);
        } else {
            let outcome = self.run_started(py, context, &request, namespace, reply);
            // Whoever reads the answer finds memory that is as it was.
            Self::clean_up(py, context);
            self.conclude(py, context, &request, outcome, reply);
        }
        self.forget_orphaned(py, context, namespace);
    }

    /// The namespace that a request uses; `None` when that is gone.
    pub(super) fn namespace(&self, context: &Arc<Context>, request: &Request) -> Option<Namespace> {
        let of = match &request.scope {
            Scope::In(environment) => {
                let id = environment.namespace(context)?;
                return Some(Namespace {
                    id,
                    orphaned: false,
                });
            }
            Scope::Of(client) => client,
            Scope::Own => &request.client,
        };
        if of.context == context.serial {
            return Some(Namespace {
                id: of.id,
                orphaned: false,
            });
        }
        // A request that moved from a stuck context has its client there.
        let client = context.client(None, of.pid);
        Some(Namespace {
            id: client.id,
            orphaned: client.is_dead(),
        })
    }

    /// Removes a namespace whose process has ended, if nobody else will.
    pub(super) fn forget_orphaned(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        namespace: Option<Namespace>,
    ) {
        if let Some(namespace) = namespace.filter(|namespace| namespace.orphaned) {
            self.unasked(py, context, |owner| {
                owner.namespaces.remove(py, namespace.id);
            });
        }
    }

    fn run_started(
        &mut self,
        py: Python<'_>,
        context: &Context,
        request: &Shared<Request>,
        namespace: Option<Namespace>,
        reply: &mut TermEnv,
    ) -> Outcome {
        let body = request.body.lock();
        let asked = body
            .as_ref()
            .map(|body| (&raw const body.env, body.payload));
        drop(body);
        let (Some((env, payload)), Some(namespace)) = (asked, namespace) else {
            return Outcome::Answer(Answer::stale(reply));
        };
        // SAFETY: the body stays in the request until `conclude` takes it out, after this; nothing but this thread makes
        // terms in its environment meanwhile, and others only read those that were there (see `Body`).
        let env = unsafe { &*env };
        let (payload, trace) = unwrapped(env, payload);
        request.belongs_to(trace);
        let entered = self.enter_trace(py, request);
        let performed = self.perform(py, context, request, env, payload, namespace.id, reply);
        self.leave_trace(py, entered);
        performed.unwrap_or_else(|raised| {
            let step = self.failed_step.take();
            let answer = failure::answer(py, reply, self, request, raised);
            Outcome::Answer(match step {
                Some(step) => answer.of_step(reply, step),
                None => answer,
            })
        })
    }

    /// Sends the answer of the request that has run, or sees to what comes next.
    pub(super) fn conclude(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        outcome: Outcome,
        reply: &mut TermEnv,
    ) {
        context.interrupts.leave(py);
        let over = match outcome {
            Outcome::Answer(answer) => {
                Self::answer(context, request, &answer, reply);
                context.pop_running();
                true
            }
            Outcome::Tail {
                function,
                arguments,
            } => {
                context.flush_output(request);
                // First: what the function asks for here does not wait for this code.
                context.pop_running();
                Self::hand_over(context, request, reply, function, arguments)
            }
            Outcome::Next(continuation) => {
                self.suspend(context, request, continuation);
                return;
            }
            Outcome::Items(items) => {
                self.begin_stream(py, context, request, items, reply);
                return;
            }
            Outcome::Many(batch) => {
                self.end_batch_turn(py, context, request, batch);
                return;
            }
        };
        let body = request.body.lock().take_if(|_| over);
        if let Some(body) = body {
            context.envs.put(body.env);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what there is to work with")]
    fn perform(
        &mut self,
        py: Python<'_>,
        context: &Context,
        request: &Request,
        env: &TermEnv,
        payload: Word,
        namespace: u64,
        reply: &TermEnv,
    ) -> Result<Outcome> {
        if let Some(stage) = &self.stage {
            stage.begin_turn();
        }
        if stack::is_deep() {
            return Err(Raised::recursion_error(
                py,
                "maximum depth of calls between Erlang and Python exceeded",
            ));
        }
        let known = atoms();
        let options = context.conversion;
        let value = match Task::read(env, payload) {
            task @ Some(Task::Call {
                arguments,
                keywords,
                ..
            }) if is_light(env, arguments, keywords) => {
                let value = self.value_of(py, env, options, namespace, task)?;
                return self.outcome_at_home(&value, context, reply, env);
            }
            task @ Some(Task::Eval { code, locals }) if is_light_code(env, code, locals) => {
                let value = self.value_of(py, env, options, namespace, task)?;
                return self.outcome_at_home(&value, context, reply, env);
            }
            task @ Some(Task::Call { .. } | Task::Eval { .. }) => {
                self.value_of(py, env, options, namespace, task)?
            }
            Some(Task::Exec { code }) => {
                let code = self.code.get(py, Grammar::Statements, code)?;
                let globals = self.namespaces.dict(py, namespace)?;
                self.lending(|| evaluate(&code, &globals, &globals))?;
                return Ok(Answer::of(known.ok));
            }
            Some(Task::Getattr { object, name }) => {
                let object = self.converter(py, env, options).object(object)?;
                let name = self.name(py, env, name)?;
                self.lending(|| attribute(&object, &name))?
            }
            Some(Task::CallMethod {
                object,
                name,
                arguments,
                keywords,
            }) => {
                let object = self.converter(py, env, options).object(object)?;
                let name = self.name(py, env, name)?;
                let method = self.lending(|| attribute(&object, &name))?;
                self.call(py, env, options, &method, arguments, keywords)?
            }
            Some(Task::ToTerm { object }) => {
                let object = self.converter(py, env, options).object(object)?;
                self.simplifier.contents(&object)?
            }
            // Taken in a turn of other requests, so Python was entered already.
            Some(Task::Echo { term }) => {
                return Ok(Answer::of(reply.tuple(&[known.ok, reply.copy(term)])));
            }
            Some(Task::Birth { steps }) => {
                self.born(py, context, env, steps)?;
                return Ok(Answer::of(known.ok));
            }
            Some(Task::Stream { source, to }) => {
                let source = Task::read(env, source);
                let value = self.value_of(py, env, options, namespace, source)?;
                return self.items(&value, &to);
            }
            Some(Task::Collect { source }) => {
                let source = Task::read(env, source);
                let value = self.value_of(py, env, options, namespace, source)?;
                self.collected(&value)?
            }
            Some(Task::Learn { source }) => {
                let source = Task::read(env, source);
                let name = inline::Name::of_call(env, source.as_ref());
                let started = Instant::now();
                let value = self.value_of(py, env, options, namespace, source);
                if let (Some(inline), Some(name)) = (&context.inline, name) {
                    inline.learn(name, started.elapsed());
                }
                value?
            }
            Some(Task::Many(calls)) => {
                return self.many(py, context, request, env, namespace, &calls);
            }
            None => return Err(Raised::type_error(py, "malformed request")),
        };
        self.outcome(&value, context, reply)
    }

    /// What follows from the value of the code.
    pub(super) fn outcome(
        &mut self,
        value: &Object<'_>,
        context: &Context,
        reply: &TermEnv,
    ) -> Result<Outcome> {
        if let Some(next) = self.continuation(value, context, reply)? {
            return Ok(next);
        }
        refuse_coroutine(value, COROUTINE)?;
        let result = self.result(value.py(), context, reply, value)?;
        Ok(Answer::of(result))
    }

    /// As [`Self::outcome`], for a request that takes little room: `home` is its environment, and gets the answer.
    fn outcome_at_home(
        &mut self,
        value: &Object<'_>,
        context: &Context,
        reply: &TermEnv,
        home: &TermEnv,
    ) -> Result<Outcome> {
        if let Some(next) = self.continuation(value, context, reply)? {
            return Ok(next);
        }
        refuse_coroutine(value, COROUTINE)?;
        Ok(Outcome::Answer(Answer {
            result: self.result(value.py(), context, home, value)?,
            story: None,
            at_home: true,
        }))
    }

    /// `{ok, Term}` of an object, or why there is none.
    pub(super) fn result<'py>(
        &mut self,
        py: Python<'py>,
        context: &Context,
        env: &TermEnv,
        object: &Object<'py>,
    ) -> Result<Word> {
        let known = atoms();
        Ok(match self.limited(py, context, env, object)? {
            Ok(term) => env.tuple(&[known.ok, term]),
            Err(reason) => env.tuple(&[known.error, reason]),
        })
    }

    /// The term of an object that goes to Erlang as a result, or the reason why it is none: it is too large.
    pub(super) fn limited<'py>(
        &mut self,
        py: Python<'py>,
        context: &Context,
        env: &TermEnv,
        object: &Object<'py>,
    ) -> Result<std::result::Result<Word, Word>> {
        let mut convert = self
            .terms_of(py, context, env)
            .up_to(context.max_result_size);
        match convert.term(object) {
            Ok(term) => Ok(Ok(term)),
            Err(raised) => match convert.too_large() {
                Some(TooLarge(size)) => {
                    raised.clear(py);
                    Ok(Err(Self::too_large(env, size, context.max_result_size)))
                }
                None => Err(raised),
            },
        }
    }

    /// The reason for that: so much was counted, so much may be.
    pub(super) fn too_large(env: &TermEnv, counted: usize, most: usize) -> Word {
        let number = |bytes: usize| env.int(i64::try_from(bytes).unwrap_or(i64::MAX));
        env.tuple(&[atoms().result_too_large, number(counted), number(most)])
    }

    /// The term of an object.
    pub(super) fn convert<'py>(
        &mut self,
        py: Python<'py>,
        context: &Context,
        env: &TermEnv,
        object: &Object<'py>,
    ) -> Result<Word> {
        self.terms_of(py, context, env).term(object)
    }

    pub(super) fn terms_of<'a, 'py>(
        &'a mut self,
        py: Python<'py>,
        context: &Context,
        env: &'a TermEnv,
    ) -> FromPython<'a, 'py> {
        FromPython::new(
            py,
            env,
            &self.types,
            &self.held,
            context.serial,
            context.conversion,
            &mut self.simplifier,
        )
    }

    /// Runs Python code that may call Erlang.
    pub(in crate::interp) fn lending<T>(&mut self, body: impl FnOnce() -> T) -> T {
        match self.stage.clone() {
            Some(stage) => stage.lend(self, body),
            None => body(),
        }
    }

    pub(super) fn converter<'a, 'py>(
        &'a mut self,
        py: Python<'py>,
        env: &'a TermEnv,
        options: Conversion,
    ) -> FromErlang<'a, 'py> {
        FromErlang {
            py,
            env,
            types: &self.types,
            names: &mut self.names,
            keys: &mut self.keys,
            held: &self.held,
            options,
        }
    }
}

pub(super) const COROUTINE: &str = "the result is a coroutine, which nobody awaits: call the function with py:async_call, or \
                         run the coroutine in Python, with erlang.run";

/// A coroutine that is a result would never run.
pub(super) fn refuse_coroutine(value: &Object<'_>, text: &str) -> Result<()> {
    // SAFETY: attached; reads the type of a live object.
    if unsafe { ffi::PyCoro_CheckExact(value.as_ptr()) } == 0 {
        return Ok(());
    }
    // Python would warn that it was never awaited. Of one that has begun this runs the end.
    value.getattr_str("close")?.call(&[])?;
    Err(Raised::type_error(value.py(), text))
}
