//! Batches: one function, called with one list of arguments after another, for one message each way.
//!
//! A batch is one request. When its turn is over and others wait, it is suspended as a request is that returns
//! `erlang.schedule`, and goes on when they had theirs. What an item has become is there for others as soon as it is
//! made: whoever ends the batch before its time answers with that, and with a reason for the rest.

use super::answer::{Answer, Outcome};
use super::execute::refuse_coroutine;
use super::failure::{self, Asker};
use super::owner::Owner;
use super::{Closing, Context, Envelope, Request, reaper};
use crate::beam::{Shared, TermEnv, Word, atoms};
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use crate::term::TooLarge;
use parking_lot::Mutex;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a batch goes on while others wait.
const TURN: Duration = Duration::from_micros(100);

/// The same beside an event loop, which serves many turns before it has its own.
const TURN_BESIDE_LOOP: Duration = Duration::from_micros(20);

/// Items between two readings of the clock where nobody seems to wait, and so many take less than a turn.
const ITEMS_PER_READING: usize = 16;

/// What is called, its terms in the request's environment.
pub(super) struct Calls {
    pub(super) module: Word,
    pub(super) function: Word,
    /// A list of arguments each or, where `single`, one argument each.
    pub(super) items: Word,
    pub(super) keywords: Word,
    pub(super) single: bool,
}

/// See the module.
pub(crate) struct Batch {
    /// As long as there are items left.
    function: Option<Kept>,
    /// The items that have not begun.
    rest: Word,
    keywords: Word,
    single: bool,
    /// Where the results are.
    env: Option<TermEnv>,
    results: Arc<Results>,
    /// What they take.
    size: usize,
    /// Of the first exception.
    story: Option<Word>,
}

/// One item, as the request has it.
struct Item<'e> {
    asked: &'e TermEnv,
    word: Word,
    keywords: Word,
    single: bool,
}

/// The results of a batch, in its environment.
pub(crate) struct Results {
    words: Box<[UnsafeCell<Word>]>,
    /// So many of them are made; only the owner thread makes any.
    done: AtomicUsize,
    /// Locked while they are read by others than the owner thread, and before they go.
    place: Mutex<Place>,
}

// SAFETY: the owner thread alone writes, each place once and before it counts it in `done`; others read what is counted.
unsafe impl Sync for Results {}
// SAFETY: words are plain numbers, and an environment may go to any thread.
unsafe impl Send for Results {}

enum Place {
    /// The batch goes on.
    There,
    /// It was cancelled.
    Kept { _env: TermEnv },
    /// They were sent, or are about to be.
    Gone,
}

impl Results {
    fn of(items: usize) -> Arc<Self> {
        Arc::new(Self {
            words: (0..items).map(|_| UnsafeCell::default()).collect(),
            done: AtomicUsize::new(0),
            place: Mutex::new(Place::There),
        })
    }

    fn made(&self) -> &[Word] {
        let made = &self.words[..self.done.load(Ordering::Acquire)];
        // SAFETY: cells are laid out as what is in them, and nobody writes to these any more.
        unsafe { std::slice::from_raw_parts(made.as_ptr().cast(), made.len()) }
    }

    fn is_complete(&self) -> bool {
        self.done.load(Ordering::Relaxed) == self.words.len()
    }

    fn add(&self, word: Word) {
        let place = self.done.load(Ordering::Relaxed);
        // SAFETY: on the owner thread; nobody reads a place that is not counted.
        unsafe { *self.words[place].get() = word };
        self.done.store(place + 1, Ordering::Release);
    }

    /// Whatever has no result yet has this one.
    fn fill(&self, word: Word) {
        while !self.is_complete() {
            self.add(word);
        }
    }

