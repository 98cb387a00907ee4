//! Methods of types that take descriptors by number, or give them.
//!
//! The table of a type's methods is CPython's, the same in all interpreters: what is replaced there is replaced for good,
//! also in modules that are made anew. Constructors lie in the type, of which each interpreter has its own.

use super::{check, check_output, is_int, is_none, note, note_result, number};
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::sandbox::refusal::Refusal;
use crate::sandbox::scheduler::refuse_to_wait;
use parking_lot::Mutex;
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The modules with such types. One of them calls itself otherwise.
pub(in crate::sandbox) const MODULES: &[&str] = &["_io", "io", "_socket", "select"];

/// Replaces what has to be in the types of a module, which may have been done before.
pub(in crate::sandbox) fn guard_types(module: &Object<'_>, name: &str) -> Result<()> {
    if !MODULES.contains(&name) {
        return Ok(());
    }
    // SAFETY: attached; a module has a dict, which is borrowed; what that gives is borrowed.
    let class = |name: &CStr| unsafe {
        let dict = ffi::PyModule_GetDict(module.as_ptr());
        let found = ffi::PyDict_GetItemString(dict, name.as_ptr());
        // Before a module is executed its types are not there.
        (!found.is_null()).then(|| Object::borrowed(module.py(), found))
    };
    match name {
        "_io" | "io" => {
            if let Some(file) = class(c"FileIO") {
                FILE_NUMBER.replace(&file)?;
                FILE_INIT.replace(&file)?;
            }
        }
        "_socket" => {
            if let Some(socket) = class(c"socket") {
                SOCKET_NUMBER.replace(&socket)?;
                SOCKET_DETACH.replace(&socket)?;
                SOCKET_ACCEPT.replace(&socket)?;
                SOCKET_RECEIVE.replace(&socket)?;
                SOCKET_RECEIVE_INTO.replace(&socket)?;
                SOCKET_INIT.replace(&socket)?;
            }
        }
        "select" => {
            if let Some(epoll) = class(c"epoll") {
                EPOLL_NUMBER.replace(&epoll)?;
                EPOLL_FROM.replace(&epoll)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Changes to tables that all interpreters share.
static CHANGING: Mutex<()> = Mutex::new(());

/// A method, and what it was.
struct Method {
    name: &'static str,
    flags: c_int,
    instead: ffi::PyCFunction,
    original: AtomicPtr<c_void>,
}

/// As far as it is the same for all.
#[repr(C)]
struct BuiltinFunction {
    base: ffi::PyObject,
    definition: *mut ffi::PyMethodDef,
}

impl Method {
    const fn new(name: &'static str, flags: c_int, instead: ffi::PyCFunction) -> Self {
        Self {
            name,
            flags,
            instead,
            original: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn replace(&self, class: &Object<'_>) -> Result<()> {
        let found = class.getattr_str(self.name)?;
        // SAFETY: attached; methods of types in C are of these types, with these layouts, and their definitions static.
        unsafe {
            let kind = ffi::Py_TYPE(found.as_ptr());
            let definition = if std::ptr::eq(kind, &raw const ffi::PyMethodDescr_Type) {
                (*found.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method
            } else if std::ptr::eq(kind, &raw const ffi::PyCFunction_Type) {
                (*found.as_ptr().cast::<BuiltinFunction>()).definition
            } else {
                return Err(self.unexpected(class));
            };
            if (*definition).ml_flags != self.flags {
                return Err(self.unexpected(class));
            }
            let place: &AtomicPtr<c_void> =
                AtomicPtr::from_ptr((&raw mut (*definition).ml_meth).cast());
            replace(place, &self.original, self.instead as *mut c_void)
                .ok_or_else(|| self.unexpected(class))
        }
    }

    fn unexpected(&self, class: &Object<'_>) -> Raised {
        let text = format!(
            "{}.{} is not what it was when descriptors were guarded",
            class.type_name(),
            self.name
        );
        Raised::runtime_error(class.py(), &text)
    }

    /// Calls what it was.
    fn call<'py>(
        &self,
        py: Python<'py>,
        this: *mut ffi::PyObject,
        arguments: *mut ffi::PyObject,
    ) -> Result<Object<'py>> {
        // SAFETY: attached; only what is in the original's place gets here, with what CPython has passed.
        unsafe {
            let original: ffi::PyCFunction =
                std::mem::transmute(self.original.load(Ordering::Acquire));
            Object::owned_or_raised(py, original(this, arguments))
        }
    }
}

/// A constructor, and what it was.
struct Init {
    instead: ffi::initproc,
    original: AtomicPtr<c_void>,
}

impl Init {
    const fn new(instead: ffi::initproc) -> Self {
        Self {
            instead,
            original: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn replace(&self, class: &Object<'_>) -> Result<()> {
        let unexpected = || {
            let text = format!(
                "{} is not made as it was when descriptors were guarded",
                class.type_name()
            );
            Raised::runtime_error(class.py(), &text)
        };
        let wrapper = class.getattr_str("__init__")?;
        let instead = self.instead as *mut c_void;
        // SAFETY: attached; a type, and what wraps its constructor for Python.
        unsafe {
            if !std::ptr::eq(
                ffi::Py_TYPE(wrapper.as_ptr()),
                &raw const ffi::PyWrapperDescr_Type,
            ) {
                return Err(unexpected());
            }
            let wrapper = wrapper.as_ptr().cast::<ffi::PyWrapperDescrObject>();
            let class = class.as_ptr().cast::<ffi::PyTypeObject>();
            let places: [*mut *mut c_void; 2] = [
                (&raw mut (*class).tp_init).cast(),
                &raw mut (*wrapper).d_wrapped,
            ];
            for place in places {
                replace(AtomicPtr::from_ptr(place), &self.original, instead)
                    .ok_or_else(unexpected)?;
            }
        }
        Ok(())
    }

    fn call(
        &self,
        py: Python<'_>,
        this: *mut ffi::PyObject,
        positional: *mut ffi::PyObject,
        named: *mut ffi::PyObject,
    ) -> Result<()> {
        // SAFETY: as for methods.
        unsafe {
            let original: ffi::initproc =
                std::mem::transmute(self.original.load(Ordering::Acquire));
            match original(this, positional, named) {
                0 => Ok(()),
                _ => Err(Raised::seen(py)),
            }
        }
    }
}

/// Puts a function in the place of another. `None`: that is not the one which was there before, in another interpreter.
fn replace(
    place: &AtomicPtr<c_void>,
    original: &AtomicPtr<c_void>,
    instead: *mut c_void,
) -> Option<()> {
    let _changing = CHANGING.lock();
    let (present, known) = (
        place.load(Ordering::Acquire),
        original.load(Ordering::Acquire),
    );
    if present == instead {
        return Some(());
    }
    if known.is_null() {
        original.store(present, Ordering::Release);
    } else if known != present {
        return None;
    }
    place.store(instead, Ordering::Release);
    Some(())
}

macro_rules! methods {
    ($($method:ident: $name:literal, $flags:expr, $entry:ident, $body:expr;)*) => {
        $(
            static $method: Method = Method::new($name, $flags, $entry);

            unsafe extern "C" fn $entry(this: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject {
                trampoline::object(|py| {
                    let body: for<'py> fn(Python<'py>, &Method, *mut ffi::PyObject, *mut ffi::PyObject) -> Result<Object<'py>> = $body;
                    body(py, &$method, this, arguments)
                })
            }
        )*
    };
}

methods! {
    FILE_NUMBER: "fileno", ffi::METH_NOARGS, file_number, gives_number;
    SOCKET_NUMBER: "fileno", ffi::METH_NOARGS, socket_number, gives_number;
    SOCKET_DETACH: "detach", ffi::METH_NOARGS, socket_detach, gives_number;
    SOCKET_ACCEPT: "_accept", ffi::METH_NOARGS, socket_accept, accepts;
    SOCKET_RECEIVE: "recvmsg", ffi::METH_VARARGS, socket_receive, receives;
    SOCKET_RECEIVE_INTO: "recvmsg_into", ffi::METH_VARARGS, socket_receive_into, receives;
    EPOLL_NUMBER: "fileno", ffi::METH_NOARGS, epoll_number, gives_number;
    EPOLL_FROM: "fromfd", ffi::METH_O | ffi::METH_CLASS, epoll_from, adopts;
}

static FILE_INIT: Init = Init::new(file_init);
static SOCKET_INIT: Init = Init::new(socket_init);

/// An object tells the number of the descriptor that it holds.
fn gives_number<'py>(
    py: Python<'py>,
    method: &Method,
    this: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> Result<Object<'py>> {
    let result = method.call(py, this, arguments)?;
    note_result(&result)?;
    Ok(result)
}

/// `(fd, address)`
fn accepts<'py>(
    py: Python<'py>,
    method: &Method,
    this: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> Result<Object<'py>> {
    refuse_to_wait(py, "socket.accept")?;
    let result = method.call(py, this, arguments)?;
    if let Some(fd) = result.tuple_items()?.first() {
        note_result(fd)?;
    }
    Ok(result)
}

/// `(what, [(level, type, bytes), ...], flags, address)`: descriptors may have come along.
fn receives<'py>(
    py: Python<'py>,
    method: &Method,
    this: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> Result<Object<'py>> {
    refuse_to_wait(py, "socket.recvmsg")?;
    let result = method.call(py, this, arguments)?;
    let items = result.tuple_items()?;
    let Some(ancillary) = items.get(1) else {
        return Ok(result);
    };
    // SAFETY: attached; the original has just made the list, whose items are borrowed and stay there.
    let count = unsafe { ffi::PyList_GET_SIZE(ancillary.as_ptr()) };
    for index in 0..count {
        // SAFETY: as above.
        let item = unsafe { Object::borrowed(py, ffi::PyList_GET_ITEM(ancillary.as_ptr(), index)) };
        let parts = item.tuple_items()?;
        if let [level, kind, data] = parts.as_slice()
            && level.as_int()? == libc::SOL_SOCKET.into()
            && kind.as_int()? == libc::SCM_RIGHTS.into()
        {
            note_all(data);
        }
    }
    Ok(result)
}

/// The numbers in a bytes object.
fn note_all(data: &Object<'_>) {
    // SAFETY: attached; a bytes object, which does not change.
    let bytes = unsafe {
        if ffi::PyBytes_Check(data.as_ptr()) == 0 {
            return;
        }
        let start = ffi::PyBytes_AS_STRING(data.as_ptr()).cast::<u8>();
        let size = ffi::PyBytes_Size(data.as_ptr()).cast_unsigned();
        std::slice::from_raw_parts(start, size)
    };
    for number in bytes.chunks_exact(size_of::<c_int>()) {
        if let Ok(number) = number.try_into() {
            note(data.py(), c_int::from_ne_bytes(number));
        }
    }
}

/// `epoll.fromfd(fd)`
fn adopts<'py>(
    py: Python<'py>,
    method: &Method,
    this: *mut ffi::PyObject,
    argument: *mut ffi::PyObject,
) -> Result<Object<'py>> {
    // SAFETY: attached; CPython passes a live object.
    let fd = unsafe { Object::borrowed(py, argument) };
    if let Some(fd) = number(&fd)? {
        check(py, fd, Refusal::AdoptFile)?;
    }
    method.call(py, this, argument)
}

/// The arguments of a constructor.
struct Arguments<'py> {
    py: Python<'py>,
    positional: *mut ffi::PyObject,
    /// A dict, or null.
    named: *mut ffi::PyObject,
}

impl<'py> Arguments<'py> {
    fn get(&self, index: isize, name: &CStr) -> Result<Option<Object<'py>>> {
        // SAFETY: attached; CPython passes a tuple and a dict or null; items are borrowed.
        unsafe {
            let found = if index < ffi::PyTuple_GET_SIZE(self.positional) {
                ffi::PyTuple_GET_ITEM(self.positional, index)
            } else if self.named.is_null() {
                std::ptr::null_mut()
            } else {
                let found = ffi::PyDict_GetItemString(self.named, name.as_ptr());
                if found.is_null() && !ffi::PyErr_Occurred().is_null() {
                    return Err(Raised::seen(self.py));
                }
                found
            };
            Ok((!found.is_null()).then(|| Object::borrowed(self.py, found)))
        }
    }

    fn is_true(&self, index: isize, name: &CStr, default: bool) -> Result<bool> {
        let Some(flag) = self.get(index, name)? else {
            return Ok(default);
        };
        // SAFETY: attached; a live object.
        match unsafe { ffi::PyObject_IsTrue(flag.as_ptr()) } {
            -1 => Err(Raised::seen(self.py)),
            truth => Ok(truth != 0),
        }
    }

    /// The same, with something else at a place: a tuple, and a dict or null.
    fn with(
        &self,
        index: isize,
        name: &CStr,
        instead: &Object<'py>,
    ) -> Result<(Object<'py>, Option<Object<'py>>)> {
        let py = self.py;
        // SAFETY: attached; copies of what CPython has passed.
        unsafe {
            let given = Object::borrowed(py, self.positional);
            let count = ffi::PyTuple_GET_SIZE(self.positional);
            if index >= count {
                let named = Object::owned_or_raised(py, ffi::PyDict_Copy(self.named))?;
                if ffi::PyDict_SetItemString(named.as_ptr(), name.as_ptr(), instead.as_ptr()) != 0 {
                    return Err(Raised::seen(py));
                }
                return Ok((given, Some(named)));
            }
            let copy = Object::owned_or_raised(py, ffi::PyTuple_New(count))?;
            for (place, item) in (0..).zip(given.tuple_items()?) {
                let item = if place == index {
                    instead.again()
                } else {
                    item
                };
                ffi::PyTuple_SET_ITEM(copy.as_ptr(), place, item.into_ptr());
            }
            let named = (!self.named.is_null()).then(|| Object::borrowed(py, self.named));
            Ok((copy, named))
        }
    }
}

