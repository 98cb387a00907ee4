//! Iterators whose items go to a process, one message each.
//!
//! One that is not asynchronous is a request that is suspended after each turn, and goes on when others had theirs; while
//! nothing is wanted of it, it has no turns. An asynchronous one becomes a task of the event loop.

use super::answer::{Answer, Outcome};
use super::code::Grammar;
use super::execute::refuse_coroutine;
use super::flow::{Target, Wanted};
use super::functions::evaluate;
use super::owner::Owner;
use super::python_functions::{Methods, function, method, number};
use super::task::Task;
use super::{Closing, Context, Envelope, Request, Stage, failure, reaper, registry};
use crate::beam::{Pid, Shared, TermEnv, Word, atoms};
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use crate::term::Conversion;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a stream goes on while nobody else is there.
const TURN: Duration = Duration::from_micros(100);

/// The same beside an event loop, which serves many turns before it has its own.
const TURN_BESIDE_LOOP: Duration = Duration::from_micros(20);

/// A stream that is about to begin.
pub(crate) struct Items {
    source: Kept,
    is_async: bool,
    target: Target,
    wanted: u64,
}

/// Who gets the items, and how many at first.
pub(super) struct Destination {
    pub(super) owner: Pid,
    pub(super) tag: Word,
    pub(super) wanted: u64,
}

/// How a turn has ended.
enum Turn {
    Again,
    Parked,
    /// There are no more items.
    Done,
    /// None are wanted.
    Over,
}

/// The functions of `erlang._streams`.
pub(crate) struct StreamTools {
    drain: Kept,
    wake: Kept,
    collect: Kept,
}

impl StreamTools {
    fn import(py: Python<'_>) -> Result<Self> {
        let module = Object::import(py, "erlang._streams")?;
        Ok(Self {
            drain: module.getattr_str("drain")?.keep(),
            wake: module.getattr_str("wake")?.keep(),
            collect: module.getattr_str("collect")?.keep(),
        })
    }
}

