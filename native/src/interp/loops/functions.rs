//! The functions of `_erlang` that event loops are made of.

use super::tasks;
use super::wait::Wait;
use crate::interp::Stage;
use crate::interp::python_functions::{Methods, function, method, number};
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::sandbox::{descriptors, refuse_to_wait};
use py_core::event::{Interest, Poller};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

pub(crate) static METHODS: Methods<16> = Methods([
    method(c"loop_open", py_loop_open, c"loop_open()\n--\n\nThe number of a new set of descriptors to wait for."),
    method(c"loop_close", py_loop_close, c"loop_close(number, /)\n--\n\nClose a set of descriptors."),
    method(c"loop_add", py_loop_add, c"loop_add(number, fd, events, /)\n--\n\nWait for a descriptor: 1 to read, 2 to write, 3 for both."),
    method(c"loop_modify", py_loop_modify, c"loop_modify(number, fd, events, /)\n--\n\nWait for something else of a descriptor. False: it was closed, and is another file's now."),
    method(c"loop_remove", py_loop_remove, c"loop_remove(number, fd, /)\n--\n\nWait no more for a descriptor, which may have been closed."),
    method(c"loop_wait", py_loop_wait, c"loop_wait(number, timeout, keys, loop, /)\n--\n\nWait so many seconds, None for ever, and give (keys[fd], events) for what is ready.\n\nOn the owner thread of a context what comes for that is served meanwhile."),
    method(c"loop_wake", py_loop_wake, c"loop_wake(number, /)\n--\n\nEnd the wait of a loop. May be called on any thread."),
    method(c"current_request", py_current_request, c"current_request()\n--\n\nThe number of the request that the context runs, 0 for none."),
    method(c"task_finish", py_task_finish, c"task_finish(task, succeeded, value, /)\n--\n\nA task has ended with a value or an exception."),
    method(c"is_closing", py_is_closing, c"is_closing()\n--\n\nWhether the context of the calling thread closes."),
    method(c"serves", py_serves, c"serves()\n--\n\nWhether the calling thread is the one that serves a context."),
    method(c"drive_loop", py_drive_loop, c"drive_loop(has_loop, /)\n--\n\nThe context has a loop of its own from now on, to be driven when nothing else runs, or has none any more."),
    method(c"loop_pumps", py_loop_pumps, c"loop_pumps(pumps, /)\n--\n\nThe loop of the context runs from now on, or runs no longer; gives what was before."),
    method(c"adopt_descriptor", py_adopt_descriptor, c"adopt_descriptor(fd, /)\n--\n\nSay that a descriptor is this context's, as C code that it called has opened it."),
    method(c"duplicate_socket", py_duplicate_socket, c"duplicate_socket(fd, /)\n--\n\nA descriptor of one's own for a socket of Erlang's."),
    ffi::PyMethodDef::zeroed(),
]);

fn poller<'py>(py: Python<'py>, object: &Object<'py>) -> Result<Arc<Poller>> {
    Poller::get(number(object)?).ok_or_else(|| Raised::value_error(py, "the event loop is closed"))
}

fn descriptor(object: &Object<'_>) -> Result<RawFd> {
    let py = object.py();
    let value = object.as_int()?;
    RawFd::try_from(value).map_err(|_| Raised::value_error(py, "not a file descriptor"))
}

fn interest(object: &Object<'_>) -> Result<Interest> {
    let py = object.py();
    match object.as_int()? {
        events @ 1..=3 => Ok(events as Interest),
        _ => Err(Raised::value_error(
            py,
            "events are 1 to read, 2 to write, or 3",
        )),
    }
}

fn checked<T>(py: Python<'_>, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| Raised::os_error(py, &error))
}

function!(py_loop_open, "loop_open", |py, arguments| {
    let [] = arguments.exactly()?;
    refuse_to_wait(py, "an event loop")?;
    let number = checked(py, Poller::open())?;
    if let Some(stage) = Stage::here() {
        // Its thread will sleep there: made now, not at some moment that depends on how busy the machine is.
        let _root = stage.context.root();
    }
    Object::int(py, number.cast_signed())
});

function!(py_loop_close, "loop_close", |py, arguments| {
    let [handle] = arguments.exactly()?;
    Poller::close(number(handle)?);
    Ok(Object::none(py))
});