/// `socket(family=-1, type=-1, proto=-1, fileno=None)`
unsafe extern "C" fn socket_init(
    this: *mut ffi::PyObject,
    positional: *mut ffi::PyObject,
    named: *mut ffi::PyObject,
) -> c_int {
    trampoline::status(|py| {
        let arguments = Arguments {
            py,
            positional,
            named,
        };
        if let Some(fd) = arguments.get(3, c"fileno")?
            && !is_none(&fd)
            && let Some(fd) = number(&fd)?
            && fd >= 0
        {
            check(py, fd, Refusal::AdoptSocket)?;
        }
        SOCKET_INIT.call(py, this, positional, named)
    })
}

/// `FileIO(file, mode='r', closefd=True, opener=None)`
unsafe extern "C" fn file_init(
    this: *mut ffi::PyObject,
    positional: *mut ffi::PyObject,
    named: *mut ffi::PyObject,
) -> c_int {
    trampoline::status(|py| {
        let arguments = Arguments {
            py,
            positional,
            named,
        };
        let Some(file) = arguments.get(0, c"file")? else {
            return FILE_INIT.call(py, this, positional, named);
        };
        // SAFETY: attached; reads the type of a live object.
        if is_int(&file) || unsafe { ffi::PyIndex_Check(file.as_ptr()) } != 0 {
            if let Some(fd) = number(&file)?
                && fd >= 0
            {
                check_file(&arguments, fd)?;
            }
            return FILE_INIT.call(py, this, positional, named);
        }
        match arguments.get(3, c"opener")? {
            Some(opener) if !is_none(&opener) => {
                let checked = checked_opener(&opener)?;
                let (positional, named) = arguments.with(3, c"opener", &checked)?;
                let named = named.as_ref().map_or(std::ptr::null_mut(), Object::as_ptr);
                FILE_INIT.call(py, this, positional.as_ptr(), named)
            }
            _ => FILE_INIT.call(py, this, positional, named),
        }
    })
}

