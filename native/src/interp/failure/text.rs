//! Texts that Python code made, within bounds.

use super::story::Teller;
use crate::py::{Object, Result, ffi};

/// So many characters of the message of the exception that is answered. As a list they take 16 bytes each.
pub(super) const MESSAGE: usize = 10_000_000;

/// So many of any other text, as long as [`ALL_TEXTS`] allows.
pub(super) const TEXT: usize = 10_000;
pub(super) const ALL_TEXTS: usize = 250_000;

/// So many of the name of a file or a function.
pub(super) const NAME: usize = 4096;

/// So many of a source line.
const SOURCE_LINE: usize = 1000;

/// A str as far as `most` characters; a longer one says how much is missing. Lone surrogates are written as
/// Python's `backslashreplace` does, since Erlang's texts cannot hold them.
pub(super) fn head(text: &Object<'_>, most: usize) -> Result<String> {
    let py = text.py();
    // SAFETY: attached; a str.
    let length = usize::try_from(unsafe { ffi::PyUnicode_GetLength(text.as_ptr()) }).unwrap_or(0);
    if length <= most {
        return text.str_lossy();
    }
    // SAFETY: attached; a str, and the end is within it.
    let mut head = unsafe {
        Object::owned_or_raised(
            py,
            ffi::PyUnicode_Substring(text.as_ptr(), 0, most.cast_signed()),
        )?
        .str_lossy()?
    };
    head.push_str(&missing(length - most));
    Ok(head)
}

fn missing(characters: usize) -> String {
    format!(" ... [{characters} more characters]")
}

/// A source line, cut like any other text.
pub(super) fn source_line(line: &str) -> std::borrow::Cow<'_, str> {
    match line.char_indices().nth(SOURCE_LINE) {
        None => line.into(),
        Some((end, _)) => {
            format!("{}{}", &line[..end], missing(line[end..].chars().count())).into()
        }
    }
}

impl<'py> Teller<'_, 'py> {
    /// `str(exception)`; a module that refuses its interpreter is told apart, with the remedy.
    pub(super) fn message(&mut self, exception: &Object<'py>, most: usize) -> String {
        let Some(text) = self.str(exception, most) else {
            let class = super::class_name(exception);
            return if self.may_run_code() {
                format!("<the __str__ of this {class} failed>")
            } else {
                format!("<this {class} was not asked for its text: the call was interrupted>")
            };
        };
        // SAFETY: a static class.
        let import_error = exception.is_a(unsafe { ffi::PyExc_ImportError });
        if import_error && text.contains("does not support loading in subinterpreters") {
            return format!("this module needs a context with mode => worker: {text}");
        }
        text
    }

    /// `str(object)`, unless that raises.
    pub(super) fn str(&mut self, object: &Object<'py>, most: usize) -> Option<String> {
        // SAFETY: attached; an object that is alive.
        self.asked(object, most, ffi::PyObject_Str)
    }

    /// `repr(object)`, unless that raises.
    pub(super) fn repr(&mut self, object: &Object<'py>, most: usize) -> Option<String> {
        self.asked(object, most, ffi::PyObject_Repr)
    }

    fn asked(
        &mut self,
        object: &Object<'py>,
        most: usize,
        ask: unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject,
    ) -> Option<String> {
        if !self.may_run_code() && !self.is_harmless(object) {
            return None;
        }
        // SAFETY: attached; an object that is alive; both functions take any.
        let text = unsafe { Object::owned_or_raised(self.py, ask(object.as_ptr())) };
        let text = text.and_then(|text| head(&text, most));
        self.tolerate(text)
    }
}