impl Owner {
    /// The value of a call or an expression.
    pub(super) fn value_of<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        options: Conversion,
        namespace: u64,
        task: Option<Task<'_>>,
    ) -> Result<Object<'py>> {
        match task {
            Some(Task::Call {
                module,
                function,
                arguments,
                keywords,
            }) => {
                let function = self.function(py, env, namespace, module, function)?;
                self.call(py, env, options, &function, arguments, keywords)
            }
            Some(Task::Eval { code, locals }) => {
                let code = self.code.get(py, Grammar::Expression, code)?;
                let globals = self.namespaces.dict(py, namespace)?;
                let locals = self.converter(py, env, options).variables(locals)?;
                self.lending(|| evaluate(&code, &globals, &locals))
            }
            _ => Err(Raised::type_error(py, "malformed request")),
        }
    }

    /// What follows from a value whose items are wanted.
    pub(super) fn items(&mut self, value: &Object<'_>, to: &Destination) -> Result<Outcome> {
        refuse_coroutine(value, COROUTINE)?;
        let is_async = is_async(value);
        let source = if is_async {
            value.again()
        } else {
            self.lending(|| iterator(value))?
        };
        Ok(Outcome::Items(Items {
            source: source.keep(),
            is_async,
            target: Target::new(to.owner, to.tag),
            wanted: to.wanted,
        }))
    }

    /// All items of a value, as a list.
    pub(super) fn collected<'py>(&mut self, value: &Object<'py>) -> Result<Object<'py>> {
        let py = value.py();
        refuse_coroutine(value, COROUTINE)?;
        if is_async(value) {
            let collect = self.stream_function(py, |tools| &tools.collect)?;
            return self.lending(|| collect.call(&[value]));
        }
        let source = self.lending(|| iterator(value))?;
        // SAFETY: attached; an iterator.
        let list = self.lending(|| unsafe {
            Object::owned_or_raised(py, ffi::PySequence_List(source.as_ptr()))
        });
        list.map_err(|raised| {
            let exception = raised.fetch(py);
            self.close_items(&source);
            match exception {
                // SAFETY: attached; the exception is given back.
                Some(exception) => unsafe {
                    ffi::PyErr_SetRaisedException(exception.into_ptr());
                    Raised::seen(py)
                },
                None => Raised::runtime_error(py, "a list was not made, without a reason"),
            }
        })
    }

    /// The innermost request goes on as a stream.
    pub(super) fn begin_stream(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        items: Items,
        reply: &mut TermEnv,
    ) {
        request.flow().open(items.target, items.wanted);
        if !items.is_async {
            request.forget_question(context);
            self.streams.insert(request.id, items.source);
            context.suspend_running();
            Self::comes_again(context, request);
            return;
        }
        // First: whoever ends it from now on finds it.
        context.add_task(request);
        let source = items.source.get(py);
        items.source.release(py);
        let begun = self.begin_draining(py, request.id, &source);
        context.leave_to_task();
        match begun {
            Ok(()) => request.forget_question(context),
            Err(raised) => {
                let answer = failure::answer(py, reply, self, request, raised);
                let _ended = context.take_task(request.id);
                Self::answer(context, request, &answer, reply);
            }
        }
    }

    fn begin_draining(&mut self, py: Python<'_>, request: u64, source: &Object<'_>) -> Result<()> {
        let drain = self.stream_function(py, |tools| &tools.drain)?;
        let number = Object::int(py, request.cast_signed())?;
        let arguments = Object::tuple_of(py, vec![number.again(), source.again()])?;
        self.start_function(py, request, &drain, &arguments, &Object::dict(py)?)
    }

    /// The request has its next turn when those who wait had theirs.
    fn comes_again(context: &Arc<Context>, request: &Shared<Request>) {
        if !context.mailbox.push(Envelope::Continue(request.clone())) {
            // Whoever has answered what ran may not have seen it.
            reaper().close(context);
        }
    }

    /// The turn of a stream, or something else has happened to it.
    pub(super) fn stream_goes_on(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        reply: &mut TermEnv,
    ) {
        let Some(kept) = self.streams.remove(&request.id) else {
            // The task of one that was cancelled is told by its loop, once: a second word would cut its end short.
            if context.has_task(request.id) && !request.state.is_over() {
                self.wake_draining(py, request.id);
            }
            return;
        };
        let source = kept.get(py);
        context.resume_suspended(request);
        context.interrupts.enter(request.id);
        if let Some(Closing::Answer(reason) | Closing::Keep(reason)) = context.closing() {
            Request::abandon(request, reason);
        }
        let turn = if request.state.is_over() {
            Ok(Turn::Over)
        } else {
            let entered = self.enter_trace(py, request);
            let turn = self.turn(py, context, request, &source, reply);
            self.leave_trace(py, entered);
            turn
        };
        let answer = match turn {
            Ok(turn @ (Turn::Again | Turn::Parked)) => {
                context.interrupts.leave(py);
                self.streams.insert(request.id, kept);
                context.suspend_running();
                // Where nothing was wanted something may be by now, and who ended the request has looked before.
                let parked = matches!(turn, Turn::Parked) && request.flow().park();
                if !parked || request.state.is_over() && request.flow().unpark() {
                    Self::comes_again(context, request);
                }
                return;
            }
            Ok(Turn::Done) => Some(Answer {
                result: atoms().ok,
                story: None,
                at_home: false,
            }),
            Ok(Turn::Over) => None,
            Err(raised) => {
                let answer = failure::answer(py, reply, self, request, raised);
                self.close_items(&source);
                Some(answer)
            }
        };
        match answer {
            Some(answer) => {
                drop(source);
                kept.release(py);
                self.conclude(py, context, request, Outcome::Answer(answer), reply);
            }
            None => {
                context.interrupts.leave(py);
                context.pop_running();
                self.unasked(py, context, |owner| {
                    owner.close_items(&source);
                    drop(source);
                    kept.release(py);
                });
            }
        }
    }

    fn turn(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        source: &Object<'_>,
        reply: &mut TermEnv,
    ) -> Result<Turn> {
        if let Some(stage) = &self.stage {
            stage.begin_turn();
        }
        let turn = if self.has_loop() {
            TURN_BESIDE_LOOP
        } else {
            TURN
        };
        let end = Instant::now() + turn;
        let mut wanted = request.flow().wanted();
        loop {
            match wanted {
                Wanted::Yes => {}
                Wanted::NotYet => return Ok(Turn::Parked),
                Wanted::NoMore => return Ok(Turn::Over),
            }
            // SAFETY: attached; an iterator. A new reference, or null with or without an exception.
            let next =
                self.lending(|| unsafe { Object::owned(py, ffi::PyIter_Next(source.as_ptr())) });
            let Some(item) = next else {
                // SAFETY: attached.
                return if unsafe { ffi::PyErr_Occurred() }.is_null() {
                    Ok(Turn::Done)
                } else {
                    Err(Raised::seen(py))
                };
            };
            wanted = self.pass(py, context, request, reply, &item)?;
            drop(item);
            if wanted == Wanted::Yes && (!context.mailbox.is_empty() || Instant::now() >= end) {
                return Ok(Turn::Again);
            }
        }
    }

    /// An item goes to the process that wants it. One that is too large is the end.
    fn pass(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        env: &mut TermEnv,
        item: &Object<'_>,
    ) -> Result<Wanted> {
        match self.limited(py, context, env, item)? {
            Ok(word) => Ok(request.flow().send(env, word)),
            Err(reason) => {
                let result = env.tuple(&[atoms().error, reason]);
                let answer = Answer {
                    result,
                    story: None,
                    at_home: false,
                };
                Self::answer(context, request, &answer, env);
                request.flow().end();
                Ok(Wanted::NoMore)
            }
        }
    }

    /// Has a generator, or whatever can be closed, run to its end. Nobody is left to be told how that went.
    fn close_items(&mut self, source: &Object<'_>) {
        let py = source.py();
        let name = Object::str(py, "close");
        let closed = name.and_then(|name| {
            self.lending(|| match source.getattr_optional(&name)? {
                Some(close) => close.call(&[]).map(drop),
                None => Ok(()),
            })
        });
        if let Err(raised) = closed {
            raised.print(py);
        }
    }

    /// The context ends, and what was not taken to its end with it.
    pub(super) fn forget_streams(&mut self, py: Python<'_>) {
        for (_, source) in std::mem::take(&mut self.streams) {
            self.close_items(&source.get(py));
            source.release(py);
        }
    }

    fn wake_draining(&mut self, py: Python<'_>, request: u64) {
        let woken = self.stream_function(py, |tools| &tools.wake);
        let woken = woken.and_then(|wake| {
            let number = Object::int(py, request.cast_signed())?;
            self.inside_loop(py, || wake.call(&[&number]))
        });
        if let Err(raised) = woken {
            raised.print(py);
        }
    }

    /// A function of `erlang._streams`, which is imported at first use.
    fn stream_function<'py>(
        &mut self,
        py: Python<'py>,
        which: impl FnOnce(&StreamTools) -> &Kept,
    ) -> Result<Object<'py>> {
        if self.stream_tools.is_none() {
            // Cut short, the import would leave half of asyncio behind, and that for good.
            let mut tools = None;
            self.inside_loop(py, || {
                tools = Some(StreamTools::import(py)?);
                Ok(Object::none(py))
            })?;
            self.stream_tools = tools;
        }
        let tools = self.stream_tools.as_ref();
        let tools = tools.ok_or_else(|| Raised::runtime_error(py, "erlang._streams is missing"))?;
        Ok(which(tools).get(py))
    }

    pub(super) fn release_streams(&mut self, py: Python<'_>) {
        if let Some(tools) = self.stream_tools.take() {
            for function in [tools.drain, tools.wake, tools.collect] {
                function.release(py);
            }
        }
    }
}

