//! `Reader`: what a transport does when its socket has become readable.

use super::reference::{Holder, Reference, clear, dealloc, traverse};
use super::{add_class, allocate, arguments, call_method, descriptor, fail, interned, reportable};
use super::{slot, transfer};
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Raised, Result, View, ffi};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;

#[repr(C)]
struct Reader {
    base: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    fd: c_int,
    limit: usize,
    /// Whether the protocol says where to read to.
    buffered: Cell<bool>,
    references: [Reference; 5],
}

/// What the references are: whom it is read for, and names of methods.
enum Held {
    Transport,
    Protocol,
    DataReceived,
    GetBuffer,
    BufferUpdated,
}

impl Holder for Reader {
    fn references(&self) -> &[Reference] {
        &self.references
    }
}

impl Reader {
    fn held<'py>(&self, py: Python<'py>, held: Held) -> Result<Object<'py>> {
        self.references[held as usize].needed(py)
    }
}

/// How far it came.
enum Step<'py> {
    Done,
    /// Nothing is there to read.
    NotYet,
    /// Nothing will ever be.
    End,
    /// An exception, and where it was raised.
    Failed(Object<'py>, &'static str),
}

const READING: &str = "Fatal read error on socket transport";
const RECEIVED: &str = "Fatal error: protocol.data_received() call failed.";
const BUFFER: &str = "Fatal error: protocol.get_buffer() call failed.";
const UPDATED: &str = "Fatal error: protocol.buffer_updated() call failed.";

fn failed<'py>(py: Python<'py>, raised: Raised, text: &'static str) -> Result<Step<'py>> {
    Ok(Step::Failed(reportable(py, raised)?, text))
}

fn not_read<'py>(py: Python<'py>, error: &std::io::Error) -> Result<Step<'py>> {
    if transfer::would_block(error) {
        return Ok(Step::NotYet);
    }
    Ok(Step::Failed(transfer::exception(py, error)?, READING))
}

/// For a protocol that is given bytes.
fn read_bytes<'py>(py: Python<'py>, reader: &Reader, protocol: &Object<'py>) -> Result<Step<'py>> {
    let taken = |bytes: &[u8]| (!bytes.is_empty()).then(|| Object::bytes(py, bytes));
    let data = match transfer::receive(reader.fd, reader.limit, taken) {
        Ok(Some(data)) => data?,
        Ok(None) => return Ok(Step::End),
        Err(error) => return not_read(py, &error),
    };
    match call_method(protocol, &reader.held(py, Held::DataReceived)?, Some(&data)) {
        Ok(_) => Ok(Step::Done),
        Err(raised) => failed(py, raised, RECEIVED),
    }
}

/// For a protocol that gives a buffer.
fn read_into<'py>(py: Python<'py>, reader: &Reader, protocol: &Object<'py>) -> Result<Step<'py>> {
    let any = Object::int(py, -1)?;
    let buffer = call_method(protocol, &reader.held(py, Held::GetBuffer)?, Some(&any));
    let buffer = buffer.and_then(|buffer| {
        // SAFETY: attached.
        match unsafe { ffi::PyObject_Size(buffer.as_ptr()) } {
            -1 => Err(Raised::seen(py)),
            0 => Err(Raised::runtime_error(
                py,
                "get_buffer() returned an empty buffer",
            )),
            _ => Ok(buffer),
        }
    });
    let buffer = match buffer {
        Ok(buffer) => buffer,
        Err(raised) => return failed(py, raised, BUFFER),
    };
    let count = match View::of(&buffer, ffi::PyBUF_WRITABLE) {
        Ok(mut view) => transfer::receive_into(reader.fd, view.bytes_mut()),
        Err(raised) => return failed(py, raised, READING),
    };
    let count = match count {
        Ok(0) => return Ok(Step::End),
        Ok(count) => Object::int(py, i64::try_from(count).unwrap_or(i64::MAX))?,
        Err(error) => return not_read(py, &error),
    };
    match call_method(
        protocol,
        &reader.held(py, Held::BufferUpdated)?,
        Some(&count),
    ) {
        Ok(_) => Ok(Step::Done),
        Err(raised) => failed(py, raised, UPDATED),
    }
}

