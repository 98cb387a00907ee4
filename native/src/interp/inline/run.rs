//! One call on the calling scheduler thread.

use super::seats::Place;
use super::{Inline, Name, Refusal, visit};
use crate::beam::{CallerEnv, Env, Pid, TermEnv, Word, atoms};
use crate::interp::answer::Answer;
use crate::interp::execute::{COROUTINE, refuse_coroutine};
use crate::interp::failure::{self, Asker};
use crate::interp::owner::Owner;
use crate::interp::task::Task;
use crate::interp::{Context, Envelope};
use crate::memory::Holding;
use crate::py::{Python, Raised, Result};
use py_core::door::{Away, Visit};
use py_core::learner::LONG;
use py_core::stopwatch::Stopwatch;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After so many calls it is looked whether garbage has gathered, which only the owner thread collects.
const GARBAGE: u64 = 64;

/// Slow calls are told of where they are more than one in so many, or where one takes that long.
const USUAL: u64 = 100;
const LASTING: Duration = Duration::from_millis(50);

/// What is asked.
pub(crate) struct Asked<'a> {
    pub(crate) env: Env<'a>,
    /// A call or an evaluation, in the caller's environment.
    pub(crate) payload: Word,
    /// Milliseconds.
    pub(crate) limit: u64,
    /// Only if the function has shown that it is short.
    pub(crate) learned: bool,
    /// The caller tries again where another one is inside.
    pub(crate) patient: bool,
}

/// A call that has run. The words live in the caller's environment.
pub(crate) struct Done {
    pub(crate) result: Word,
    pub(crate) story: Option<Word>,
    pub(crate) took: Duration,
}

/// Runs it now, or says why it goes by the mailbox.
pub(crate) fn call(
    context: &Arc<Context>,
    asked: &Asked<'_>,
) -> std::result::Result<Done, Refusal> {
    let Some(inline) = &context.inline else {
        return Err(Refusal::Unsupported);
    };
    let done = attempt(context, inline, asked);
    match &done {
        // It is not over with that.
        Err(Refusal::Busy) if asked.patient => {}
        Ok(_) => {}
        Err(refusal) => inline.figures.count_refused(*refusal),
    }
    done
}

fn attempt(
    context: &Arc<Context>,
    inline: &Inline,
    asked: &Asked<'_>,
) -> std::result::Result<Done, Refusal> {
    if !super::ALLOWED.load(Ordering::Relaxed) {
        return Err(Refusal::Off);
    }
    let env = CallerEnv::new(asked.env);
    let task = Task::read(&env, asked.payload);
    if !matches!(task, Some(Task::Call { .. } | Task::Eval { .. })) {
        return Err(Refusal::Unsupported);
    }
    let name = match &task {
        Some(Task::Call {
            module, function, ..
        }) if asked.learned => Some(Name::read(&env, *module, *function)),
        _ => None,
    };
    if asked.learned && !name.as_ref().is_some_and(|name| inline.trusts(name)) {
        return Err(Refusal::Learning);
    }
    if context.guard.has_threads() {
        // For good: the door need not be opened any more.
        inline.wanted.store(false, Ordering::Relaxed);
        return Err(Refusal::Threads);
    }
    if !inline.is_wanted() && !inline.want(context) {
        return Err(Refusal::First);
    }
    // A look from outside, which costs less than the way in.
    if context.mailbox.has_any() || context.mailbox.is_closed() {
        return Err(Refusal::Queued);
    }
    let client = namespace(context, asked, task.as_ref());
    let visit = inline.door.enter().map_err(|away| match away {
        Away::Shut => Refusal::Queued,
        Away::Taken => Refusal::Busy,
    })?;
    // What this process has sent before must run before. The owner takes nothing while somebody is inside.
    if context.mailbox.has_any() || context.mailbox.is_closed() {
        return Err(Refusal::Queued);
    }
    if inline.seats.has_strangers() {
        return Err(Refusal::Threads);
    }
    // From here on: the thread state itself is the interpreter's memory, too.
    let memory = context
        .memory
        .get()
        .map(|holder| Holding::for_owner(holder));
    let place = inline.seats.place().ok_or(Refusal::Unsupported)?;
    let inside = Inside {
        context,
        inline,
        visit: &visit,
        place: &place,
    };
    let done = inside.run(asked, &env, task, client);
    // Before the owner thread asks for any.
    drop(memory);
    drop(visit);
    if let Ok(done) = &done
        && done.took > LONG
    {
        was_slow(context, inline, asked, &env, done.took);
    }
    if let (Some(name), Ok(done)) = (name, &done) {
        inline.learn(name, done.took);
    }
    done
}

