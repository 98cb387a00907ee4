//! Running one request in the interpreter of the owner thread.

use super::code::Grammar;
use super::continuation::Continuation;
use super::many::Batch;
use super::owner::Owner;
use super::stream::Items;
use super::task::Task;
use super::trace::unwrapped;
use super::{Body, Closing, Context, Request, Scope, failure, inline, stack};
use crate::beam::{Shared, TermEnv, TermType, Word, atoms};
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::term::{Conversion, FromErlang, FromPython, TooLarge};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::time::Instant;

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
    fn of_step(self, env: &TermEnv, step: Word) -> Self {
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

/// The namespace of a request.
#[derive(Clone, Copy)]
pub(super) struct Namespace {
    pub(super) id: u64,
    /// Its process ended before the request moved here, so that nobody will tell this context.
    orphaned: bool,
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

fn deliver(request: &Shared<Request>, reply: &mut TermEnv, message: Option<Word>) {
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
        // SAFETY: the body stays in the request until `conclude` takes it out, after this; nothing is made in its
        // environment meanwhile, and others only read it (see `Body`).
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

    /// A module's or function's name: atom, binary, or string.
    pub(super) fn name<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        if let Some(name) = self.names.known(py, word) {
            return Ok(name);
        }
        if let Some(bytes) = env.get_binary(word) {
            return match std::str::from_utf8(bytes) {
                Ok(text) => Object::str(py, text),
                Err(_) => Err(Raised::value_error(py, "a name must be valid UTF-8")),
            };
        }
        self.names.get(py, env, word)
    }

    pub(super) fn function<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        namespace: u64,
        module: Word,
        function: Word,
    ) -> Result<Object<'py>> {
        let known = self.known_function(py, env, namespace, module, function)?;
        if let Some(known) = known {
            return Ok(known);
        }
        let module = self.name(py, env, module)?;
        let function = self.name(py, env, function)?;
        self.named_function(py, namespace, &module, &function)
    }

    /// The same, if the module was imported.
    pub(super) fn known_function<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        namespace: u64,
        module: Word,
        function: Word,
    ) -> Result<Option<Object<'py>>> {
        let function = self.name(py, env, function)?;
        if let Some(module) = self.modules.get(py, module) {
            return self.lending(|| attribute(&module, &function)).map(Some);
        }
        let name = self.name(py, env, module)?;
        let found = if is_own_namespace(&name) {
            self.namespaces.module(py, namespace)?
        } else {
            let Some(found) = loaded(&name)? else {
                return Ok(None);
            };
            if env.term_type(module) == TermType::Atom {
                self.modules.add(py, module, &name, &found);
            }
            found
        };
        self.lending(|| attribute(&found, &function)).map(Some)
    }

    pub(super) fn named_function<'py>(
        &mut self,
        py: Python<'py>,
        namespace: u64,
        module: &Object<'py>,
        function: &Object<'py>,
    ) -> Result<Object<'py>> {
        let module = self.module(py, namespace, module)?;
        self.lending(|| attribute(&module, function))
    }

    fn module<'py>(
        &mut self,
        py: Python<'py>,
        namespace: u64,
        name: &Object<'py>,
    ) -> Result<Object<'py>> {
        if is_own_namespace(name) {
            self.namespaces.module(py, namespace)
        } else {
            self.lending(|| imported(name))
        }
    }

    pub(super) fn call<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        options: Conversion,
        function: &Object<'py>,
        arguments: Word,
        keywords: Word,
    ) -> Result<Object<'py>> {
        let mut convert = self.converter(py, env, options);
        let positional = env.list(arguments).count();
        let named = env.map_size(keywords).unwrap_or(0);
        // The first place is for the function, which may put an object there that it is a method of.
        let mut few = [const { None }; FEW + 1];
        let mut many = Vec::new();
        let values: &mut [Option<Object<'py>>] = if positional + named <= FEW {
            &mut few
        } else {
            many.resize_with(positional + named + 1, || None);
            &mut many
        };
        for (place, argument) in values[1..].iter_mut().zip(env.list(arguments)) {
            *place = Some(convert.object(argument)?);
        }
        let mut names = Vec::new();
        if named > 0 {
            let pairs = env.map(keywords).into_iter().flatten();
            for (place, (name, value)) in values[1 + positional..].iter_mut().zip(pairs) {
                *place = Some(convert.object(value)?);
                names.push(name);
            }
        }
        let names = if names.is_empty() {
            None
        } else {
            Some(self.keyword_names(py, env, &names)?)
        };
        // SAFETY: attached; `Object` is laid out as a pointer, which is not null, so that none is a null pointer; the
        // names are a tuple of as many strs as there are values beyond the positional ones.
        self.lending(|| unsafe {
            Object::owned_or_raised(
                py,
                ffi::PyObject_Vectorcall(
                    function.as_ptr(),
                    values.as_mut_ptr().add(1).cast(),
                    positional | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                    names.as_ref().map_or(std::ptr::null_mut(), Object::as_ptr),
                ),
            )
        })
    }

    /// The names of keyword arguments as a tuple. An atom and a binary may be the same name, which CPython does
    /// not check at this level.
    pub(super) fn keyword_names<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        names: &[Word],
    ) -> Result<Object<'py>> {
        // SAFETY: attached; a tuple of empty places, filled below or freed as they are.
        let tuple = unsafe { Object::owned_or_raised(py, ffi::PyTuple_New(names.len() as isize))? };
        // SAFETY: attached; a new reference.
        let seen = unsafe { Object::owned_or_raised(py, ffi::PySet_New(std::ptr::null_mut()))? };
        for (i, &name) in names.iter().enumerate() {
            let name = self.name(py, env, name)?;
            // SAFETY: attached; the set takes a reference of its own. The place in the tuple is within it and
            // empty, and the reference is given to it.
            unsafe {
                if ffi::PySet_Add(seen.as_ptr(), name.as_ptr()) != 0 {
                    return Err(Raised::seen(py));
                }
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i as isize, name.into_ptr());
            }
        }
        // SAFETY: attached; a set.
        if unsafe { ffi::PySet_Size(seen.as_ptr()) } != names.len() as isize {
            return Err(Raised::type_error(
                py,
                "a keyword argument is given twice, as an atom and as a binary",
            ));
        }
        Ok(tuple)
    }
}