fn read<'py>(py: Python<'py>, reader: &Reader) -> Result<Object<'py>> {
    let protocol = reader.held(py, Held::Protocol)?;
    let step = match reader.buffered.get() {
        true => read_into(py, reader, &protocol)?,
        false => read_bytes(py, reader, &protocol)?,
    };
    match step {
        Step::Done | Step::NotYet => Ok(Object::none(py)),
        Step::End => {
            let name = Object::str(py, "_read_ready__on_eof")?;
            call_method(&reader.held(py, Held::Transport)?, &name, None)
        }
        Step::Failed(error, text) => fail(&reader.held(py, Held::Transport)?, &error, text),
    }
}

unsafe extern "C" fn call(
    object: *mut ffi::PyObject,
    _arguments: *const *mut ffi::PyObject,
    _count: usize,
    _names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes an object of the class that has this slot, which the caller holds.
    trampoline::object(|py| read(py, unsafe { &*object.cast::<Reader>() }))
}

unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    given: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes what `tp_new` takes; nobody else sees the new object yet.
        unsafe {
            let [fd, limit, transport] = arguments(py, given, keywords)?;
            let (fd, limit) = (descriptor(&fd)?, limit.as_int()?);
            let object = allocate(py, class)?;
            let reader = object.as_ptr().cast::<Reader>();
            (&raw mut (*reader).vectorcall).write(call);
            (&raw mut (*reader).fd).write(fd);
            (&raw mut (*reader).limit).write(usize::try_from(limit).unwrap_or(0).max(1));
            let held = [
                (Held::Transport, transport),
                (Held::DataReceived, interned(py, c"data_received")?),
                (Held::GetBuffer, interned(py, c"get_buffer")?),
                (Held::BufferUpdated, interned(py, c"buffer_updated")?),
            ];
            for (place, value) in held {
                (*reader).references[place as usize].set(py, Some(value));
            }
            Ok(object)
        }
    })
}

/// Sets for whom is read.
unsafe extern "C" fn deliver(
    object: *mut ffi::PyObject,
    given: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        if count != 2 {
            return Err(Raised::type_error(py, "two arguments were expected"));
        }
        // SAFETY: CPython passes an object of the class that has this method, and so many arguments.
        unsafe {
            let reader = &*object.cast::<Reader>();
            reader.buffered.set(*given.add(1) == ffi::Py_True());
            let protocol = Object::borrowed(py, *given);
            reader.references[Held::Protocol as usize].set(py, Some(protocol));
        }
        Ok(Object::none(py))
    })
}

/// Tables that CPython only reads.
struct Table<T>(T);
// SAFETY: constant data.
unsafe impl<T> Sync for Table<T> {}

static METHODS: Table<[ffi::PyMethodDef; 2]> = Table([
    ffi::PyMethodDef {
        ml_name: c"deliver".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: deliver },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: c"deliver(protocol, buffered, /)\n--\n\nRead for this protocol, into a buffer of its own or not.".as_ptr(),
    },
    ffi::PyMethodDef::zeroed(),
]);

static MEMBERS: Table<[ffi::PyMemberDef; 2]> = Table([
    ffi::PyMemberDef {
        name: c"__vectorcalloffset__".as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset_of!(Reader, vectorcall).cast_signed(),
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    },
    ffi::PyMemberDef {
        name: std::ptr::null(),
        type_code: 0,
        offset: 0,
        flags: 0,
        doc: std::ptr::null(),
    },
]);

/// Makes the class and adds it to the module.
pub(super) fn add_type(module: &Object<'_>) -> Result<()> {
    let doc = c"Reader(fd, limit, transport, /)\n--\n\nCalled when a socket is readable: reads it for the protocol of a transport.";
    let mut slots = [
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse::<Reader> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<Reader> as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<Reader> as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw const METHODS.0).cast_mut().cast()),
        slot(ffi::Py_tp_members, (&raw const MEMBERS.0).cast_mut().cast()),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let vectorcall = ffi::Py_TPFLAGS_HAVE_VECTORCALL;
    // SAFETY: the slots are those of `Reader`.
    unsafe {
        let size = size_of::<Reader>();
        add_class(
            module,
            c"Reader",
            c"erlang.Reader",
            size,
            vectorcall,
            &mut slots,
        )
    }
}
