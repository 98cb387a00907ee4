//! `Reader`: what a transport does when its socket has become readable.

use super::reference::{Holder, Reference, clear, dealloc, traverse};
use super::{add_class, allocate, arguments, call_method, descriptor, fail, interned, reportable};
use super::{slot, transfer};
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Result, ffi};
use std::ffi::{c_int, c_void};
use std::mem::offset_of;

#[repr(C)]
struct Reader {
    base: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    fd: c_int,
    limit: usize,
    references: [Reference; 3],
}

impl Reader {
    fn transport(&self) -> &Reference {
        &self.references[0]
    }

    /// Whose `data_received` is called; none if it has another kind of interface.
    fn protocol(&self) -> &Reference {
        &self.references[1]
    }

    /// The name of that method.
    fn received(&self) -> &Reference {
        &self.references[2]
    }
}

impl Holder for Reader {
    fn references(&self) -> &[Reference] {
        &self.references
    }
}

fn read<'py>(py: Python<'py>, reader: &Reader) -> Result<Object<'py>> {
    let transport = reader.transport().needed(py)?;
    let Some(protocol) = reader.protocol().get(py) else {
        return call_method(&transport, &Object::str(py, "_read_ready_cb")?, None);
    };
    let taken = |bytes: &[u8]| (!bytes.is_empty()).then(|| Object::bytes(py, bytes));
    match transfer::receive(reader.fd, reader.limit, taken) {
        Ok(Some(data)) => {
            let received = reader.received().needed(py)?;
            call_method(&protocol, &received, Some(&data?)).or_else(|raised| {
                let text = "Fatal error: protocol.data_received() call failed.";
                fail(&transport, &reportable(py, raised)?, text)
            })
        }
        Ok(None) => call_method(&transport, &Object::str(py, "_read_ready__on_eof")?, None),
        Err(error) if transfer::would_block(&error) => Ok(Object::none(py)),
        Err(error) => {
            let error = transfer::exception(py, &error)?;
            fail(&transport, &error, "Fatal read error on socket transport")
        }
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
            (*reader).transport().set(py, Some(transport));
            let received = interned(py, c"data_received")?;
            (*reader).received().set(py, Some(received));
            Ok(object)
        }
    })
}

/// Sets for whom is read.
unsafe extern "C" fn deliver(
    object: *mut ffi::PyObject,
    protocol: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of the class that has this method, and an argument.
        let (reader, protocol) =
            unsafe { (&*object.cast::<Reader>(), Object::borrowed(py, protocol)) };
        // SAFETY: an immortal object.
        let none = protocol.as_ptr() == unsafe { ffi::Py_None() };
        reader.protocol().set(py, (!none).then_some(protocol));
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
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: deliver },
        ml_flags: ffi::METH_O,
        ml_doc: c"deliver(protocol, /)\n--\n\nCall data_received() of this protocol; with None, the transport's _read_ready_cb().".as_ptr(),
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
