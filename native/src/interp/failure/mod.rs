//! A Python exception as the caller gets it: `{Class, Message}`, and the story behind it.

mod frames;
mod story;
mod syntax;
mod text;

use super::answer::Answer;
use super::owner::Owner;
use super::{Closing, Context, Kind, Request};
use crate::beam::{Interned, TermEnv, Word, atoms, intern};
use crate::erlang_module::{Native, Types};
use crate::memory;
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use story::Teller;

/// The answer for the exception that is set. Never fails: what cannot be found out is replaced by a text
/// that says so.
///
/// Code of users may run here (`__str__` and the like), so the request must still be interruptible.
pub(crate) fn answer(
    py: Python<'_>,
    env: &TermEnv,
    owner: &Owner,
    request: &Request,
    raised: Raised,
) -> Answer {
    // A message of this kind has no room for a story.
    let with_story = !matches!(request.kind, Kind::Spawn | Kind::Task);
    let asker = Asker::Request(request);
    of_part(py, env, owner, &asker, raised, with_story).0
}

/// For whom code has run.
pub(crate) enum Asker<'a> {
    Request(&'a Request),
    /// A scheduler, in this context; and what tells the reason if its time is over.
    Scheduler(&'a Context, &'a dyn Fn() -> Option<Word>),
}

impl Asker<'_> {
    /// The reason, if its time is over by now.
    fn too_late(&self) -> Option<Word> {
        match self {
            Self::Request(request) => request.is_timed_out().then_some(atoms().timeout),
            Self::Scheduler(_, too_late) => too_late(),
        }
    }

    fn closing(&self, owner: &Owner) -> Option<Closing> {
        match self {
            Self::Request(_) => owner.stage.as_ref()?.context.closing(),
            Self::Scheduler(context, _) => context.closing(),
        }
    }
}

/// The same for what is no whole request; says whether that was interrupted.
pub(crate) fn of_part(
    py: Python<'_>,
    env: &TermEnv,
    owner: &Owner,
    asker: &Asker<'_>,
    raised: Raised,
    with_story: bool,
) -> (Answer, bool) {
    let known = atoms();
    let _room = memory::reserve();
    let Some(mut exception) = raised.fetch(py) else {
        // A C function reported an error and set none; CPython calls that a SystemError.
        let text = env.string("error return without exception set");
        let reason = env.tuple(&[class_word(env, "SystemError"), text]);
        let answer = Answer {
            result: env.tuple(&[known.error, reason]),
            story: None,
            at_home: false,
        };
        return (answer, false);
    };
    let mut teller = Teller::new(py, env, owner);
    let mut message = teller.message(&exception, text::MESSAGE);
    if let Some(interrupt) = teller.take_interrupt() {
        // It was interrupted before it could tell how it had failed.
        exception = interrupt;
        message = teller.message(&exception, text::MESSAGE);
    }
    let class = class_word(env, &class_name(&exception));
    let reason = special_reason(env, owner, asker, &exception)
        .unwrap_or_else(|| env.tuple(&[class, env.string(&message)]));
    let answer = Answer {
        result: env.tuple(&[known.error, reason]),
        story: with_story.then(|| teller.whole(&exception, class, &message)),
        at_home: false,
    };
    (answer, exception.is_a(owner.types.interrupted()))
}

/// What there is to tell of an exception, for a log. Code of users may run here.
pub(crate) fn story(py: Python<'_>, env: &TermEnv, owner: &Owner, raised: Raised) -> Word {
    let Some(exception) = raised.fetch(py) else {
        return env.string("error return without exception set");
    };
    let mut teller = Teller::new(py, env, owner);
    let message = teller.message(&exception, text::MESSAGE);
    let class = class_word(env, &class_name(&exception));
    teller.whole(&exception, class, &message)
}

/// The exceptions whose reason is not `{Class, Message}`.
fn special_reason(
    env: &TermEnv,
    owner: &Owner,
    asker: &Asker<'_>,
    exception: &Object<'_>,
) -> Option<Word> {
    let known = atoms();
    let types = &owner.types;
    if exception.is_a(types.interrupted()) {
        if let Some(reason) = asker.too_late() {
            return Some(reason);
        }
        // Code that waits for Erlang ends with its context, and may be faster than the reaper.
        return Some(match asker.closing(owner) {
            Some(Closing::Answer(why) | Closing::Keep(why)) => {
                env.tuple(&[known.context_died, why])
            }
            None => known.interrupted,
        });
    }
    if exception.is_a(types.erlang_error().as_ptr()) {
        return erlang_reason(env, types, exception);
    }
    if exception.is_a(types.stale_reference().as_ptr()) {
        return Some(known.stale_reference);
    }
    // SAFETY: a static class.
    if exception.is_a(unsafe { ffi::PyExc_StopIteration }) {
        return Some(env.tuple(&[known.stop_iteration, known.none]));
    }
    None
}

/// `{Kind, Reason}` of an exception that came from Erlang; none where code has made it, or changed it.
fn erlang_reason(env: &TermEnv, types: &Types, exception: &Object<'_>) -> Option<Word> {
    let py = exception.py();
    let term = Object::str(py, "_term").and_then(|name| exception.getattr_optional(&name));
    match term {
        // SAFETY: attached to the interpreter of the types; the object is alive.
        Ok(Some(term)) => match unsafe { types.native(env, term.as_ptr()) } {
            Some(Native::Term(word)) => Some(word),
            _ => None,
        },
        Ok(None) => None,
        Err(raised) => {
            raised.clear(py);
            None
        }
    }
}

/// The name of an exception's class. `PyType_GetName` runs no code of users, whatever the class.
fn class_name(exception: &Object<'_>) -> String {
    let py = exception.py();
    // SAFETY: attached; the type of a live object.
    let name = unsafe {
        Object::owned_or_raised(py, ffi::PyType_GetName(ffi::Py_TYPE(exception.as_ptr())))
    };
    name.and_then(|name| text::head(&name, text::TEXT))
        .unwrap_or_else(|raised| {
            raised.clear(py);
            "?".into()
        })
}

/// An atom, or a binary once Python code has used up the atoms that it may create.
fn class_word(env: &TermEnv, class: &str) -> Word {
    match intern(env.raw(), class) {
        Interned::Atom(atom) => atom,
        Interned::Refused => env.binary(class.as_bytes()),
    }
}

/// The names of attributes that stories are made of, each made once for an interpreter.
pub(crate) struct Attributes {
    module: Kept,
    notes: Kept,
    file: Kept,
    function: Kept,
}

impl Attributes {
    pub(crate) fn new(py: Python<'_>) -> Result<Self> {
        let make = |name: &std::ffi::CStr| {
            // SAFETY: attached; the text ends with a zero.
            let name = unsafe {
                Object::owned_or_raised(py, ffi::PyUnicode_InternFromString(name.as_ptr()))
            };
            name.map(Object::keep)
        };
        Ok(Self {
            module: make(c"__module__")?,
            notes: make(c"__notes__")?,
            file: make(c"co_filename")?,
            function: make(c"co_qualname")?,
        })
    }

    pub(crate) fn release(self, py: Python<'_>) {
        self.module.release(py);
        self.notes.release(py);
        self.file.release(py);
        self.function.release(py);
    }
}
