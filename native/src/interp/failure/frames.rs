//! The frames of a traceback.

use super::story::Teller;
use super::text;
use crate::beam::{TermEnv, Word};
use crate::py::{Object, Result, ffi};
use std::ffi::c_int;

/// The frames that are kept of one traceback, half of them at each end.
pub(super) const FRAMES: usize = 200;

/// What was made for the frame before, which in recursions is the same again.
struct Last {
    code: *mut ffi::PyCodeObject,
    line: c_int,
    file: Word,
    function: Word,
    frame: Word,
}

impl<'py> Teller<'_, 'py> {
    /// `{File, Line, Function}` for every frame, outermost first, and a fourth element with the line's text
    /// where it is code that Erlang gave; then how many frames were left out.
    ///
    /// No code of users runs here, so what the traceback refers to stays.
    pub(super) fn frames(&mut self, exception: &Object<'py>, most: usize) -> (Vec<Word>, usize) {
        // SAFETY: attached; a new reference or null.
        let first = unsafe {
            let trace = ffi::PyException_GetTraceback(exception.as_ptr());
            Object::owned(self.py, trace)
        };
        let Some(first) = first else {
            return (Vec::new(), 0);
        };
        let all = Traces(first.as_ptr().cast()).count();
        let outer = most.div_ceil(2);
        let inner = most / 2;
        let mut words = Vec::with_capacity(all.min(most));
        let mut last = None;
        for (i, trace) in Traces(first.as_ptr().cast()).enumerate() {
            if i < outer || i + inner >= all {
                let made = self.frame(trace, &mut last);
                words.extend(self.tolerate(made));
            }
        }
        let left_out = all - words.len();
        (words, left_out)
    }

    fn frame(
        &mut self,
        trace: *mut ffi::PyTracebackObject,
        last: &mut Option<Last>,
    ) -> Result<Word> {
        let (py, env) = (self.py, self.env);
        // SAFETY: attached; a traceback that is alive has a frame, and a frame has code.
        let (code, line) = unsafe {
            let code = Object::owned_or_raised(
                py,
                ffi::PyFrame_GetCode((*trace).tb_frame).cast::<ffi::PyObject>(),
            )?;
            // CPython finds the line out when it is asked for.
            let line = match (*trace).tb_lineno {
                -1 => ffi::PyCode_Addr2Line(code.as_ptr().cast(), (*trace).tb_lasti),
                line => line,
            };
            (code, line.max(0))
        };
        let pointer = code.as_ptr().cast();
        let names = match last {
            Some(last) if last.code == pointer && last.line == line => return Ok(last.frame),
            Some(last) if last.code == pointer => Some((last.file, last.function)),
            _ => None,
        };
        let attributes = &self.owner.attributes;
        let file = code.getattr(&attributes.file.get(py))?;
        let (file_word, function) = match names {
            Some(names) => names,
            None => {
                let function = code.getattr(&attributes.function.get(py))?;
                (name_word(env, &file)?, name_word(env, &function)?)
            }
        };
        let number = env.int(line.into());
        let sources = self.owner.code.sources();
        let source = self
            .lines
            .get(sources, &file, line.unsigned_abs() as usize)?;
        let frame = match source {
            Some(source) => {
                let source = env.binary(text::source_line(source).as_bytes());
                env.tuple(&[file_word, number, function, source])
            }
            None => env.tuple(&[file_word, number, function]),
        };
        *last = Some(Last {
            code: pointer,
            line,
            file: file_word,
            function,
            frame,
        });
        Ok(frame)
    }
}

fn name_word(env: &TermEnv, name: &Object<'_>) -> Result<Word> {
    Ok(env.binary(text::head(name, text::NAME)?.as_bytes()))
}

/// The entries of a traceback, outermost first. CPython keeps them free of loops.
struct Traces(*mut ffi::PyTracebackObject);

impl Iterator for Traces {
    type Item = *mut ffi::PyTracebackObject;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: an entry that is alive, since whoever iterates holds the first one and runs no code that
        // could change the chain.
        let next = unsafe { (*self.0).tb_next };
        Some(std::mem::replace(&mut self.0, next))
    }
}
