//! `Ready`: the callbacks of a loop that are to be called next.

use super::handle::{Call, Places, TimerPlaces};
use super::reference::{Holder, Reference, clear, dealloc, traverse};
use super::{add_class, allocate, arguments, call_method, reportable, slot};
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Raised, Result, ffi};
use std::ffi::{c_char, c_void};
use std::mem::offset_of;

#[repr(C)]
struct Ready {
    base: ffi::PyObject,
    places: Places,
    timer_places: TimerPlaces,
    /// Set by Python: whether the simple case may be at hand.
    open: c_char,
    references: [Reference; 12],
}

/// What the references are.
enum Held {
    /// The loop.
    Loop,
    /// `asyncio.Handle`, that of timers, which runs as that does, and that of callbacks from other threads.
    Handle,
    TimerHandle,
    ThreadSafeHandle,
    /// The deque of handles, and two methods of it.
    Queue,
    Append,
    PopLeft,
    /// `call_soon` and `call_soon_threadsafe` for every other case.
    Soon,
    ThreadSafe,
    /// Called with a handle and the exception of its callback.
    Failed,
    /// What wakes the loop, and its argument.
    Wake,
    Poll,
}

impl Holder for Ready {
    fn references(&self) -> &[Reference] {
        &self.references
    }
}

impl Ready {
    fn held(&self, held: Held) -> &Reference {
        &self.references[held as usize]
    }

    /// Whether an object is a handle that runs as handles do.
    fn is_plain(&self, py: Python<'_>, handle: &Object<'_>) -> Result<bool> {
        // SAFETY: attached; reads the type of a live object.
        let class: *mut ffi::PyObject = unsafe { ffi::Py_TYPE(handle.as_ptr()).cast() };
        Ok(class == self.held(Held::Handle).needed(py)?.as_ptr()
            || class == self.held(Held::TimerHandle).needed(py)?.as_ptr())
    }
}

/// One argument, without the array that more of them need.
fn call_one<'py>(callee: &Object<'py>, argument: &Object<'py>) -> Result<Object<'py>> {
    // SAFETY: attached; both are alive.
    unsafe {
        let result = ffi::PyObject_CallOneArg(callee.as_ptr(), argument.as_ptr());
        Object::owned_or_raised(callee.py(), result)
    }
}

/// What `call_soon` was given, in the simple case: a callback, its arguments, and a context or none.
///
/// # Safety
/// The arguments are those that CPython passes by its fast convention.
unsafe fn simple<'py>(
    py: Python<'py>,
    given: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> Result<Option<Call<'py>>> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut context = None;
        if !names.is_null() && ffi::PyTuple_GET_SIZE(names) > 0 {
            let name = ffi::PyTuple_GET_ITEM(names, 0);
            if ffi::PyTuple_GET_SIZE(names) != 1
                || ffi::PyUnicode_CompareWithASCIIString(name, c"context".as_ptr()) != 0
            {
                return Ok(None);
            }
            let value = *given.offset(count);
            if value != ffi::Py_None() {
                context = Some(Object::borrowed(py, value));
            }
        }
        if count < 1 {
            return Ok(None);
        }
        let context = match context {
            Some(context) => context,
            None => Object::owned_or_raised(py, ffi::PyContext_CopyCurrent())?,
        };
        let arguments = Object::owned_or_raised(py, ffi::PyTuple_New(count - 1))?;
        for index in 1..count {
            let argument = Object::borrowed(py, *given.offset(index)).into_ptr();
            ffi::PyTuple_SET_ITEM(arguments.as_ptr(), index - 1, argument);
        }
        Ok(Some(Call {
            callback: Object::borrowed(py, *given),
            arguments,
            context,
        }))
    }
}

/// # Safety
/// As [`simple`], with an object of the class.
unsafe fn add_call(
    object: *mut ffi::PyObject,
    given: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    threadsafe: bool,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: the caller's promise; the places are those of the class of handles.
        unsafe {
            let ready = &*object.cast::<Ready>();
            let call = match ready.open {
                0 => None,
                _ => simple(py, given, count, names)?,
            };
            let Some(call) = call else {
                let otherwise = match threadsafe {
                    true => ready.held(Held::ThreadSafe).needed(py)?,
                    false => ready.held(Held::Soon).needed(py)?,
                };
                let all = ffi::PyObject_Vectorcall(
                    otherwise.as_ptr(),
                    given,
                    count.cast_unsigned(),
                    names,
                );
                return Object::owned_or_raised(py, all);
            };
            let eventloop = ready.held(Held::Loop).needed(py)?;
            let class = ready.held(Held::Handle).needed(py)?;
            let handle = match threadsafe {
                false => ready.places.make(&class, eventloop, call)?,
                true => {
                    let special = ready.held(Held::ThreadSafeHandle).needed(py)?;
                    if special.as_ptr() == class.as_ptr() {
                        ready.places.make(&class, eventloop, call)?
                    } else {
                        special.call(&[
                            &call.callback,
                            &call.arguments,
                            &eventloop,
                            &call.context,
                        ])?
                    }
                }
            };
            drop(call_one(&ready.held(Held::Append).needed(py)?, &handle)?);
            if threadsafe {
                let poll = ready.held(Held::Poll).needed(py)?;
                drop(call_one(&ready.held(Held::Wake).needed(py)?, &poll)?);
            }
            Ok(handle)
        }
    })
}