    /// `{ok, Results}` with the results that are made, and `{error, Reason}` in place of the others.
    fn so_far(&self, reason: Word) -> Option<(TermEnv, Word)> {
        let place = self.place.lock();
        if matches!(*place, Place::Gone) {
            return None;
        }
        let env = TermEnv::new();
        let mut words: Vec<Word> = self.made().iter().map(|&word| env.copy(word)).collect();
        if words.len() < self.words.len() {
            let error = env.tuple(&[atoms().error, env.copy(reason)]);
            words.resize(self.words.len(), error);
        }
        let result = env.tuple(&[atoms().ok, env.list_of(&words)]);
        Some((env, result))
    }
}

impl Request {
    /// What [`Results::so_far`] says of a batch; `None` for other requests, and when it is too late.
    pub(crate) fn so_far(&self, reason: Word) -> Option<(TermEnv, Word)> {
        self.results.get()?.so_far(reason)
    }

    /// Whether it is a batch whose results were sent, or are about to be.
    pub(crate) fn has_sent_results(&self) -> bool {
        let results = self.results.get();
        results.is_some_and(|results| matches!(*results.place.lock(), Place::Gone))
    }
}

impl Batch {
    /// The environment, for the answer.
    fn take(&mut self) -> Option<TermEnv> {
        *self.results.place.lock() = Place::Gone;
        self.env.take()
    }

    /// Whoever has cancelled it may still ask for what was made.
    fn keep(&mut self) {
        let mut place = self.results.place.lock();
        if let Some(env) = self.env.take() {
            *place = Place::Kept { _env: env };
        }
    }
}

impl Batch {
    /// Nothing is called any more.
    fn release(&mut self, py: Python<'_>) {
        if let Some(function) = self.function.take() {
            function.release(py);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // The results go with it.
        if self.env.is_some() {
            *self.results.place.lock() = Place::Gone;
        }
    }
}

impl Owner {
    /// Begins with a batch, and has its first turn.
    pub(super) fn many(
        &mut self,
        py: Python<'_>,
        context: &Context,
        request: &Request,
        asked: &TermEnv,
        namespace: u64,
        calls: &Calls,
    ) -> Result<Outcome> {
        let Some(items) = asked.list_length(calls.items) else {
            return Err(Raised::type_error(py, "malformed request"));
        };
        let env = context.envs.take();
        let results = Results::of(items);
        let mut story = None;
        let function = match self.function(py, asked, namespace, calls.module, calls.function) {
            Ok(function) => Some(function.keep()),
            Err(raised) => {
                let (answer, _) =
                    failure::of_part(py, &env, self, &Asker::Request(request), raised, true);
                story = answer.story;
                results.fill(answer.result);
                None
            }
        };
        let mut batch = Batch {
            function,
            rest: calls.items,
            keywords: calls.keywords,
            single: calls.single,
            env: Some(env),
            results: results.clone(),
            size: 0,
            story,
        };
        let _first = request.results.set(results);
        self.batch_turn(py, context, request, asked, &mut batch);
        Ok(Outcome::Many(batch))
    }

