//! What `py:last_error/0` tells: an exception with its frames and notes, and the ones behind it.
//!
//! A story is `{Class, Module, Message, Frames, Details}`. `Details` is a list of pairs for what most
//! exceptions do not have. Whatever the exceptions look like, a story has bounds: see the constants.

use super::frames::FRAMES;
use super::text::{ALL_TEXTS, TEXT, head};
use super::{class_name, class_word};
use crate::beam::{TermEnv, Word, atoms};
use crate::interp::owner::Owner;
use crate::interp::sources::Lines;
use crate::py::{Object, Python, Raised, Result, ffi};

/// The exceptions of one story: causes, contexts, and members of groups. Beyond that they are counted only.
const EXCEPTIONS: usize = 100;

/// The frames of all of them but the first.
const ALL_FRAMES: usize = 1000;

/// The notes of one exception.
const NOTES: usize = 100;

/// Tells one story.
pub(super) struct Teller<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) env: &'a TermEnv,
    pub(super) owner: &'a Owner,
    pub(super) lines: Lines<'py>,
    /// The exceptions so far, kept so that no other one gets the address of one of them.
    told: Vec<Object<'py>>,
    exceptions: usize,
    frames_left: usize,
    characters: usize,
    interrupt: Option<Object<'py>>,
    /// The request was interrupted: no code of users is run any more, since one interrupt ends one function
    /// only, and there may be many.
    interrupted: bool,
}

impl<'a, 'py> Teller<'a, 'py> {
    pub(super) fn new(py: Python<'py>, env: &'a TermEnv, owner: &'a Owner) -> Self {
        Self {
            py,
            env,
            owner,
            lines: Lines::default(),
            told: Vec::new(),
            exceptions: EXCEPTIONS,
            frames_left: ALL_FRAMES,
            characters: ALL_TEXTS,
            interrupt: None,
            interrupted: false,
        }
    }

    pub(super) fn may_run_code(&self) -> bool {
        !self.interrupted
    }

    /// Whether its `__str__` is known to be CPython's own.
    pub(super) fn is_harmless(&self, object: &Object<'py>) -> bool {
        // SAFETY: reads the type of a live object.
        let class: *mut ffi::PyObject = unsafe { ffi::Py_TYPE(object.as_ptr()).cast() };
        class == self.owner.types.interrupted()
    }