const COROUTINE: &str = "a coroutine has no items: stream an async generator, or another iterator";

/// Whether its items are waited for. What is both is an ordinary iterator.
fn is_async(value: &Object<'_>) -> bool {
    // SAFETY: attached; reads the type of a live object, whose slots never change while it has objects.
    unsafe {
        let class = ffi::Py_TYPE(value.as_ptr());
        let slots = (*class).tp_as_async;
        (*class).tp_iter.is_none() && !slots.is_null() && (*slots).am_aiter.is_some()
    }
}

fn iterator<'py>(value: &Object<'py>) -> Result<Object<'py>> {
    // SAFETY: attached; a live object.
    unsafe { Object::owned_or_raised(value.py(), ffi::PyObject_GetIter(value.as_ptr())) }
}

impl Request {
    /// It has its turn if it waits for somebody to want its items: one was wanted, or its end has come. Called on any
    /// thread.
    pub(crate) fn go_on(self_: &Shared<Self>) {
        if let Some(context) =
            registry().by_serial(self_.context.load(std::sync::atomic::Ordering::SeqCst))
        {
            // Those that a closed context has begun are closed with it.
            let _accepted = !context.mailbox.is_closed()
                && context.mailbox.push(Envelope::Continue(self_.clone()));
        }
    }

