//! The functions of `_erlang` by which Python code reaches Erlang.

use super::answers::Answers;
use super::call::{Function, call, received, submit};
use super::names::is_known;
use super::send;
use super::stage::Stage;
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Raised, Result, ffi};
use std::sync::Arc;

/// A method table that CPython only reads.
struct Methods<const N: usize>([ffi::PyMethodDef; N]);
// SAFETY: constant data.
unsafe impl<const N: usize> Sync for Methods<N> {}

/// What CPython passes: positional arguments, then those by name, and the names.
type FastCall = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

const fn method(
    name: &'static std::ffi::CStr,
    body: FastCall,
    doc: &'static std::ffi::CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: body,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

static METHODS: Methods<12> = Methods([
    method(c"call", py_call, c"call(name, /, *args)\n--\n\nCall the Erlang function that is registered under a name, and wait for its value.\n\nAn Erlang exception is raised as ErlangError, as is a name that is not registered."),
    method(c"call_fun", py_call_fun, c"call_fun(fun, /, *args)\n--\n\nCall an Erlang fun with as many arguments, and wait for its value."),
    method(c"is_registered", py_is_registered, c"is_registered(name, /)\n--\n\nWhether an Erlang function is registered under a name."),
    method(c"send", py_send, c"send(to, term, /)\n--\n\nSend a message to a Pid, or to a registered name of another node: (name, node).\n\nProcessError when it cannot be sent: a process of this node has ended, or too much waits for other nodes."),
    method(c"whereis", py_whereis, c"whereis(name, /)\n--\n\nThe Pid that is registered under a name, or None."),
    method(c"consume_time_slice", py_consume_time_slice, c"consume_time_slice(percent, /)\n--\n\nWhether the turn of the request is over, after so much more of it was used."),
    method(c"answers_open", py_answers_open, c"answers_open()\n--\n\nA handle for calls of an event loop, and the descriptor that becomes readable when answers have come."),
    method(c"answers_submit", py_answers_submit, c"answers_submit(handle, number, function, args, /)\n--\n\nCall an Erlang function, by name or an Fun, and have the answer under a number."),
    method(c"answers_take", py_answers_take, c"answers_take(handle, into, /)\n--\n\nAppend what has come to a list: (number, True, value) and (number, False, exception)."),
    method(c"answers_forget", py_answers_forget, c"answers_forget(handle, number, /)\n--\n\nThe answer is not wanted any more."),
    method(c"answers_close", py_answers_close, c"answers_close(handle, /)\n--\n\nNo answer is wanted any more. Closes the descriptor."),
    ffi::PyMethodDef::zeroed(),
]);

/// Adds the functions to the module of the attached interpreter.
pub(crate) fn add_functions(py: Python<'_>) -> Result<()> {
    let module = Object::import(py, "_erlang")?;
    let table = (&raw const METHODS.0).cast_mut().cast();
    // SAFETY: attached; a module and a static table that CPython only reads.
    match unsafe { ffi::PyModule_AddFunctions(module.as_ptr(), table) } {
        0 => Ok(()),
        _ => Err(Raised::seen(py)),
    }
}

/// The arguments of one call.
struct Arguments<'py> {
    py: Python<'py>,
    name: &'static str,
    values: Vec<Object<'py>>,
}

impl<'py> Arguments<'py> {
    /// # Safety
    /// What CPython has passed to a function of the table.
    unsafe fn read(
        py: Python<'py>,
        name: &'static str,
        values: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Result<Self> {
        if !names.is_null() {
            return Err(Raised::type_error(
                py,
                &format!(
                    "erlang.{name}() takes no keyword arguments: Erlang functions have none; pass a dict"
                ),
            ));
        }
        let values = (0..count)
            // SAFETY: the caller's promise; the arguments live for the call.
            .map(|i| unsafe { Object::borrowed(py, *values.offset(i)) })
            .collect();
        Ok(Self { py, name, values })
    }

    /// Exactly so many.
    fn exactly<const N: usize>(&self) -> Result<&[Object<'py>; N]> {
        self.values.as_slice().try_into().map_err(|_| {
            let count = self.values.len();
            let text = format!("erlang.{}() takes {N} arguments ({count} given)", self.name);
            Raised::type_error(self.py, &text)
        })
    }

    /// The first, and the rest.
    fn first(&self, what: &str) -> Result<(&Object<'py>, &[Object<'py>])> {
        self.values.split_first().ok_or_else(|| {
            let text = format!("erlang.{}() needs {what}", self.name);
            Raised::type_error(self.py, &text)
        })
    }
}

