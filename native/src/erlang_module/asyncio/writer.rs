//! `Writer`: what a transport does to write, as long as nothing of what was written before still waits.

use super::reference::{Holder, Reference, clear, dealloc, traverse};
use super::{add_class, allocate, arguments, descriptor, fail, slot, transfer};
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Raised, Result, View, ffi};
use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;

#[repr(C)]
struct Writer {
    base: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    fd: c_int,
    /// Set by Python: whether the simple case may be at hand.
    open: c_char,
    references: [Reference; 3],
}

impl Writer {
    fn transport(&self) -> &Reference {
        &self.references[0]
    }

    /// What waits to be written: a deque.
    fn waiting(&self) -> &Reference {
        &self.references[1]
    }

    /// The method that knows every case.
    fn otherwise(&self) -> &Reference {
        &self.references[2]
    }
}

impl Holder for Writer {
    fn references(&self) -> &[Reference] {
        &self.references
    }
}

/// Whether an object is of one of the classes that transports take, and no other.
fn is_plain(data: &Object<'_>) -> bool {
    let (bytes, array) = (&raw mut ffi::PyBytes_Type, &raw mut ffi::PyByteArray_Type);
    let view = &raw mut ffi::PyMemoryView_Type;
    // SAFETY: attached; reads the type of a live object.
    let class = unsafe { ffi::Py_TYPE(data.as_ptr()) };
    class == bytes || class == array || class == view
}

/// Writes; what is left then, if anything.
fn write<'py>(py: Python<'py>, writer: &Writer, data: Object<'py>) -> Result<Option<Object<'py>>> {
    let waiting = writer.waiting().needed(py)?;
    // SAFETY: attached.
    if !is_plain(&data) || unsafe { ffi::PyObject_Size(waiting.as_ptr()) } != 0 {
        return Ok(Some(data));
    }
    let view = match View::of(&data, 0) {
        Ok(view) => view,
        // It is told by the method that knows every case.
        Err(raised) => {
            raised.clear(py);
            return Ok(Some(data));
        }
    };
    let size = view.bytes().len();
    if size == 0 {
        return Ok(Some(data));
    }
    let sent = transfer::send(py, writer.fd, view.bytes());
    drop(view);
    match sent {
        Ok(count) if count == size => Ok(None),
        Ok(count) => {
            let (from, to) = (count.cast_signed(), size.cast_signed());
            // SAFETY: attached; a view of the bytes that did not go.
            unsafe {
                let view = ffi::PyMemoryView_FromObject(data.as_ptr());
                let view = Object::owned_or_raised(py, view)?;
                let rest = ffi::PySequence_GetSlice(view.as_ptr(), from, to);
                Object::owned_or_raised(py, rest).map(Some)
            }
        }
        Err(error) if transfer::would_block(&error) => Ok(Some(data)),
        // Told here: asked again, the socket may have another error.
        Err(error) => {
            let error = transfer::exception(py, &error)?;
            let transport = writer.transport().needed(py)?;
            fail(&transport, &error, "Fatal write error on socket transport")?;
            Ok(None)
        }
    }
}

unsafe extern "C" fn call(
    object: *mut ffi::PyObject,
    given: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of the class that has this slot, and so many arguments, then those by name.
        unsafe {
            let writer = &*object.cast::<Writer>();
            if writer.open != 0 && ffi::PyVectorcall_NARGS(count) == 1 && names.is_null() {
                let data = Object::borrowed(py, *given);
                return match write(py, writer, data)? {
                    None => Ok(Object::none(py)),
                    Some(rest) => writer.otherwise().needed(py)?.call(&[&rest]),
                };
            }
            let otherwise = writer.otherwise().needed(py)?;
            Object::owned_or_raised(
                py,
                ffi::PyObject_Vectorcall(otherwise.as_ptr(), given, count, names),
            )
        }
    })
}

unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    given: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes what `tp_new` takes; nobody else sees the new object yet.
        unsafe {
            let [fd, transport, waiting, otherwise] = arguments(py, given, keywords)?;
            if ffi::PySequence_Check(waiting.as_ptr()) == 0 {
                return Err(Raised::type_error(py, "a deque was expected"));
            }
            let fd = descriptor(&fd)?;
            let object = allocate(py, class)?;
            let writer = object.as_ptr().cast::<Writer>();
            (&raw mut (*writer).vectorcall).write(call);
            (&raw mut (*writer).fd).write(fd);
            (&raw mut (*writer).open).write(1);
            (*writer).transport().set(py, Some(transport));
            (*writer).waiting().set(py, Some(waiting));
            (*writer).otherwise().set(py, Some(otherwise));
            Ok(object)
        }
    })
}

/// A table that CPython only reads.
struct Members([ffi::PyMemberDef; 3]);
// SAFETY: constant data.
unsafe impl Sync for Members {}

static MEMBERS: Members = Members([
    ffi::PyMemberDef {
        name: c"__vectorcalloffset__".as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset_of!(Writer, vectorcall).cast_signed(),
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    },
    ffi::PyMemberDef {
        name: c"open".as_ptr(),
        type_code: ffi::Py_T_BOOL,
        offset: offset_of!(Writer, open).cast_signed(),
        flags: 0,
        doc: c"Whether the simple case may be at hand; otherwise the method is called.".as_ptr(),
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
    let doc = c"Writer(fd, transport, waiting, otherwise, /)\n--\n\nCalled to write: sends bytes at once if none wait, and leaves all else to a method.";
    let mut slots = [
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse::<Writer> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<Writer> as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<Writer> as *mut c_void),
        slot(ffi::Py_tp_members, (&raw const MEMBERS.0).cast_mut().cast()),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let vectorcall = ffi::Py_TPFLAGS_HAVE_VECTORCALL;
    // SAFETY: the slots are those of `Writer`.
    unsafe {
        let size = size_of::<Writer>();
        add_class(
            module,
            c"Writer",
            c"erlang.Writer",
            size,
            vectorcall,
            &mut slots,
        )
    }
}
