//! The functions of `_erlang` by which Python code reaches Erlang.

use super::answers::Answers;
use super::call::{Function, call, received, submit};
use super::names::is_known;
use super::send;
use super::stage::Stage;
use crate::interp::python_functions::{Methods, function, method, name, number};
use crate::interp::trace;
use crate::py::{Object, Python, Raised, Result, ffi};
use std::sync::Arc;

pub(crate) static METHODS: Methods<13> = Methods([
    method(c"is_recording", py_is_recording, c"is_recording()\n--\n\nWhether spans are recorded. Whoever asks may have a trace from now on."),
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

function!(py_is_recording, "is_recording", |py, arguments| {
    let [] = arguments.exactly()?;
    trace::is_used();
    Ok(Object::bool(py, trace::is_recording()))
});

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