/// Standard output may be written to by a file that leaves it open.
fn check_file(arguments: &Arguments<'_>, fd: RawFd) -> Result<()> {
    let py = arguments.py;
    let mode = match arguments.get(1, c"mode")? {
        Some(mode) => mode.str_of()?.unwrap_or_default(),
        None => String::new(),
    };
    let only_writes = mode.contains(['w', 'a']) && !mode.contains('+');
    if only_writes && !arguments.is_true(2, c"closefd", true)? {
        return check_output(py, fd, Refusal::AdoptFile);
    }
    check(py, fd, Refusal::AdoptFile)
}

struct Definition(ffi::PyMethodDef);
// SAFETY: constant data.
unsafe impl Sync for Definition {}

static OPENER: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"opener".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer {
        PyCFunction: open_checked,
    },
    ml_flags: ffi::METH_VARARGS,
    ml_doc: std::ptr::null(),
});

/// An opener that gives descriptors of its own only.
fn checked_opener<'py>(opener: &Object<'py>) -> Result<Object<'py>> {
    let definition = (&raw const OPENER.0).cast_mut();
    // SAFETY: attached; a static definition, which CPython only reads.
    unsafe {
        let made = ffi::PyCMethod_New(
            definition,
            opener.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        Object::owned_or_raised(opener.py(), made)
    }
}

unsafe extern "C" fn open_checked(
    opener: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: attached; CPython passes what the function was made with, and a tuple.
        let made = unsafe {
            Object::owned_or_raised(
                py,
                ffi::PyObject_Call(opener, arguments, std::ptr::null_mut()),
            )?
        };
        if is_int(&made)
            && let Some(fd) = number(&made)?
            && fd >= 0
        {
            check(py, fd, Refusal::AdoptFile)?;
        }
        Ok(made)
    })
}