/// The number of the caller's namespace, where the code can see it.
fn namespace(context: &Arc<Context>, asked: &Asked<'_>, task: Option<&Task<'_>>) -> u64 {
    match task {
        Some(Task::Call { module, .. })
            if *module != atoms().main && asked.env_is_atom(*module) =>
        {
            0
        }
        _ => {
            context
                .client(Some(asked.env), Pid::new(asked.env.pid()))
                .id
        }
    }
}

impl Asked<'_> {
    fn env_is_atom(&self, word: Word) -> bool {
        // SAFETY: a word of the caller's environment.
        unsafe { rustler::sys::enif_is_atom(self.env.as_c_arg(), word) != 0 }
    }
}

struct Inside<'a> {
    context: &'a Arc<Context>,
    inline: &'a Inline,
    visit: &'a Visit<'a>,
    place: &'a Place,
}

impl Inside<'_> {
    fn run(
        &self,
        asked: &Asked<'_>,
        env: &TermEnv,
        task: Option<Task<'_>>,
        namespace: u64,
    ) -> std::result::Result<Done, Refusal> {
        let lent = self.inline.owner.load(Ordering::Relaxed);
        // SAFETY: the owner thread has lent it when it opened the door, and does not touch it before the visit is over;
        // there is one visitor at a time.
        let owner = unsafe { &mut *lent };
        let (context, inline) = (self.context, self.inline);
        let started = Stopwatch::start();
        let bound = super::LIMIT.load(Ordering::Relaxed);
        let _limited = Limited::begin(inline, asked.limit.min(bound));
        let attached = visit::attach(
            asked.env,
            context,
            inline,
            self.visit,
            self.place,
            owner.types.interrupted(),
        );
        let py = attached.python();
        // Code that calls Erlang finds the owner's means by its thread, and this is another one.
        let mut working = Working::begin(owner);
        let performed = working.perform(py, context, env, task, namespace);
        let answer = match performed {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(Refusal::NotLoaded),
            Err(raised) => {
                let is_late = || inline.late.load(Ordering::SeqCst) == self.visit.number();
                let reason = || match asked.limit <= bound {
                    true => atoms().timeout,
                    false => env.tuple(&[atoms().inline_limit, env.int(bound.cast_signed())]),
                };
                let too_late = || is_late().then(reason);
                let asker = Asker::Scheduler(context, &too_late);
                failure::of_part(py, env, working.owner, &asker, raised, true).0
            }
        };
        let calls = inline.figures.count_call();
        if calls % GARBAGE == 0 && attached.collects() {
            working.look_for_garbage(py, context);
        }
        drop(working);
        context.end_lines_of_visit();
        drop(attached);
        Ok(Done {
            result: answer.result,
            story: answer.story,
            took: started.elapsed(),
        })
    }
}

/// A call has held its scheduler up; it has left.
#[cold]
fn was_slow(context: &Context, inline: &Inline, asked: &Asked<'_>, env: &TermEnv, took: Duration) {
    let count = inline.figures.count_slow();
    // Not again and again; and where the system had something else to do now and then, that is not the function's fault.
    let [calls, ..] = inline.figures.counted();
    let is_usual = count.saturating_mul(USUAL) >= calls;
    if took < LASTING && !(count.is_power_of_two() && is_usual) {
        return;
    }
    let _caller = crate::beam::CallingNif::enter(asked.env);
    let micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
    context.tell(|to| {
        let what = named(to, env, Task::read(env, asked.payload));
        let count = to.int(count.cast_signed());
        to.tuple(&[atoms().inline_slow, what, to.int(micros), count])
    });
}

