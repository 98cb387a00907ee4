//! Where `eval` and `exec` run: a namespace per client, and compiled code by its text.

use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::collections::HashMap;
use std::ffi::CString;

/// The namespaces of one context, by client.
///
/// Each is a module object entered into `sys.modules` under the name that its functions and classes carry,
/// so that pickling, dataclasses and `typing.get_type_hints` find them.
#[derive(Default)]
pub(crate) struct Namespaces(HashMap<u64, Kept>);

impl Namespaces {
    fn name(py: Python<'_>, client: u64) -> Result<Object<'_>> {
        Object::str(py, &format!("_erlang_process_{client}"))
    }

    /// The module of a client, made at its first use.
    pub(crate) fn module<'py>(&mut self, py: Python<'py>, client: u64) -> Result<Object<'py>> {
        if let Some(module) = self.0.get(&client) {
            return Ok(module.get(py));
        }
        let name = Self::name(py, client)?;
        // SAFETY: attached; the dict of a module is borrowed from it; dicts take references of their own.
        let module = unsafe {
            let module = Object::owned_or_raised(py, ffi::PyModule_NewObject(name.as_ptr()))?;
            let dict = ffi::PyModule_GetDict(module.as_ptr());
            let builtins = ffi::PyEval_GetBuiltins();
            if ffi::PyDict_SetItemString(dict, c"__builtins__".as_ptr(), builtins) != 0
                || ffi::PyDict_SetItem(
                    ffi::PyImport_GetModuleDict(),
                    name.as_ptr(),
                    module.as_ptr(),
                ) != 0
            {
                return Err(Raised::seen(py));
            }
            module
        };
        // SAFETY: attached; a second reference for the table.
        let kept = unsafe { Object::borrowed(py, module.as_ptr()) }.keep();
        self.0.insert(client, kept);
        Ok(module)
    }

    /// The dict of a client's module.
    pub(crate) fn dict<'py>(&mut self, py: Python<'py>, client: u64) -> Result<Object<'py>> {
        let module = self.module(py, client)?;
        // SAFETY: attached; borrowed from the module, which the table keeps.
        Ok(unsafe { Object::borrowed(py, ffi::PyModule_GetDict(module.as_ptr())) })
    }

    /// A client is gone.
    pub(crate) fn remove(&mut self, py: Python<'_>, client: u64) {
        let Some(module) = self.0.remove(&client) else {
            return;
        };
        if let Err(raised) = Self::forget(py, client) {
            raised.clear(py);
        }
        module.release(py);
    }

    fn forget(py: Python<'_>, client: u64) -> Result<()> {
        let name = Self::name(py, client)?;
        // SAFETY: attached; `sys.modules` is borrowed. User code may have removed the entry.
        unsafe {
            let modules = ffi::PyImport_GetModuleDict();
            match ffi::PyDict_Contains(modules, name.as_ptr()) {
                1 if ffi::PyDict_DelItem(modules, name.as_ptr()) == 0 => Ok(()),
                0 => Ok(()),
                _ => Err(Raised::seen(py)),
            }
        }
    }

    /// All clients are gone.
    pub(crate) fn clear(&mut self, py: Python<'_>) {
        for client in self.0.keys().copied().collect::<Vec<_>>() {
            self.remove(py, client);
        }
    }
}

/// How a text is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    Expression,
    Statements,
}

/// Compiled code by its text, so that the same text is compiled once.
#[derive(Default)]
pub(crate) struct CodeCache {
    expressions: HashMap<Box<[u8]>, Kept>,
    statements: HashMap<Box<[u8]>, Kept>,
    bytes: usize,
}

/// Beyond these the cache starts anew.
const MOST_TEXTS: usize = 1024;
const MOST_BYTES: usize = 4 << 20;

impl CodeCache {
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
        let code = compile(py, grammar, text)?;
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
        compiled.insert(Box::from(text), code);
    }

    pub(crate) fn clear(&mut self, py: Python<'_>) {
        self.bytes = 0;
        for (_, code) in self.expressions.drain().chain(self.statements.drain()) {
            code.release(py);
        }
    }
}

/// From CPython's `compile.h`, the same in 3.12 to 3.15.
const PYCF_SOURCE_IS_UTF8: std::ffi::c_int = 0x0100;
const PYCF_IGNORE_COOKIE: std::ffi::c_int = 0x0800;

fn compile<'py>(py: Python<'py>, grammar: Grammar, text: &[u8]) -> Result<Object<'py>> {
    if std::str::from_utf8(text).is_err() {
        return Err(Raised::value_error(py, "source code must be valid UTF-8"));
    }
    let Ok(text) = CString::new(text) else {
        return Err(Raised::value_error(
            py,
            "source code cannot contain null bytes",
        ));
    };
    let start = match grammar {
        Grammar::Expression => ffi::Py_eval_input,
        Grammar::Statements => ffi::Py_file_input,
    };
    // SAFETY: attached; both texts end with zeros; the flags live for the call.
    unsafe {
        let mut flags = std::mem::zeroed::<ffi::PyCompilerFlags>();
        flags.cf_flags = PYCF_SOURCE_IS_UTF8 | PYCF_IGNORE_COOKIE;
        flags.cf_feature_version = 12;
        Object::owned_or_raised(
            py,
            ffi::Py_CompileStringExFlags(
                text.as_ptr(),
                c"<erlang>".as_ptr(),
                start,
                &mut flags,
                -1,
            ),
        )
    }
}