    /// The interrupt that came while code of users ran.
    pub(super) fn take_interrupt(&mut self) -> Option<Object<'py>> {
        self.interrupt.take()
    }

    /// An exception raised while a story is made is no part of it, but an interrupt is noted.
    pub(super) fn tolerate<T>(&mut self, result: Result<T>) -> Option<T> {
        let raised = match result {
            Ok(value) => return Some(value),
            Err(raised) => raised,
        };
        let exception = raised.fetch(self.py)?;
        if exception.is_a(self.owner.types.interrupted()) {
            self.interrupted = true;
            self.interrupt = Some(exception);
        }
        None
    }

    /// The story of the exception that is answered.
    pub(super) fn whole(&mut self, exception: &Object<'py>, class: Word, message: &str) -> Word {
        self.exceptions -= 1;
        self.story(exception, class, message, FRAMES)
    }

    /// The story of one behind it, unless it was told already or there is no room for it.
    fn part(&mut self, exception: &Object<'py>) -> Option<Word> {
        self.exceptions = self.exceptions.checked_sub(1)?;
        let message = self.bounded(|teller, most| Some(teller.message(exception, most)))?;
        let class = class_word(self.env, &class_name(exception));
        let most = self.frames_left.min(FRAMES);
        Some(self.story(exception, class, &message, most))
    }

    /// A text within what is left for all of them.
    fn bounded(&mut self, make: impl FnOnce(&mut Self, usize) -> Option<String>) -> Option<String> {
        let text = make(self, self.characters.min(TEXT))?;
        // Bytes are no fewer than characters, and cost nothing to count.
        self.characters = self.characters.saturating_sub(text.len());
        Some(text)
    }

    fn story(
        &mut self,
        exception: &Object<'py>,
        class: Word,
        message: &str,
        most_frames: usize,
    ) -> Word {
        let (env, known) = (self.env, atoms());
        self.told.push(exception.again());
        let mut details = Details::default();
        let (frames, left_out) = self.frames(exception, most_frames);
        if self.told.len() > 1 {
            self.frames_left -= frames.len();
        }
        details.leave_out(env, known.frames, left_out);
        self.name(exception, &mut details);
        self.notes(exception, &mut details);
        if let Some(syntax) = self.syntax(exception) {
            details.add(env, known.syntax, syntax);
        }
        self.chain(exception, &mut details);
        self.members(exception, &mut details);
        let module = self.module(exception);
        env.tuple(&[
            class,
            env.binary(module.as_bytes()),
            env.binary(message.as_bytes()),
            env.list_of(&frames),
            details.word(env),
        ])
    }

    /// `__qualname__`, where it is not just the name.
    fn name(&mut self, exception: &Object<'py>, details: &mut Details) {
        // SAFETY: attached; the type of a live object.
        let name = unsafe {
            let class = ffi::Py_TYPE(exception.as_ptr());
            Object::owned_or_raised(self.py, ffi::PyType_GetQualName(class))
        };
        let name = name.and_then(|name| head(&name, TEXT));
        if let Some(name) = self.tolerate(name)
            && name != class_name(exception)
        {
            let name = self.env.binary(name.as_bytes());
            details.add(self.env, atoms().qualname, name);
        }
    }

    /// `__module__` of the class, which may be anything, and whose metaclass may answer instead.
    fn module(&mut self, exception: &Object<'py>) -> String {
        // SAFETY: attached; the type of a live object.
        let class = unsafe { Object::borrowed(self.py, ffi::Py_TYPE(exception.as_ptr()).cast()) };
        if !self.may_run_code() && !self.is_harmless(exception) {
            return "<unknown>".into();
        }
        let module = class.getattr(&self.owner.attributes.module.get(self.py));
        let module = module.and_then(|module| {
            // SAFETY: attached; reads the type of a live object.
            let is_text = unsafe { ffi::PyUnicode_Check(module.as_ptr()) } != 0;
            is_text.then(|| head(&module, TEXT)).transpose()
        });
        self.tolerate(module)
            .flatten()
            .unwrap_or_else(|| "<unknown>".into())
    }

    /// `__notes__`, which may be anything.
    fn notes(&mut self, exception: &Object<'py>, details: &mut Details) {
        if !self.may_run_code() {
            return;
        }
        let mut notes = std::ptr::null_mut();
        let name = self.owner.attributes.notes.get(self.py);
        // SAFETY: attached; both are alive. A new reference, or null with or without an exception.
        let notes = unsafe {
            let found = ffi::compat::PyObject_GetOptionalAttr(
                exception.as_ptr(),
                name.as_ptr(),
                &mut notes,
            );
            if found < 0 {
                Err(Raised::seen(self.py))
            } else {
                Ok(Object::owned(self.py, notes))
            }
        };
        let notes = match self.tolerate(notes) {
            Some(None) => return,
            // SAFETY: the address of an immortal object.
            Some(Some(notes)) if notes.as_ptr() == unsafe { ffi::Py_None() } => return,
            Some(Some(notes)) => notes,
            None => {
                let text = format!("<the __notes__ of this {} failed>", class_name(exception));
                let only = self.env.binary(text.as_bytes());
                details.add(self.env, atoms().notes, self.env.list_of(&[only]));
                return;
            }
        };
        let (texts, left_out) = self.note_texts(&notes);
        if !texts.is_empty() {
            details.add(self.env, atoms().notes, self.env.list_of(&texts));
        }
        details.leave_out(self.env, atoms().notes, left_out);
    }

    fn note_texts(&mut self, notes: &Object<'py>) -> (Vec<Word>, usize) {
        let Some(notes) = Sequence::of(notes) else {
            let text = self.bounded(|teller, most| teller.repr(notes, most));
            let text = text.unwrap_or_else(|| "<__notes__ repr() failed>".into());
            return (vec![self.env.binary(text.as_bytes())], 0);
        };
        let mut words = Vec::new();
        // The text of a note may be made by code of users, which may change the list.
        while let Some(note) = notes.get(words.len()) {
            if words.len() == NOTES || self.characters == 0 || !self.may_run_code() {
                break;
            }
            let text = self.bounded(|teller, most| teller.str(&note, most));
            let text = text.unwrap_or_else(|| "<note str() failed>".into());
            words.push(self.env.binary(text.as_bytes()));
        }
        let left_out = notes.len().saturating_sub(words.len());
        (words, left_out)
    }

    /// The cause, or else the context unless it is suppressed, as Python prints them. They are read from where
    /// CPython keeps them, so that properties of the same names mean nothing.
    fn chain(&mut self, exception: &Object<'py>, details: &mut Details) {
        let known = atoms();
        // SAFETY: attached; an exception. New references or null; the flag is one byte of its structure.
        let (cause, context, suppressed) = unsafe {
            let object = exception.as_ptr();
            let base = object.cast::<ffi::PyBaseExceptionObject>();
            let suppressed = (&raw const (*base).suppress_context).cast::<u8>();
            (
                Object::owned(self.py, ffi::PyException_GetCause(object)),
                Object::owned(self.py, ffi::PyException_GetContext(object)),
                suppressed.read() != 0,
            )
        };
        let has_cause = cause.is_some_and(|cause| self.link(known.cause, &cause, details));
        if !has_cause
            && !suppressed
            && let Some(context) = context
        {
            self.link(known.context, &context, details);
        }
    }

    /// Adds the exception behind another one; `false` when it is only counted.
    fn link(&mut self, key: Word, exception: &Object<'py>, details: &mut Details) -> bool {
        let known = self
            .told
            .iter()
            .any(|told| told.as_ptr() == exception.as_ptr());
        let part = if known { None } else { self.part(exception) };
        match part {
            Some(part) => details.add(self.env, key, part),
            None => details.leave_out(self.env, key, 1),
        }
        part.is_some()
    }

    /// The exceptions of a group.
    fn members(&mut self, exception: &Object<'py>, details: &mut Details) {
        // SAFETY: a static class.
        let group = unsafe { ffi::PyExc_BaseExceptionGroup };
        if !exception.is_a(group) {
            return;
        }
        // By the descriptor of the class itself: one that derives from it may have a property of that name.
        // SAFETY: attached; the class is alive.
        let members = unsafe { Object::borrowed(self.py, group) }
            .getattr_str("exceptions")
            .and_then(|descriptor| descriptor.getattr_str("__get__")?.call(&[exception]));
        let Some(members) = self.tolerate(members) else {
            return;
        };
        let Some(members) = Sequence::of(&members) else {
            return;
        };
        let mut words = Vec::new();
        while let Some(member) = members.get(words.len()) {
            let Some(word) = self.part(&member) else {
                break;
            };
            words.push(word);
        }
        let left_out = members.len().saturating_sub(words.len());
        details.add(self.env, atoms().exceptions, self.env.list_of(&words));
        details.leave_out(self.env, atoms().exceptions, left_out);
    }
}

