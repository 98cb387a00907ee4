//! `asyncio.Handle` from inside: its objects are made and read by the places of their slots.

use crate::py::{Object, Python, Raised, Result, ffi};
use std::cell::Cell;
use std::ptr::NonNull;

/// All the slots that a handle has, so that none is left unset.
const NAMES: [&str; 7] = [
    "_callback",
    "_args",
    "_cancelled",
    "_loop",
    "_source_traceback",
    "_repr",
    "_context",
];

/// Where they lie in an object, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Places([usize; NAMES.len()]);

/// Where those lie that a timer has besides.
#[derive(Clone, Copy)]
pub(super) struct TimerPlaces {
    scheduled: usize,
    when: usize,
}

impl TimerPlaces {
    /// As [`Places::of`].
    pub(super) fn of(class: &Object<'_>) -> Result<Self> {
        only(class, &["_scheduled", "_when"])?;
        Ok(Self {
            scheduled: place_of(class, "_scheduled")?,
            when: place_of(class, "_when")?,
        })
    }

    /// Makes a new handle a timer that was put among those that wait.
    ///
    /// # Safety
    /// `timer` was made by [`Places::make`] with the class of these places.
    pub(super) unsafe fn complete(&self, timer: &Object<'_>, when: Object<'_>) {
        let scheduled = Object::bool(timer.py(), true);
        for (place, value) in [(self.scheduled, scheduled), (self.when, when)] {
            // SAFETY: the caller's promise.
            unsafe { slot_at(timer, place) }.set(NonNull::new(value.into_ptr()));
        }
    }
}

/// # Safety
/// There is a slot at that place of the object.
unsafe fn slot_at<'a>(
    object: &'a Object<'_>,
    place: usize,
) -> &'a Cell<Option<NonNull<ffi::PyObject>>> {
    // SAFETY: the caller's promise: a pointer, which is null as long as the slot is not set.
    unsafe { &*object.as_ptr().cast::<u8>().add(place).cast() }
}

/// What a handle calls.
pub(super) struct Call<'py> {
    pub(super) callback: Object<'py>,
    pub(super) arguments: Object<'py>,
    pub(super) context: Object<'py>,
}

impl Places {
    /// Those of a class; a `TypeError` if it is another one than is known here.
    pub(super) fn of(class: &Object<'_>) -> Result<Self> {
        let mut places = [0; NAMES.len()];
        for (place, name) in places.iter_mut().zip(NAMES) {
            *place = place_of(class, name)?;
        }
        only(class, &NAMES)?;
        Ok(Self(places))
    }

    /// # Safety
    /// `handle` is of the class, or of one that derives from it.
    unsafe fn slot<'a>(
        &self,
        handle: &'a Object<'_>,
        index: usize,
    ) -> &'a Cell<Option<NonNull<ffi::PyObject>>> {
        // SAFETY: the caller's promise.
        unsafe { slot_at(handle, self.0[index]) }
    }

    unsafe fn read<'py>(&self, handle: &Object<'py>, index: usize) -> Option<Object<'py>> {
        // SAFETY: the caller's promise.
        let held = unsafe { self.slot(handle, index) }.get();
        // SAFETY: the handle holds it.
        held.map(|held| unsafe { Object::borrowed(handle.py(), held.as_ptr()) })
    }

    /// A new handle, as its class makes it outside of debug mode.
    ///
    /// # Safety
    /// `class` is the class of these places, or one that derives from it, whose other slots are set by the caller.
    pub(super) unsafe fn make<'py>(
        &self,
        class: &Object<'py>,
        eventloop: Object<'py>,
        call: Call<'py>,
    ) -> Result<Object<'py>> {
        let py = class.py();
        let none = Object::none(py);
        let values = [
            call.callback,
            call.arguments,
            Object::bool(py, false),
            eventloop,
            none.again(),
            none,
            call.context,
        ];
        // SAFETY: attached; a new object whose slots are all empty.
        unsafe {
            let handle =
                Object::owned_or_raised(py, ffi::PyType_GenericAlloc(class.as_ptr().cast(), 0))?;
            for (index, value) in values.into_iter().enumerate() {
                self.slot(&handle, index)
                    .set(NonNull::new(value.into_ptr()));
            }
            Ok(handle)
        }
    }

    /// Whether it was cancelled. A slot that is not set counts as such: then there is nothing to call.
    ///
    /// # Safety
    /// `handle` is of the class of these places, or of one that derives from it.
    pub(super) unsafe fn is_cancelled(&self, handle: &Object<'_>) -> bool {
        // SAFETY: the caller's promise; an immortal object.
        unsafe {
            let cancelled = self.slot(handle, 2).get();
            cancelled.is_none_or(|cancelled| cancelled.as_ptr() != ffi::Py_False())
        }
    }

    /// What it calls; none if that is not of the usual kinds.
    ///
    /// # Safety
    /// As [`Self::is_cancelled`].
    pub(super) unsafe fn call<'py>(&self, handle: &Object<'py>) -> Option<Call<'py>> {
        // SAFETY: the caller's promise; the classes are static.
        unsafe {
            let call = Call {
                callback: self.read(handle, 0)?,
                arguments: self.read(handle, 1)?,
                context: self.read(handle, 6)?,
            };
            let usual = ffi::PyTuple_CheckExact(call.arguments.as_ptr()) != 0
                && ffi::PyContext_CheckExact(call.context.as_ptr()) != 0;
            usual.then_some(call)
        }
    }
}