/// The text of a str.
fn name(object: &Object<'_>, what: &str) -> Result<String> {
    object.str_of()?.ok_or_else(|| {
        let py = object.py();
        Raised::type_error(py, &format!("{what} is a str, not {}", object.type_name()))
    })
}

macro_rules! function {
    ($entry:ident, $name:literal, $body:expr) => {
        unsafe extern "C" fn $entry(
            _module: *mut ffi::PyObject,
            values: *const *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            trampoline::object(|py| {
                // SAFETY: CPython passes what it says.
                let arguments = unsafe { Arguments::read(py, $name, values, count, names)? };
                let body: for<'py> fn(Python<'py>, &Arguments<'py>) -> Result<Object<'py>> = $body;
                body(py, &arguments)
            })
        }
    };
}

function!(py_call, "call", |py, arguments| {
    let (first, rest) = arguments.first("the name of a function")?;
    call(
        py,
        Function::Named(&name(first, "the name of an Erlang function")?),
        rest,
    )
});

function!(py_call_fun, "call_fun", |py, arguments| {
    let (fun, rest) = arguments.first("an erlang.Fun")?;
    call(py, Function::Fun(fun), rest)
});

function!(py_is_registered, "is_registered", |py, arguments| {
    let [first] = arguments.exactly()?;
    // One that no Erlang text can be is none.
    let known = match first.str_of() {
        Ok(Some(name)) => is_known(&name),
        Ok(None) => return Err(Raised::type_error(py, "a name is a str")),
        Err(raised) => {
            raised.clear(py);
            false
        }
    };
    Ok(Object::bool(py, known))
});

function!(py_send, "send", |py, arguments| {
    let [to, term] = arguments.exactly()?;
    send::send(py, to, term)?;
    Ok(Object::none(py))
});

function!(py_whereis, "whereis", |py, arguments| {
    let [first] = arguments.exactly()?;
    let pid = send::whereis(py, &name(first, "a registered name")?)?;
    Ok(pid.unwrap_or_else(|| Object::none(py)))
});

function!(
    py_consume_time_slice,
    "consume_time_slice",
    |py, arguments| {
        let [percent] = arguments.exactly()?;
        let percent = percent.as_int()?;
        let over = Stage::here().is_some_and(|stage| stage.consume(percent));
        Ok(Object::bool(py, over))
    }
);

function!(py_answers_open, "answers_open", |py, arguments| {
    let [] = arguments.exactly()?;
    let context = Stage::here().map(|stage| stage.context.serial);
    let (handle, descriptor) =
        Answers::open(context).map_err(|error| Raised::os_error(py, &error))?;
    Object::tuple(
        py,
        [
            Object::int(py, handle.cast_signed())?,
            Object::int(py, i64::from(descriptor))?,
        ],
    )
});

fn number(object: &Object<'_>) -> Result<u64> {
    Ok(object.as_int()?.cast_unsigned())
}

fn answers<'py>(py: Python<'py>, handle: &Object<'py>) -> Result<Arc<Answers>> {
    Answers::get(number(handle)?).ok_or_else(|| Raised::value_error(py, "there is no such handle"))
}

function!(py_answers_submit, "answers_submit", |py, arguments| {
    let [handle, id, function, values] = arguments.exactly()?;
    let answers = answers(py, handle)?;
    let id = number(id)?;
    let values = values.tuple_items()?;
    match function.str_of()? {
        Some(text) => submit(py, Function::Named(&text), &values, &answers, id)?,
        None => submit(py, Function::Fun(function), &values, &answers, id)?,
    }
    Ok(Object::none(py))
});

function!(py_answers_take, "answers_take", |py, arguments| {
    let [handle, list] = arguments.exactly()?;
    for (number, reply) in answers(py, handle)?.take() {
        let (good, value) = match received(py, &reply) {
            Ok(Ok(value)) => (true, value),
            Ok(Err(exception)) => (false, exception),
            // What cannot be converted is that call's error.
            Err(raised) => match raised.fetch(py) {
                Some(exception) => (false, exception),
                None => continue,
            },
        };
        let number = Object::int(py, number.cast_signed())?;
        list.append(&Object::tuple(py, [number, Object::bool(py, good), value])?)?;
    }
    Ok(Object::none(py))
});

function!(py_answers_forget, "answers_forget", |py, arguments| {
    let [handle, id] = arguments.exactly()?;
    if let Some(answers) = Answers::get(number(handle)?) {
        answers.forget(number(id)?);
    }
    Ok(Object::none(py))
});

function!(py_answers_close, "answers_close", |py, arguments| {
    let [handle] = arguments.exactly()?;
    Answers::close(number(handle)?);
    Ok(Object::none(py))
});