unsafe extern "C" fn soon(
    object: *mut ffi::PyObject,
    given: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes an object of the class that has this method, and its arguments.
    unsafe { add_call(object, given, count, names, false) }
}

unsafe extern "C" fn soon_threadsafe(
    object: *mut ffi::PyObject,
    given: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe { add_call(object, given, count, names, true) }
}

/// A timer for a time, which the caller puts among those that wait.
unsafe extern "C" fn timer(
    object: *mut ffi::PyObject,
    given: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        if count != 4 {
            return Err(Raised::type_error(py, "four arguments were expected"));
        }
        // SAFETY: CPython passes an object of the class that has this method, and so many arguments; the places are
        // those of the class of timers.
        unsafe {
            let ready = &*object.cast::<Ready>();
            let argument = |index| Object::borrowed(py, *given.add(index));
            let mut context = argument(3);
            if context.as_ptr() == ffi::Py_None() {
                context = Object::owned_or_raised(py, ffi::PyContext_CopyCurrent())?;
            }
            let call = Call {
                callback: argument(1),
                arguments: argument(2),
                context,
            };
            let class = ready.held(Held::TimerHandle).needed(py)?;
            let eventloop = ready.held(Held::Loop).needed(py)?;
            let timer = ready.places.make(&class, eventloop, call)?;
            ready.timer_places.complete(&timer, argument(0));
            Ok(timer)
        }
    })
}

/// Runs one handle.
fn run_one<'py>(py: Python<'py>, ready: &Ready, handle: &Object<'py>) -> Result<()> {
    let call = match ready.is_plain(py, handle)? {
        // SAFETY: the class was looked at.
        true if unsafe { ready.places.is_cancelled(handle) } => return Ok(()),
        // SAFETY: as above.
        true => unsafe { ready.places.call(handle) },
        false => None,
    };
    let Some(call) = call else {
        return run_otherwise(py, handle);
    };
    match call.run(py) {
        Ok(_) => Ok(()),
        Err(raised) => {
            let error = reportable(py, raised)?;
            let failed = ready.held(Held::Failed).needed(py)?;
            failed.call(&[handle, &error]).map(drop)
        }
    }
}

/// Runs what is a handle in another way.
fn run_otherwise<'py>(py: Python<'py>, handle: &Object<'py>) -> Result<()> {
    let cancelled = handle.getattr_str("_cancelled")?;
    // SAFETY: attached; the object is alive.
    match unsafe { ffi::PyObject_IsTrue(cancelled.as_ptr()) } {
        0 => call_method(handle, &Object::str(py, "_run")?, None).map(drop),
        1 => Ok(()),
        _ => Err(Raised::seen(py)),
    }
}

/// Runs what is ready now, and not what comes meanwhile.
unsafe extern "C" fn run(
    object: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of the class that has this method, which the caller holds.
        let ready = unsafe { &*object.cast::<Ready>() };
        let queue = ready.held(Held::Queue).needed(py)?;
        let pop = ready.held(Held::PopLeft).needed(py)?;
        // SAFETY: attached.
        let count = unsafe { ffi::PyObject_Size(queue.as_ptr()) };
        for _ in 0..count {
            // SAFETY: attached.
            let handle =
                unsafe { Object::owned_or_raised(py, ffi::PyObject_CallNoArgs(pop.as_ptr()))? };
            run_one(py, ready, &handle)?;
        }
        Ok(Object::none(py))
    })
}

/// Whether a handle is to be run for an event; one that was cancelled is taken out of the selector by `forget`.
fn add_handle<'py>(
    py: Python<'py>,
    ready: &Ready,
    handle: &Object<'py>,
    forget: &'static str,
    file: &Object<'py>,
) -> Result<()> {
    let cancelled = if ready.is_plain(py, handle)? {
        // SAFETY: the class was looked at.
        unsafe { ready.places.is_cancelled(handle) }
    } else {
        let cancelled = handle.getattr_str("_cancelled")?;
        // SAFETY: an immortal object.
        cancelled.as_ptr() != unsafe { ffi::Py_False() }
    };
    if cancelled {
        let eventloop = ready.held(Held::Loop).needed(py)?;
        eventloop.getattr_str(forget)?.call(&[file]).map(drop)
    } else {
        call_one(&ready.held(Held::Append).needed(py)?, handle).map(drop)
    }
}