/// `{call, Module, Function, Arity}` or `{eval, Code}`: arguments may be large.
fn named(to: &TermEnv, env: &TermEnv, task: Option<Task<'_>>) -> Word {
    match task {
        Some(Task::Call {
            module,
            function,
            arguments,
            ..
        }) => {
            let arity = env.list_length(arguments).unwrap_or_default() as i64;
            let names = [to.copy(module), to.copy(function)];
            to.tuple(&[atoms().call, names[0], names[1], to.int(arity)])
        }
        Some(Task::Eval { code, .. }) => to.tuple(&[atoms().eval, to.binary(code)]),
        _ => atoms().undefined,
    }
}

/// How long the visit may last, while it does.
struct Limited<'i>(&'i Inline);

impl<'i> Limited<'i> {
    fn begin(inline: &'i Inline, limit: u64) -> Self {
        inline.limit.store(limit, Ordering::Relaxed);
        Self(inline)
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        self.0.limit.store(u64::MAX, Ordering::Relaxed);
    }
}

/// The owner's means in use by a visitor.
struct Working<'o> {
    owner: &'o mut Owner,
    stage: Option<std::rc::Rc<crate::interp::Stage>>,
}

impl<'o> Working<'o> {
    fn begin(owner: &'o mut Owner) -> Self {
        let stage = owner.stage.take();
        Self { owner, stage }
    }

    /// `None`: a module would have to be imported.
    fn perform(
        &mut self,
        py: Python<'_>,
        context: &Context,
        env: &TermEnv,
        task: Option<Task<'_>>,
        namespace: u64,
    ) -> Result<Option<Answer>> {
        let owner = &mut *self.owner;
        let options = context.conversion;
        let value = match task {
            Some(Task::Call {
                module,
                function,
                arguments,
                keywords,
            }) => {
                let known = owner.known_function(py, env, namespace, module, function)?;
                let Some(function) = known else {
                    return Ok(None);
                };
                owner.call(py, env, options, &function, arguments, keywords)?
            }
            task => owner.value_of(py, env, options, namespace, task)?,
        };
        refuse_coroutine(&value, COROUTINE)?;
        if owner.types.is_continuation(&value) {
            return Err(Raised::runtime_error(
                py,
                "the function goes on with erlang.schedule, which a call that runs inline cannot do; \
                 it is called without dispatch => inline",
            ));
        }
        let result = owner.result(py, context, env, &value)?;
        Ok(Some(Answer {
            result,
            story: None,
            at_home: false,
        }))
    }

    /// Has the owner thread collect garbage if there is enough of it.
    #[cold]
    fn look_for_garbage(&mut self, py: Python<'_>, context: &Arc<Context>) {
        let boot = self.owner.boot.get(py);
        let due = boot
            .getattr_str("garbage_is_due")
            .and_then(|ask| ask.call(&[]));
        match due {
            Ok(due) if due.is_true() => {
                let _seen = context.mailbox.push(Envelope::Garbage);
            }
            Ok(_) => {}
            Err(raised) => raised.clear(py),
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.owner.stage = self.stage.take();
    }
}

impl Name {
    fn read(env: &TermEnv, module: Word, function: Word) -> Self {
        let text = |word| match env.get_binary(word) {
            Some(bytes) => Box::from(bytes),
            None => env.get_atom(word).unwrap_or_default().into_bytes().into(),
        };
        Self {
            module: text(module),
            function: text(function),
        }
    }

    pub(in crate::interp) fn of_call(env: &TermEnv, task: Option<&Task<'_>>) -> Option<Self> {
        match task {
            Some(Task::Call {
                module, function, ..
            }) => Some(Self::read(env, *module, *function)),
            _ => None,
        }
    }
}

impl Inline {
    fn trusts(&self, name: &Name) -> bool {
        let learned = self.learned.lock();
        learned
            .get(name)
            .is_some_and(|learner| learner.is_trusted())
    }

    /// Somebody calls inline here from now on. `false`: not this time.
    #[cold]
    fn want(&self, context: &Arc<Context>) -> bool {
        if !self.wanted.swap(true, Ordering::SeqCst) {
            let begun = super::watchdog::add(context) && context.mailbox.push(Envelope::Inline);
            self.wanted.store(begun, Ordering::SeqCst);
        }
        false
    }
}
