//! Tasks that Erlang starts in the event loop of a context, and the driving of that loop.

use crate::beam::{Shared, TermEnv, atoms};
use crate::interp::answer::Answer;
use crate::interp::owner::{Owner, told};
use crate::interp::task::Task;
use crate::interp::trace::unwrapped;
use crate::interp::{Body, Closing, Context, Request, Stage, failure};
use crate::interrupt::INSIDE;
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::sync::Arc;

/// The functions of `erlang._tasks`.
pub(crate) struct LoopTools {
    start: Kept,
    interrupt: Kept,
    drive: Kept,
    shutdown: Kept,
}

impl LoopTools {
    fn import(py: Python<'_>) -> Result<Self> {
        let module = Object::import(py, "erlang._tasks")?;
        Ok(Self {
            start: module.getattr_str("start")?.keep(),
            interrupt: module.getattr_str("interrupt")?.keep(),
            drive: module.getattr_str("drive")?.keep(),
            shutdown: module.getattr_str("shutdown")?.keep(),
        })
    }
}

impl Owner {
    /// One of them; the module is imported at first use.
    fn loop_function<'py>(
        &mut self,
        py: Python<'py>,
        which: impl FnOnce(&LoopTools) -> &Kept,
    ) -> Result<Object<'py>> {
        if self.loop_tools.is_none() {
            // Cut short, the import would leave half of asyncio behind, and that for good.
            let mut tools = None;
            self.inside_loop(py, || {
                tools = Some(LoopTools::import(py)?);
                Ok(Object::none(py))
            })?;
            self.loop_tools = tools;
        }
        let tools = self.loop_tools.as_ref();
        let tools = tools.ok_or_else(|| Raised::runtime_error(py, "erlang._tasks is missing"))?;
        Ok(which(tools).get(py))
    }

    /// Runs what must not be left half done: nothing is raised there from outside.
    pub(in crate::interp) fn inside_loop<'py>(
        &mut self,
        py: Python<'py>,
        body: impl FnOnce() -> Result<Object<'py>>,
    ) -> Result<()> {
        let inside = Object::int(py, INSIDE)?;
        let scope = self.types.scope();
        // SAFETY: attached; a context variable and any object. The token is a new reference.
        let token =
            unsafe { Object::owned_or_raised(py, ffi::PyContextVar_Set(scope, inside.as_ptr()))? };
        let result = self.lending(body);
        // SAFETY: attached; the token is of this variable, and of the context that is current again.
        if unsafe { ffi::PyContextVar_Reset(scope, token.as_ptr()) } != 0 {
            Raised::seen(py).clear(py);
        }
        result.map(drop)
    }

    /// Begins a task, which goes on in the event loop.
    pub(in crate::interp) fn begin_task(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        namespace: Option<u64>,
        reply: &mut TermEnv,
    ) {
        // First: whoever ends it from now on finds it.
        context.add_task(request);
        let begun = match namespace {
            Some(namespace) => self.start_task(py, request, context, namespace).map(Ok),
            None => Ok(Err(Answer::stale(reply))),
        };
        let answer = match begun {
            Ok(Ok(())) => None,
            Ok(Err(answer)) => Some(answer),
            Err(raised) => Some(failure::answer(py, reply, self, request, raised)),
        };
        context.interrupts.leave(py);
        context.leave_to_task();
        match answer {
            None => request.forget_question(context),
            Some(answer) => {
                let _ended = context.take_task(request.id);
                Self::answer(context, request, &answer, reply);
            }
        }
    }

    fn start_task(
        &mut self,
        py: Python<'_>,
        request: &Shared<Request>,
        context: &Context,
        namespace: u64,
    ) -> Result<()> {
        let body = request.body.lock();
        let asked = body
            .as_ref()
            .map(|body| (&raw const body.env, body.payload));
        drop(body);
        let Some((env, payload)) = asked else {
            return Ok(());
        };
        // SAFETY: the body stays in the request until `forget_question`; nothing is made in its environment meanwhile,
        // and others only read it (see `Body`).
        let env = unsafe { &*env };
        let (payload, trace) = unwrapped(env, payload);
        request.belongs_to(trace);
        let Some(Task::Call {
            module,
            function,
            arguments,
            keywords,
        }) = Task::read(env, payload)
        else {
            return Err(Raised::type_error(py, "a task is a call"));
        };
        let function = self.function(py, env, namespace, module, function)?;
        let (arguments, keywords) =
            self.arguments(py, env, context.conversion, arguments, keywords)?;
        // The task has a copy of what the variables are now.
        let entered = self.enter_trace(py, request);
        let started = self.start_function(py, request.id, &function, &arguments, &keywords);
        self.leave_trace(py, entered);
        started
    }

    /// The same, of a function that is at hand.
    pub(in crate::interp) fn start_function(
        &mut self,
        py: Python<'_>,
        request: u64,
        function: &Object<'_>,
        arguments: &Object<'_>,
        keywords: &Object<'_>,
    ) -> Result<()> {
        let start = self.loop_function(py, |tools| &tools.start)?;
        let number = Object::int(py, request.cast_signed())?;
        self.inside_loop(py, || start.call(&[&number, function, arguments, keywords]))
    }

    /// The positional and the keyword arguments of a call as a tuple and a dict.
    fn arguments<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        options: crate::term::Conversion,
        arguments: crate::beam::Word,
        keywords: crate::beam::Word,
    ) -> Result<(Object<'py>, Object<'py>)> {
        let mut positional = Vec::new();
        let mut named = Vec::new();
        let mut convert = self.converter(py, env, options);
        for argument in env.list(arguments) {
            positional.push(convert.object(argument)?);
        }
        for (name, value) in env.map(keywords).into_iter().flatten() {
            named.push((name, convert.object(value)?));
        }
        let names: Vec<_> = named.iter().map(|(name, _)| *name).collect();
        let names = self.keyword_names(py, env, &names)?.tuple_items()?;
        let dict = Object::dict(py)?;
        for (name, (_, value)) in names.iter().zip(&named) {
            dict.set_item(name, value)?;
        }
        Ok((Object::tuple_of(py, positional)?, dict))
    }

    /// Cancels a task, or what a request further out waits for in the loop.
    pub(super) fn interrupt_task(&mut self, py: Python<'_>, task: u64) {
        let interrupted = self.loop_function(py, |tools| &tools.interrupt);
        let interrupted = interrupted.and_then(|interrupt| {
            let number = Object::int(py, task.cast_signed())?;
            self.inside_loop(py, || interrupt.call(&[&number]))
        });
        if let Err(raised) = interrupted {
            raised.clear(py);
        }
    }

    /// Runs the loop of the context until that closes, if it has one. `false`: it has none.
    pub(in crate::interp) fn drive(&mut self, py: Python<'_>, context: &Arc<Context>) -> bool {
        if !self.has_loop() {
            return false;
        }
        let drive = self.loop_function(py, |tools| &tools.drive);
        let driven = drive.and_then(|drive| self.lending(|| drive.call(&[])));
        if let Err(raised) = driven {
            // Not of a task's making: those have their own errors. Without its loop the context serves calls.
            let text = told(py, raised);
            self.give_up_loop(py);
            context.tell(|env| env.tuple(&[atoms().loop_failed, env.binary(text.as_bytes())]));
        }
        true
    }

    /// Whether the context has a loop of its own, to be driven when nothing else runs.
    pub(in crate::interp) fn has_loop(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.has_loop())
    }

    fn set_loop(&self, has_loop: bool) {
        if let Some(stage) = &self.stage {
            stage.set_loop(has_loop);
        }
    }

    /// Ends the loop of the context, with whatever goes on in it.
    pub(in crate::interp) fn end_loop(&mut self, py: Python<'_>) {
        self.give_up_loop(py);
        self.release_reactor(py);
    }

    /// The same; there may be another one.
    fn give_up_loop(&mut self, py: Python<'_>) {
        let shutdown = self.loop_tools.as_ref();
        let shutdown = shutdown.map(|tools| tools.shutdown.get(py));
        if let Some(shutdown) = shutdown
            && let Err(raised) = self.lending(|| shutdown.call(&[]))
        {
            raised.clear(py);
        }
        self.release_connections(py);
        self.set_loop(false);
    }

    pub(in crate::interp) fn release_loop(&mut self, py: Python<'_>) {
        if let Some(tools) = self.loop_tools.take() {
            for function in [tools.start, tools.interrupt, tools.drive, tools.shutdown] {
                function.release(py);
            }
        }
        if let Some(functions) = self.running_loop.take() {
            functions.release(py);
        }
    }

    /// The answer of a task that has ended.
    fn end_task(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        succeeded: bool,
        value: &Object<'_>,
    ) {
        let mut reply = context.envs.take();
        let result = if succeeded {
            self.result(py, context, &reply, value)
        } else {
            // SAFETY: attached; an exception, of which a new reference is given away.
            unsafe { ffi::PyErr_SetRaisedException(value.again().into_ptr()) };
            Err(Raised::seen(py))
        };
        let answer = match result {
            Ok(result) => Answer {
                result,
                story: None,
                at_home: false,
            },
            Err(raised) => failure::answer(py, &reply, self, request, raised),
        };
        Self::answer(context, request, &answer, &mut reply);
        context.envs.put(reply);
    }
}

impl Request {
    /// What was asked is not needed any more; how to answer still is.
    pub(in crate::interp) fn forget_question(&self, context: &Context) {
        let asked = {
            let mut body = self.body.lock();
            body.as_mut().map(|body| {
                let env = context.envs.take();
                let tag = env.copy(body.tag);
                let payload = atoms().undefined;
                std::mem::replace(body, Body { env, tag, payload })
            })
        };
        if let Some(asked) = asked {
            context.envs.put(asked.env);
        }
    }
}

/// A task of the calling thread's context has ended, with a value or an exception.
pub(super) fn ended(py: Python<'_>, task: u64, succeeded: bool, value: &Object<'_>) {
    let Some(stage) = Stage::here() else {
        return;
    };
    let context = &stage.context;
    let Some(request) = context.take_task(task) else {
        return;
    };
    if !succeeded && let Some(Closing::Answer(why) | Closing::Keep(why)) = context.closing() {
        // That is why it failed.
        Request::abandon(&request, why);
        request.code_ended();
        return;
    }
    match stage.borrow() {
        Some(mut owner) => owner.end_task(py, context, &request, succeeded, value),
        // A loop never runs while the owner converts values.
        None => Request::abandon(&request, atoms().crashed),
    }
}