/// Binaries up to this are copied when they are sent.
const COPIED: usize = 64;

/// Whether arguments take so little room that they may stay until the caller has its answer, and beyond.
fn is_light(env: &TermEnv, arguments: Word, keywords: Word) -> bool {
    env.map_size(keywords) == Some(0) && {
        let mut arguments = env.list(arguments);
        let mut first = arguments.by_ref().take(FEW);
        first.all(|word| is_light_term(env, word)) && arguments.next().is_none()
    }
}

/// The same for an expression and its variables.
fn is_light_code(env: &TermEnv, code: &[u8], locals: Word) -> bool {
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

/// So many arguments of a call need no memory but the stack.
const FEW: usize = 8;

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

/// A module by its name: the imported one, or imported now.
pub(super) fn imported<'py>(name: &Object<'py>) -> Result<Object<'py>> {
    if let Some(module) = loaded(name)? {
        return Ok(module);
    }
    // SAFETY: attached; a new reference, or null with an exception.
    unsafe { Object::owned_or_raised(name.py(), ffi::PyImport_Import(name.as_ptr())) }
}

/// A module by its name, if it was imported.
fn loaded<'py>(name: &Object<'py>) -> Result<Option<Object<'py>>> {
    let py = name.py();
    // SAFETY: attached; a new reference, or null with or without an exception.
    unsafe {
        let module = Object::owned(py, ffi::PyImport_GetModule(name.as_ptr()));
        if module.is_none() && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised::seen(py));
        }
        Ok(module)
    }
}

/// Whether a name means the namespace of the caller.
fn is_own_namespace(module: &Object<'_>) -> bool {
    // SAFETY: attached; compares a str with a C text.
    unsafe { ffi::PyUnicode_CompareWithASCIIString(module.as_ptr(), c"__main__".as_ptr()) == 0 }
}

/// An attribute of a module; `a.b` is looked up step by step unless there is one of that very name.
pub(super) fn attribute<'py>(module: &Object<'py>, name: &Object<'_>) -> Result<Object<'py>> {
    if let Some(value) = in_dict(module, name) {
        return Ok(value);
    }
    let raised = match module.getattr(name) {
        Ok(value) => return Ok(value),
        Err(raised) => raised,
    };
    let py = module.py();
    let Some(exception) = raised.fetch(py) else {
        return Err(Raised::runtime_error(
            py,
            "an attribute look-up failed without a reason",
        ));
    };
    let path = name.str_lossy()?;
    if path.contains('.') {
        let mut steps = path.split('.');
        let first = module.getattr_str(steps.next().unwrap_or_default())?;
        return steps.try_fold(first, |object, step| object.getattr_str(step));
    }
    // SAFETY: attached; the exception is given back.
    unsafe { ffi::PyErr_SetRaisedException(exception.into_ptr()) };
    Err(Raised::seen(py))
}

/// What the dict of a plain module has. Its class comes first, but has only names that begin with underscores.
fn in_dict<'py>(module: &Object<'py>, name: &Object<'_>) -> Option<Object<'py>> {
    // SAFETY: attached; a str has at least the zero at its end, and the first byte of one that begins with an underscore
    // is that, whatever its characters take, as the others of such names in classes are narrow. The dict of a module is
    // a borrowed reference, as is what lies in it, and nothing takes that away before it is kept.
    unsafe {
        if ffi::PyModule_CheckExact(module.as_ptr()) == 0
            || ffi::PyUnicode_Check(name.as_ptr()) == 0
            || *ffi::PyUnicode_DATA(name.as_ptr()).cast::<u8>() == b'_'
        {
            return None;
        }
        let dict = ffi::PyModule_GetDict(module.as_ptr());
        let value = ffi::PyDict_GetItemWithError(dict, name.as_ptr());
        if value.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(Object::borrowed(module.py(), value))
    }
}

pub(super) fn evaluate<'py>(
    code: &Object<'py>,
    globals: &Object<'_>,
    locals: &Object<'_>,
) -> Result<Object<'py>> {
    // SAFETY: attached; a code object, a dict and a mapping.
    unsafe {
        Object::owned_or_raised(
            code.py(),
            ffi::PyEval_EvalCode(code.as_ptr(), globals.as_ptr(), locals.as_ptr()),
        )
    }
}