impl<'py> Call<'py> {
    /// Calls it, in its context.
    pub(super) fn run(&self, py: Python<'py>) -> Result<Object<'py>> {
        // SAFETY: attached; the kinds of the objects were looked at, and they are alive. What is entered is left.
        unsafe {
            if ffi::PyContext_Enter(self.context.as_ptr()) != 0 {
                return Err(Raised::seen(py));
            }
            let tuple = self.arguments.as_ptr();
            let first = (&raw const (*tuple.cast::<ffi::PyTupleObject>()).ob_item).cast();
            let count = ffi::PyTuple_GET_SIZE(tuple).cast_unsigned();
            let callback = self.callback.as_ptr();
            let names = std::ptr::null_mut();
            let result = ffi::PyObject_Vectorcall(callback, first, count, names);
            let result = Object::owned_or_raised(py, result);
            left(py, result, &self.context)
        }
    }
}

/// Leaves a context; an exception that is set stays.
fn left<'py>(
    py: Python<'py>,
    result: Result<Object<'py>>,
    context: &Object<'py>,
) -> Result<Object<'py>> {
    // SAFETY: attached; the context was entered.
    match unsafe { ffi::PyContext_Exit(context.as_ptr()) } {
        0 => result,
        _ => Err(Raised::seen(py)),
    }
}

/// Where a slot of a class lies.
fn place_of(class: &Object<'_>, name: &str) -> Result<usize> {
    let member = class.getattr_str(name)?;
    // SAFETY: attached; looked into as what it is only if it is that.
    let place = unsafe {
        if ffi::Py_TYPE(member.as_ptr()) != &raw mut ffi::PyMemberDescr_Type {
            return Err(unknown(class.py()));
        }
        let member = (*member.as_ptr().cast::<ffi::PyMemberDescrObject>()).d_member;
        match (*member).type_code {
            ffi::Py_T_OBJECT_EX => (*member).offset,
            _ => return Err(unknown(class.py())),
        }
    };
    usize::try_from(place).map_err(|_| unknown(class.py()))
}

/// Whether a class has no other slots of its own.
fn only(class: &Object<'_>, names: &[&str]) -> Result<()> {
    let slots = class.getattr_str("__slots__")?;
    // SAFETY: attached; a list or a tuple gives a new tuple.
    let slots =
        unsafe { Object::owned_or_raised(class.py(), ffi::PySequence_Tuple(slots.as_ptr()))? };
    for slot in slots.tuple_items()? {
        let name = slot.str_of()?.unwrap_or_default();
        if name != "__weakref__" && !names.contains(&name.as_str()) {
            return Err(unknown(class.py()));
        }
    }
    Ok(())
}

fn unknown(py: Python<'_>) -> Raised {
    Raised::type_error(py, "asyncio.Handle has another form than is known here")
}