function!(py_loop_add, "loop_add", |py, arguments| {
    let [handle, fd, events] = arguments.exactly()?;
    let added = poller(py, handle)?.add(descriptor(fd)?, interest(events)?);
    checked(py, added)?;
    Ok(Object::none(py))
});

function!(py_loop_modify, "loop_modify", |py, arguments| {
    let [handle, fd, events] = arguments.exactly()?;
    let modified = poller(py, handle)?.modify(descriptor(fd)?, interest(events)?);
    Ok(Object::bool(py, checked(py, modified)?))
});

function!(py_loop_remove, "loop_remove", |py, arguments| {
    let [handle, fd] = arguments.exactly()?;
    // A closed loop watches nothing.
    if let Some(poller) = Poller::get(number(handle)?) {
        poller.remove(descriptor(fd)?);
    }
    Ok(Object::none(py))
});

function!(py_loop_wait, "loop_wait", |py, arguments| {
    let [handle, timeout, keys, event_loop] = arguments.exactly()?;
    refuse_to_wait(py, "an event loop")?;
    let timeout = if timeout.is_none() {
        None
    } else {
        // Negative ones and NaN: not at all. More than a lifetime: for ever.
        Some(Duration::try_from_secs_f64(timeout.as_float()?.max(0.0)).unwrap_or(Duration::MAX))
    };
    let wait = Wait {
        poller: &poller(py, handle)?,
        timeout,
        event_loop,
    };
    let events = wait.wait(py)?;
    let list = Object::list(py)?;
    for event in events {
        let fd = Object::int(py, event.descriptor.into())?;
        if let Some(key) = keys.dict_get(&fd)? {
            let events = Object::int(py, event.interest.into())?;
            list.append(&Object::tuple(py, [key, events])?)?;
        }
    }
    Ok(list)
});

function!(py_loop_wake, "loop_wake", |py, arguments| {
    let [handle] = arguments.exactly()?;
    if let Some(poller) = Poller::get(number(handle)?) {
        poller.wake();
    }
    Ok(Object::none(py))
});

function!(py_current_request, "current_request", |py, arguments| {
    let [] = arguments.exactly()?;
    let request = Stage::here().and_then(|stage| {
        let running = stage.context.interrupts.running();
        let request = stage.context.innermost()?;
        (request.id == running).then_some(running)
    });
    Object::int(py, request.unwrap_or_default().cast_signed())
});

function!(py_task_finish, "task_finish", |py, arguments| {
    let [task, succeeded, value] = arguments.exactly()?;
    tasks::ended(py, number(task)?, succeeded.is_true(), value);
    Ok(Object::none(py))
});

function!(py_is_closing, "is_closing", |py, arguments| {
    let [] = arguments.exactly()?;
    let closing = Stage::here().is_some_and(|stage| stage.context.mailbox.is_closed());
    Ok(Object::bool(py, closing))
});

function!(py_serves, "serves", |py, arguments| {
    let [] = arguments.exactly()?;
    let serves = Stage::here().is_some_and(|stage| !stage.context.mailbox.is_closed());
    Ok(Object::bool(py, serves))
});

function!(py_drive_loop, "drive_loop", |py, arguments| {
    let [has_loop] = arguments.exactly()?;
    if let Some(stage) = Stage::here() {
        stage.set_loop(has_loop.is_true());
    }
    Ok(Object::none(py))
});

function!(py_adopt_descriptor, "adopt_descriptor", |py, arguments| {
    let [fd] = arguments.exactly()?;
    descriptors::adopt(py, descriptor(fd)?)?;
    Ok(Object::none(py))
});

function!(py_duplicate_socket, "duplicate_socket", |py, arguments| {
    let [socket] = arguments.exactly()?;
    let copy = descriptors::duplicate_socket(py, descriptor(socket)?)?;
    Object::int(py, copy.into())
});

function!(py_loop_pumps, "loop_pumps", |py, arguments| {
    let [pumps] = arguments.exactly()?;
    let before =
        Stage::here().is_some_and(|stage| stage.context.interrupts.set_pumps(pumps.is_true()));
    Ok(Object::bool(py, before))
});