    fn batch_turn(
        &mut self,
        py: Python<'_>,
        context: &Context,
        request: &Request,
        asked: &TermEnv,
        batch: &mut Batch,
    ) {
        if let Some(stage) = &self.stage {
            stage.begin_turn();
        }
        let (Some(env), Some(function)) = (&batch.env, &batch.function) else {
            return;
        };
        let function = function.get(py);
        let most = if self.has_loop() {
            TURN_BESIDE_LOOP
        } else {
            TURN
        };
        let mut begun = Instant::now();
        let mut next_reading = 1;
        let mut breathes = false;
        let mut arguments = Vec::with_capacity(8);
        let mut cells = asked.list(batch.rest);
        let mut over = true;
        for count in 1.. {
            if request.state.is_over() {
                break;
            }
            let Some(item) = cells.next() else {
                break;
            };
            let read = Item {
                asked,
                word: item,
                keywords: batch.keywords,
                single: batch.single,
            };
            let value = interrupted_between(py, context)
                .and_then(|()| self.breathe(py, std::mem::take(&mut breathes)))
                .and_then(|()| self.item_arguments(py, context, &read, &mut arguments))
                .and_then(|names| self.call_item(py, &function, &mut arguments, names.as_ref()));
            let result =
                value.and_then(|value| self.item(py, context, env, &mut batch.size, &value));
            arguments.clear();
            match result {
                Ok(word) => batch.results.add(word),
                Err(raised) => {
                    let first = batch.story.is_none();
                    let (answer, interrupted) =
                        failure::of_part(py, env, self, &Asker::Request(request), raised, first);
                    if interrupted && request.state.is_over() {
                        // Whoever has ended it says why.
                        break;
                    }
                    batch.story = batch.story.or(answer.story);
                    batch.results.add(answer.result);
                    if interrupted {
                        batch.results.fill(answer.result);
                        break;
                    }
                }
            }
            // Or were put off while an item waited for Erlang.
            let others = context.mailbox.has_any();
            if !others && count < next_reading {
                continue;
            }
            let is_over = begun.elapsed() >= most;
            next_reading = count + if is_over { 1 } else { ITEMS_PER_READING };
            if is_over {
                if others || self.has_loop() {
                    batch.rest = cells.rest();
                    over = batch.results.is_complete();
                    break;
                }
                breathes = true;
                begun = Instant::now();
            }
        }
        drop(function);
        if over {
            batch.release(py);
        }
    }

    /// If that is due, runs some bytecode, at which CPython does what is due: it gives the GIL to a thread that has asked for it, and
    /// collects garbage. Functions in C would let nobody in. To release the GIL here would not do: it is taken again
    /// before anybody is awake, and whoever waits begins anew to wait for the time after which it may ask.
    fn breathe(&self, py: Python<'_>, is_due: bool) -> Result<()> {
        if !is_due {
            return Ok(());
        }
        let breathe = self.boot.get(py).getattr_str("breathe")?;
        breathe.call(&[]).map(drop)
    }