/// Adds the handles of what a selector gave: a list of keys and events.
unsafe extern "C" fn add_events(
    object: *mut ffi::PyObject,
    events: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of the class that has this method, and an argument. Items are borrowed from
        // tuples, which never change; the list is asked for its size every time.
        unsafe {
            let ready = &*object.cast::<Ready>();
            if ffi::PyList_Check(events) == 0 {
                return Err(Raised::type_error(py, "a list was expected"));
            }
            let mut index = 0;
            while index < ffi::PyList_Size(events) {
                let event = Object::borrowed(py, ffi::PyList_GetItem(events, index));
                index += 1;
                let key = item(&event, 0)?;
                let mask = item(&event, 1)?.as_int()?;
                let handles = item(&key, 3)?;
                let of_both = [(0, 1, "_remove_reader"), (1, 2, "_remove_writer")];
                for (place, bit, forget) in of_both {
                    let handle = item(&handles, place)?;
                    if mask & bit != 0 && handle.as_ptr() != ffi::Py_None() {
                        add_handle(py, ready, &handle, forget, &item(&key, 0)?)?;
                    }
                }
            }
            Ok(Object::none(py))
        }
    })
}

/// An item of a tuple.
fn item<'py>(tuple: &Object<'py>, index: isize) -> Result<Object<'py>> {
    let py = tuple.py();
    // SAFETY: attached; looked into as a tuple only if it is one.
    unsafe {
        if ffi::PyTuple_Check(tuple.as_ptr()) == 0 || ffi::PyTuple_Size(tuple.as_ptr()) <= index {
            return Err(Raised::type_error(py, "a longer tuple was expected"));
        }
        Ok(Object::borrowed(
            py,
            ffi::PyTuple_GetItem(tuple.as_ptr(), index),
        ))
    }
}

unsafe extern "C" fn new(
    class: *mut ffi::PyTypeObject,
    given: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes what `tp_new` takes; nobody else sees the new object yet.
        unsafe {
            let [
                eventloop,
                handle,
                timer_handle,
                threadsafe_handle,
                queue,
                soon,
                threadsafe,
                failed,
                wake,
                poll,
            ] = arguments(py, given, keywords)?;
            if !timer_handle.derives_from(handle.as_ptr()) {
                return Err(Raised::type_error(py, "the class of timers is another one"));
            }
            let places = Places::of(&handle)?;
            let timer_places = TimerPlaces::of(&timer_handle)?;
            let object = allocate(py, class)?;
            let ready = object.as_ptr().cast::<Ready>();
            (&raw mut (*ready).places).write(places);
            (&raw mut (*ready).timer_places).write(timer_places);
            let (append, pop) = (queue.getattr_str("append")?, queue.getattr_str("popleft")?);
            let held = [
                (Held::Loop, eventloop),
                (Held::Handle, handle),
                (Held::TimerHandle, timer_handle),
                (Held::ThreadSafeHandle, threadsafe_handle),
                (Held::Queue, queue),
                (Held::Append, append),
                (Held::PopLeft, pop),
                (Held::Soon, soon),
                (Held::ThreadSafe, threadsafe),
                (Held::Failed, failed),
                (Held::Wake, wake),
                (Held::Poll, poll),
            ];
            for (place, value) in held {
                (*ready).held(place).set(py, Some(value));
            }
            Ok(object)
        }
    })
}

/// Tables that CPython only reads.
struct Table<T>(T);
// SAFETY: constant data.
unsafe impl<T> Sync for Table<T> {}

static METHODS: Table<[ffi::PyMethodDef; 6]> = Table([
    ffi::PyMethodDef {
        ml_name: c"call_soon".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: soon,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: c"As that of the loop.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"call_soon_threadsafe".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: soon_threadsafe,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: c"As that of the loop.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"timer".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: timer },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: c"timer(when, callback, args, context, /)\n--\n\nA timer, which the caller puts among those that wait.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"add_events".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: add_events,
        },
        ml_flags: ffi::METH_O,
        ml_doc: c"add_events(events, /)\n--\n\nAdd the handles of what a selector gave.".as_ptr(),
    },
    ffi::PyMethodDef {
        ml_name: c"run".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: run },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: c"run()\n--\n\nRun what is ready now, and not what comes meanwhile.".as_ptr(),
    },
    ffi::PyMethodDef::zeroed(),
]);

static MEMBERS: Table<[ffi::PyMemberDef; 2]> = Table([
    ffi::PyMemberDef {
        name: c"open".as_ptr(),
        type_code: ffi::Py_T_BOOL,
        offset: offset_of!(Ready, open).cast_signed(),
        flags: 0,
        doc: c"Whether the simple case may be at hand; otherwise the loop's methods are called."
            .as_ptr(),
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
    let doc = c"Ready(loop, handle, timer_handle, threadsafe_handle, queue, call_soon, call_soon_threadsafe, failed, wake, poll, /)\n--\n\nThe callbacks of a loop that are to be called next.";
    let mut slots = [
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse::<Ready> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<Ready> as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<Ready> as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw const METHODS.0).cast_mut().cast()),
        slot(ffi::Py_tp_members, (&raw const MEMBERS.0).cast_mut().cast()),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    // SAFETY: the slots are those of `Ready`.
    unsafe {
        let size = size_of::<Ready>();
        add_class(module, c"Ready", c"erlang.Ready", size, 0, &mut slots)
    }
}
