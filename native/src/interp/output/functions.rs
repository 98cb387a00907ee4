//! The functions of `_erlang` by which output and records of logs leave Python.

use super::{Destination, Printed, Source, levels};
use crate::interp::callback::with_tools_here;
use crate::interp::output::speaker::Speaker;
use crate::interp::python_functions::{Methods, function, method};
use crate::py::{Object, Python, Result, View, ffi};
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

pub(crate) static METHODS: Methods<7> = Methods([
    method(c"output_write", py_output_write, c"output_write(stream, data, /)\n--\n\nPrint bytes on stream 1 or 2 of whoever the calling code runs for; gives how many there were."),
    method(c"output_flush", py_output_flush, c"output_flush(stream, /)\n--\n\nSend on what has no end of a line yet."),
    method(c"log", py_log, c"log(record, size, /)\n--\n\nSend a record, which takes about so many bytes, to Erlang's logger."),
    method(c"log_allows", py_log_allows, c"log_allows(level, name, /)\n--\n\nWhether Erlang lets a record of this level of Python's, and of a logger of that name, through."),
    method(c"log_setups", py_log_setups, c"log_setups()\n--\n\nHow often logging was set up in this node."),
    method(c"log_setup", py_log_setup, c"log_setup()\n--\n\nThe level and the format that were set last, or None."),
    ffi::PyMethodDef::zeroed(),
]);

/// What a record takes beside its texts.
const RECORD: usize = 512;

function!(py_output_write, "output_write", |py, arguments| {
    let [stream, data] = arguments.exactly()?;
    let error = stream.as_int()? == 2;
    let view = View::of(data, ffi::PyBUF_SIMPLE)?;
    let size = view.bytes().len();
    write(py, error, view.bytes())?;
    Object::int(py, size.cast_signed() as i64)
});

fn write(py: Python<'_>, error: bool, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let Some(speaker) = Speaker::here(py) else {
        return Ok(());
    };
    let context = &speaker.context;
    match context.output.to {
        Destination::Nowhere => return Ok(()),
        Destination::Process => return write_to_process(py, error, bytes),
        Destination::Erlang => {}
    }
    let source = source(&speaker, error);
    let whole = {
        let mut state = context.output.state.lock();
        let whole = state.lines.add(source, bytes);
        context.output.settle(&state);
        whole
    };
    whole.map_or(Ok(()), |text| print(py, &speaker, error, &text))
}

fn source(speaker: &Speaker, error: bool) -> Source {
    Source {
        request: speaker.request.as_ref().map_or(0, |request| request.id),
        thread: speaker.thread(),
        error,
    }
}

fn print(py: Python<'_>, speaker: &Speaker, error: bool, text: &[u8]) -> Result<()> {
    let request = speaker.request.as_ref();
    let printed = Printed {
        request,
        error,
        text,
    };
    speaker.context.print(py, &printed)
}

fn write_to_process(py: Python<'_>, error: bool, bytes: &[u8]) -> Result<()> {
    let fd = if error { 2 } else { 1 };
    // SAFETY: the node's own descriptor, which is not closed here.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let written: io::Result<()> = py.detached(|| file.write_all(bytes));
    written.map_err(|error| crate::py::Raised::os_error(py, &error))
}

function!(py_output_flush, "output_flush", |py, arguments| {
    let [stream] = arguments.exactly()?;
    let error = stream.as_int()? == 2;
    if let Some(speaker) = Speaker::here(py) {
        let begun = {
            let output = &speaker.context.output;
            let mut state = output.state.lock();
            let begun = state.lines.take(source(&speaker, error));
            output.settle(&state);
            begun
        };
        if let Some(text) = begun {
            print(py, &speaker, error, &text)?;
        }
    }
    Ok(Object::none(py))
});

function!(py_log, "log", |py, arguments| {
    let [record, size] = arguments.exactly()?;
    let Some(speaker) = Speaker::here(py) else {
        return Ok(Object::none(py));
    };
    let context = &speaker.context;
    let size = usize::try_from(size.as_int()?).unwrap_or_default() + RECORD;
    if !context.wait_for_room(py, size)? {
        return Ok(Object::none(py));
    }
    let env = context.envs.take();
    let converted = with_tools_here(py, context, &arguments.module, |tools| {
        tools.term(py, &env, record)
    });
    if let Ok(word) = &converted {
        context.send_record(speaker.request.as_ref(), size, |to| to.copy(*word));
    }
    context.envs.put(env);
    converted.map(|_word| Object::none(py))
});

function!(py_log_allows, "log_allows", |py, arguments| {
    let [level, logger] = arguments.exactly()?;
    let level = level.as_int()?;
    let allowed = levels::allows(py, level, &logger.str_lossy()?);
    Ok(Object::bool(py, allowed))
});

function!(py_log_setups, "log_setups", |py, arguments| {
    let [] = arguments.exactly()?;
    Object::int(py, levels::setups().cast_signed())
});

function!(py_log_setup, "log_setup", |py, arguments| {
    let [] = arguments.exactly()?;
    let Some((level, format)) = levels::setup() else {
        return Ok(Object::none(py));
    };
    let format = match format {
        Some(format) => Object::str(py, &format)?,
        None => Object::none(py),
    };
    Object::tuple(py, [Object::int(py, level)?, format])
});