    /// Converts the arguments of an item, after a free place; gives the names of those that have one.
    fn item_arguments<'py>(
        &mut self,
        py: Python<'py>,
        context: &Context,
        item: &Item<'_>,
        arguments: &mut Vec<Option<Object<'py>>>,
    ) -> Result<Option<Object<'py>>> {
        let asked = item.asked;
        arguments.push(None);
        let mut convert = self.converter(py, asked, context.conversion);
        if item.single {
            arguments.push(Some(convert.object(item.word)?));
        } else {
            for argument in asked.list(item.word) {
                arguments.push(Some(convert.object(argument)?));
            }
        }
        if asked.map_size(item.keywords).unwrap_or(0) == 0 {
            return Ok(None);
        }
        let mut names = Vec::new();
        for (name, value) in asked.map(item.keywords).into_iter().flatten() {
            arguments.push(Some(convert.object(value)?));
            names.push(name);
        }
        self.keyword_names(py, asked, &names).map(Some)
    }

    fn call_item<'py>(
        &mut self,
        py: Python<'py>,
        function: &Object<'py>,
        arguments: &mut [Option<Object<'py>>],
        names: Option<&Object<'py>>,
    ) -> Result<Object<'py>> {
        // SAFETY: attached; the first place is there, and the callee may use it while it runs. Options of what is laid out as a pointer are, too; the
        // names are a tuple of as many strs as there are values beyond the positional ones.
        let value = self.lending(|| unsafe {
            let named = names.map_or(0, |names| ffi::PyTuple_GET_SIZE(names.as_ptr()));
            let positional = arguments.len() - 1 - named.cast_unsigned();
            Object::owned_or_raised(
                py,
                ffi::PyObject_Vectorcall(
                    function.as_ptr(),
                    arguments.as_mut_ptr().add(1).cast(),
                    positional | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                    names.map_or(std::ptr::null_mut(), Object::as_ptr),
                ),
            )
        })?;
        if self.types.is_continuation(&value) {
            return Err(Raised::type_error(
                py,
                "an item of a batch cannot go on with erlang.schedule: it returns its result",
            ));
        }
        refuse_coroutine(&value, COROUTINE)?;
        Ok(value)
    }

    /// `{ok, Term}`, or why there is none: the results of a batch may be as large as that of a call.
    fn item<'py>(
        &mut self,
        py: Python<'py>,
        context: &Context,
        env: &TermEnv,
        size: &mut usize,
        value: &Object<'py>,
    ) -> Result<Word> {
        let most = context.max_result_size;
        let mut convert = self
            .terms_of(py, context, env)
            .up_to(most.saturating_sub(*size));
        match convert.term(value) {
            Ok(term) => {
                *size = size.saturating_add(convert.counted());
                Ok(env.tuple(&[atoms().ok, term]))
            }
            Err(raised) => match convert.too_large() {
                Some(TooLarge(counted)) => {
                    raised.clear(py);
                    let reason = Self::too_large(env, size.saturating_add(counted), most);
                    Ok(env.tuple(&[atoms().error, reason]))
                }
                None => Err(raised),
            },
        }
    }

    /// The batch has had a turn, and is the innermost request no more: it is answered, or has another one.
    pub(super) fn end_batch_turn(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        mut batch: Batch,
    ) {
        if !batch.results.is_complete() && !request.state.is_over() {
            self.batches.insert(request.id, batch);
            context.suspend_running();
            if !context.mailbox.push(Envelope::Continue(request.clone())) {
                // Whoever has answered what ran may not have seen it.
                reaper().close(context);
            }
            return;
        }
        if request.state.is_cancelled() {
            batch.keep();
        } else if let Some(mut env) = batch.take() {
            let answer = Answer {
                result: env.tuple(&[atoms().ok, env.list_of(batch.results.made())]),
                story: batch.story,
                at_home: false,
            };
            Self::answer(context, request, &answer, &mut env);
            context.envs.put(env);
        }
        context.pop_running();
        if batch.function.is_some() {
            self.unasked(py, context, |_| batch.release(py));
        }
        let body = request.body.lock().take();
        if let Some(body) = body {
            context.envs.put(body.env);
        }
    }

    /// The turn of a batch that was suspended.
    pub(super) fn batch_goes_on(
        &mut self,
        py: Python<'_>,
        context: &Arc<Context>,
        request: &Shared<Request>,
        mut batch: Batch,
    ) {
        context.resume_suspended(request);
        context.interrupts.enter(request.id);
        if let Some(Closing::Answer(reason) | Closing::Keep(reason)) = context.closing() {
            Request::abandon(request, reason);
        }
        let asked = {
            let body = request.body.lock();
            body.as_ref().map(|body| &raw const body.env)
        };
        if let Some(asked) = asked.filter(|_| !request.state.is_over()) {
            let entered = self.enter_trace(py, request);
            // SAFETY: as in `run_started`: the body stays in the request until `end_batch_turn` takes it out.
            let asked = unsafe { &*asked };
            self.batch_turn(py, context, request, asked, &mut batch);
            self.leave_trace(py, entered);
            Self::clean_up(py, context);
        }
        context.interrupts.leave(py);
        self.end_batch_turn(py, context, request, batch);
    }

    /// The context ends, and what was not taken to its end with it.
    pub(super) fn forget_batches(&mut self, py: Python<'_>) {
        for (_, mut batch) in std::mem::take(&mut self.batches) {
            batch.keep();
            batch.release(py);
        }
    }
}

/// Code that is no bytecode is interrupted between items.
fn interrupted_between(py: Python<'_>, context: &Context) -> Result<()> {
    if !context.interrupts.waits() {
        return Ok(());
    }
    context.interrupts.take_raised(py).map_or(Ok(()), Err)
}

const COROUTINE: &str = "the result is a coroutine, which nobody awaits: call the function with py:async_call, or \
                         run the coroutine in Python, with erlang.run";
