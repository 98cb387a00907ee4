//! Code given as text: compiled once for each text, under a file name that tells the texts apart.

use super::sources::Sources;
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::collections::HashMap;
use std::ffi::CString;

/// How a text is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    Expression,
    Statements,
}

impl Grammar {
    fn start(self) -> std::ffi::c_int {
        match self {
            Self::Expression => ffi::Py_eval_input,
            Self::Statements => ffi::Py_file_input,
        }
    }

    /// What the name of the file says.
    fn word(self) -> &'static str {
        match self {
            Self::Expression => "eval",
            Self::Statements => "exec",
        }
    }
}

/// Compiled code by its text, so that the same text is compiled once.
pub(crate) struct CodeCache {
    expressions: HashMap<Box<[u8]>, Kept>,
    statements: HashMap<Box<[u8]>, Kept>,
    bytes: usize,
    sources: Sources,
}

/// Beyond these the cache starts anew.
const MOST_TEXTS: usize = 1024;
const MOST_BYTES: usize = 4 << 20;

impl CodeCache {
    pub(crate) fn new(sources: Sources) -> Self {
        Self {
            expressions: HashMap::new(),
            statements: HashMap::new(),
            bytes: 0,
            sources,
        }
    }

    /// The texts that code was compiled from.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The code object of a text.
    pub(crate) fn get<'py>(
        &mut self,
        py: Python<'py>,
        grammar: Grammar,
        text: &[u8],
    ) -> Result<Object<'py>> {
        // Leading blanks of an expression mean nothing, as for Python's own `eval`.
        let (compiled, text) = match grammar {
            Grammar::Expression => (&self.expressions, text.trim_ascii_start()),
            Grammar::Statements => (&self.statements, text),
        };
        if let Some(code) = compiled.get(text) {
            return Ok(code.get(py));
        }
        let code = self.compile(py, grammar, text)?;
        if text.len() <= MOST_BYTES {
            // SAFETY: attached; a second reference for the cache.
            let kept = unsafe { Object::borrowed(py, code.as_ptr()) }.keep();
            self.insert(py, grammar, text, kept);
        }
        Ok(code)
    }

    fn insert(&mut self, py: Python<'_>, grammar: Grammar, text: &[u8], code: Kept) {
        let texts = self.expressions.len() + self.statements.len();
        if texts >= MOST_TEXTS || self.bytes + text.len() > MOST_BYTES {
            self.clear(py);
        }
        self.bytes += text.len();
        let compiled = match grammar {
            Grammar::Expression => &mut self.expressions,
            Grammar::Statements => &mut self.statements,
        };
        // Compiling may have run code of warnings filters, but none that comes back here: a context runs one
        // request at a time. So no code of this text was there.
        if let Some(before) = compiled.insert(Box::from(text), code) {
            before.release(py);
        }
    }

    fn compile<'py>(
        &mut self,
        py: Python<'py>,
        grammar: Grammar,
        text: &[u8],
    ) -> Result<Object<'py>> {
        let Ok(readable) = std::str::from_utf8(text) else {
            return Err(Raised::value_error(py, "source code must be valid UTF-8"));
        };
        let Ok(terminated) = CString::new(text) else {
            return Err(Raised::value_error(
                py,
                "source code cannot contain null bytes",
            ));
        };
        let file = self.sources.enter(py, grammar.word(), readable)?;
        // SAFETY: attached; the text ends with a zero, the name is a str; the flags live for the call.
        unsafe {
            let mut flags = std::mem::zeroed::<ffi::PyCompilerFlags>();
            flags.cf_flags = PYCF_SOURCE_IS_UTF8 | PYCF_IGNORE_COOKIE;
            flags.cf_feature_version = 12;
            Object::owned_or_raised(
                py,
                ffi::Py_CompileStringObject(
                    terminated.as_ptr(),
                    file.as_ptr(),
                    grammar.start(),
                    &mut flags,
                    -1,
                ),
            )
        }
    }

    /// Drops all code.
    pub(crate) fn clear(&mut self, py: Python<'_>) {
        self.bytes = 0;
        for (_, code) in self.expressions.drain().chain(self.statements.drain()) {
            code.release(py);
        }
    }

    pub(crate) fn release(mut self, py: Python<'_>) {
        self.clear(py);
        self.sources.release(py);
    }
}

/// From CPython's `compile.h`, the same in 3.12 to 3.15.
const PYCF_SOURCE_IS_UTF8: std::ffi::c_int = 0x0100;
const PYCF_IGNORE_COOKIE: std::ffi::c_int = 0x0800;