    /// Whoever has ended it lets it see that.
    pub(crate) fn unpark(self_: &Shared<Self>) {
        if self_.known_flow().is_some_and(super::flow::Flow::unpark) {
            Self::go_on(self_);
        }
    }
}

// ------------------------------------------------------------------------------------------------
// What asynchronous iterators are drained with

pub(crate) static METHODS: Methods<4> = Methods([
    method(c"stream_wanted", py_stream_wanted, c"stream_wanted(stream, /)\n--\n\nWhether an item is wanted: 1, or 0 for not yet, or -1 when the stream is over."),
    method(c"stream_send", py_stream_send, c"stream_send(stream, item, /)\n--\n\nSend an item; whether the next is wanted, as stream_wanted says it."),
    method(c"stream_park", py_stream_park, c"stream_park(stream, /)\n--\n\nHave the stream woken when an item is wanted. False: one is, or the stream is over."),
    ffi::PyMethodDef::zeroed(),
]);

/// What the task of a stream is told. Where one that goes on is unwanted, the task will be cancelled; it waits for that,
/// since otherwise it would be cancelled while it ends.
fn told<'py>(py: Python<'py>, request: &Request, wanted: Wanted) -> Result<Object<'py>> {
    let answered = request.state.is_over() && !request.state.is_cancelled();
    let number = match wanted {
        _ if answered => -1,
        Wanted::Yes if !request.state.is_cancelled() => 1,
        _ => 0,
    };
    Object::int(py, number)
}

/// The stage, and the request that is the stream.
fn here<'py>(
    py: Python<'py>,
    stream: &Object<'py>,
) -> Result<(std::rc::Rc<Stage>, Shared<Request>)> {
    let stage = Stage::here();
    let number = number(stream)?;
    let found = stage.and_then(|stage| Some((stage.context.started(number)?, stage)));
    let (request, stage) = found.ok_or_else(|| nothing(py))?;
    Ok((stage, request))
}

fn nothing(py: Python<'_>) -> Raised {
    Raised::runtime_error(py, "there is no such stream here")
}

function!(py_stream_wanted, "stream_wanted", |py, arguments| {
    let [stream] = arguments.exactly()?;
    let (_stage, request) = here(py, stream)?;
    told(py, &request, request.flow().wanted())
});

function!(py_stream_send, "stream_send", |py, arguments| {
    let [stream, item] = arguments.exactly()?;
    let (stage, request) = here(py, stream)?;
    let context = stage.context.clone();
    let mut owner = stage.borrow().ok_or_else(|| nothing(py))?;
    let mut env = context.envs.take();
    let wanted = owner.pass(py, &context, &request, &mut env, item);
    context.envs.put(env);
    told(py, &request, wanted?)
});

function!(py_stream_park, "stream_park", |py, arguments| {
    let [stream] = arguments.exactly()?;
    let (_stage, request) = here(py, stream)?;
    let waits = request.flow().park() || request.state.is_cancelled();
    let ends = request.flow().wanted() == Wanted::NoMore && !request.state.is_over();
    Ok(Object::bool(py, waits || ends))
});
