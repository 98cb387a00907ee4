//! Exceptions of Erlang in Python: `erlang.ErlangError`.

use super::tools::Tools;
use crate::beam::{TermEnv, Word, atoms};
use crate::py::{Object, Python, Raised, Result, ffi};

/// What came back as a Python object, or as the exception that it is.
pub(super) fn outcome<'py>(
    py: Python<'py>,
    tools: &mut Tools<'_>,
    env: &TermEnv,
    word: Word,
) -> Result<std::result::Result<Object<'py>, Object<'py>>> {
    let known = atoms();
    match env.get_tuple(word) {
        Some(&[ok, value]) if ok == known.ok => tools.object(py, env, value).map(Ok),
        Some(&[raised, kind, reason, text, stack, story]) if raised == known.raised => {
            let exception = Exception {
                kind,
                reason,
                text,
                stack,
                story,
            };
            exception.make(py, tools, env).map(Err)
        }
        _ => Err(Raised::runtime_error(
            py,
            "malformed answer of an Erlang function",
        )),
    }
}

/// Raises an exception object. One that is being handled becomes its context.
pub(super) fn raise(exception: Object<'_>) -> Raised {
    let py = exception.py();
    // SAFETY: attached; a live exception and its class.
    unsafe {
        let class = ffi::Py_TYPE(exception.as_ptr());
        ffi::PyErr_SetObject(class.cast(), exception.as_ptr());
    }
    Raised::seen(py)
}

struct Exception {
    kind: Word,
    reason: Word,
    text: Word,
    stack: Word,
    /// `none`, or the Python exception that a call of the function's own ended with: `{Class, Module, Message, Text}`.
    story: Word,
}

impl Exception {
    fn make<'py>(
        &self,
        py: Python<'py>,
        tools: &mut Tools<'_>,
        env: &TermEnv,
    ) -> Result<Object<'py>> {
        let text = text(py, env, self.text)?;
        let exception = tools.types.erlang_error().get(py).call(&[&text])?;
        let kind = Object::str(py, &env.get_atom(self.kind).unwrap_or_default())?;
        set(&exception, c"kind", &kind)?;
        let reason = or_opaque(py, tools, env, self.reason)?;
        set(&exception, c"reason", &reason)?;
        let stack = or_opaque(py, tools, env, self.stack)?;
        set(&exception, c"stacktrace", &stack)?;
        // What the caller gets if nobody catches it.
        let whole = env.tuple(&[self.kind, self.reason]);
        set(&exception, c"_term", &tools.types.term(py, env, whole)?)?;
        if let Some(&[class, module, message, traceback]) = env.get_tuple(self.story) {
            let cause = cause(py, tools, env, [class, module, message, traceback])?;
            // SAFETY: attached; an exception, and another that is given away.
            unsafe { ffi::PyException_SetCause(exception.as_ptr(), cause.into_ptr()) };
        }
        Ok(exception)
    }
}

fn cause<'py>(
    py: Python<'py>,
    tools: &Tools<'_>,
    env: &TermEnv,
    [class, module, message, traceback]: [Word; 4],
) -> Result<Object<'py>> {
    let class = match env.get_atom(class) {
        Some(name) => Object::str(py, &name)?,
        None => text(py, env, class)?,
    };
    let message = text(py, env, message)?;
    let line = format!("{}: {}", class.str_lossy()?, message.str_lossy()?);
    let line = Object::str(py, &line)?;
    let cause = tools.types.python_error().get(py).call(&[&line])?;
    set(&cause, c"type", &class)?;
    set(&cause, c"module", &text(py, env, module)?)?;
    set(&cause, c"message", &message)?;
    set(&cause, c"traceback", &text(py, env, traceback)?)?;
    Ok(cause)
}

fn text<'py>(py: Python<'py>, env: &TermEnv, word: Word) -> Result<Object<'py>> {
    let bytes = env.get_binary(word).unwrap_or_default();
    Object::str(py, &String::from_utf8_lossy(bytes))
}

/// What has no counterpart in Python stays a term.
fn or_opaque<'py>(
    py: Python<'py>,
    tools: &mut Tools<'_>,
    env: &TermEnv,
    word: Word,
) -> Result<Object<'py>> {
    tools.object(py, env, word).or_else(|raised| {
        let Some(exception) = raised.fetch(py) else {
            return tools.types.term(py, env, word);
        };
        // SAFETY: a static class.
        if exception.is_a(unsafe { ffi::PyExc_Exception }) {
            tools.types.term(py, env, word)
        } else {
            Err(raise(exception))
        }
    })
}

fn set(object: &Object<'_>, name: &std::ffi::CStr, value: &Object<'_>) -> Result<()> {
    // SAFETY: attached; all are alive.
    match unsafe { ffi::PyObject_SetAttrString(object.as_ptr(), name.as_ptr(), value.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Raised::seen(object.py())),
    }
}