/// What most exceptions do not have.
#[derive(Default)]
struct Details {
    pairs: Vec<Word>,
    left_out: Vec<Word>,
}

impl Details {
    fn add(&mut self, env: &TermEnv, key: Word, value: Word) {
        self.pairs.push(env.tuple(&[key, value]));
    }

    /// So many of a kind are not told.
    fn leave_out(&mut self, env: &TermEnv, key: Word, count: usize) {
        if count > 0 {
            let count = env.int(i64::try_from(count).unwrap_or(i64::MAX));
            self.left_out.push(env.tuple(&[key, count]));
        }
    }

    fn word(mut self, env: &TermEnv) -> Word {
        if !self.left_out.is_empty() {
            let left_out = env.list_of(&self.left_out);
            self.add(env, atoms().omitted, left_out);
        }
        env.list_of(&self.pairs)
    }
}

/// A list or a tuple. Its size and elements are read without code of users, and anew each time.
struct Sequence<'a, 'py>(&'a Object<'py>);

impl<'a, 'py> Sequence<'a, 'py> {
    fn of(object: &'a Object<'py>) -> Option<Self> {
        // SAFETY: attached; reads the type of a live object.
        unsafe {
            let object = object.as_ptr();
            ffi::PyList_Check(object) != 0 || ffi::PyTuple_Check(object) != 0
        }
        .then_some(Self(object))
    }

    fn len(&self) -> usize {
        let object = self.0.as_ptr();
        // SAFETY: attached; a list or a tuple.
        let size = unsafe {
            if ffi::PyList_Check(object) != 0 {
                ffi::PyList_GET_SIZE(object)
            } else {
                ffi::PyTuple_GET_SIZE(object)
            }
        };
        size.unsigned_abs()
    }

    fn get(&self, index: usize) -> Option<Object<'py>> {
        if index >= self.len() {
            return None;
        }
        let (py, object, index) = (self.0.py(), self.0.as_ptr(), index.cast_signed());
        // SAFETY: attached. A list gives a new reference, or null when another thread has made it shorter; a
        // tuple, which cannot change, has an element in that place.
        unsafe {
            if ffi::PyTuple_Check(object) != 0 {
                return Some(Object::borrowed(py, ffi::PyTuple_GET_ITEM(object, index)));
            }
            Object::owned_or_raised(py, ffi::compat::PyList_GetItemRef(object, index))
                .map_err(|raised| raised.clear(py))
                .ok()
        }
    }
}
