//! Guarded functions: what stands in the place of a function of CPython's that raises no audit event.
//!
//! One holds the original where Python code does not find it: not as an attribute, nor by the garbage collector.

use super::guard::{Guard, current};
use super::refusal::Refusal;
use crate::erlang_module::trampoline;
use crate::py::{Object, Python, Raised, Result, api, ffi};
use std::ffi::{CStr, c_int, c_uint, c_ulong, c_void};
use std::sync::Arc;

/// Which function is guarded, and how.
pub(super) struct Rule {
    pub(super) module: &'static str,
    pub(super) name: &'static str,
    /// What a call does in its place; it may [`Call::proceed`].
    pub(super) run: fn(&Call<'_, '_>) -> Result<Kept>,
}

/// The reference that a guarded function returns.
pub(super) type Kept = *mut ffi::PyObject;

#[repr(C)]
struct Guarded {
    base: ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
    rule: &'static Rule,
    /// Owned.
    original: *mut ffi::PyObject,
    /// The collector, which would show the original to anybody, does not know of it at the moment.
    hidden: bool,
    /// What the original takes over, where it is the function of a thread.
    inherited: Option<Arc<Guard>>,
}

/// A call of a guarded function.
pub(super) struct Call<'a, 'py> {
    pub(super) py: Python<'py>,
    guarded: &'a Guarded,
    positional: &'a [*mut ffi::PyObject],
    /// The values by name follow the positional ones; these are their names, or null.
    names: *mut ffi::PyObject,
}

impl<'py> Call<'_, 'py> {
    /// An argument by its place, or else by its name.
    pub(super) fn argument(&self, index: usize, name: &str) -> Option<Object<'py>> {
        self.at(self.place(index, name)?)
    }

    /// An argument that is given by name.
    pub(super) fn named(&self, name: &str) -> Option<Object<'py>> {
        self.at(self.place(usize::MAX, name)?)
    }

    /// Where an argument lies among the values.
    fn place(&self, index: usize, name: &str) -> Option<usize> {
        if index < self.positional.len() {
            return Some(index);
        }
        (0..self.names_count()).find_map(|index| {
            // SAFETY: attached; the names are a tuple of strs, which are borrowed.
            let found = unsafe {
                let name = ffi::PyTuple_GET_ITEM(self.names, index.cast_signed());
                Object::borrowed(self.py, name)
            };
            let is_it = found.str_of().ok().flatten()? == name;
            is_it.then_some(self.positional.len() + index)
        })
    }

    fn at(&self, place: usize) -> Option<Object<'py>> {
        // SAFETY: attached; a place among the values, which live for the call.
        Some(unsafe { Object::borrowed(self.py, *self.positional.as_ptr().add(place)) })
    }

    /// The original, to ask it for what describes it.
    pub(super) fn original(&self) -> Object<'py> {
        // SAFETY: attached; it lives as long as the guarded function.
        unsafe { Object::borrowed(self.py, self.guarded.original) }
    }

    /// How many arguments there are.
    fn count(&self) -> usize {
        self.positional.len() + self.names_count()
    }

    fn names_count(&self) -> usize {
        if self.names.is_null() {
            0
        } else {
            // SAFETY: attached; a tuple.
            unsafe { ffi::PyTuple_GET_SIZE(self.names) }.cast_unsigned()
        }
    }

    /// Calls the original with the same arguments.
    pub(super) fn proceed(&self) -> Result<Object<'py>> {
        self.call(self.positional.as_ptr())
    }

    /// Calls the original with something else in the place of an argument.
    pub(super) fn proceed_with(
        &self,
        (index, name): (usize, &str),
        instead: &Object<'py>,
    ) -> Result<Object<'py>> {
        // SAFETY: as many values as there are arguments.
        let mut values =
            unsafe { std::slice::from_raw_parts(self.positional.as_ptr(), self.count()) }.to_vec();
        if let Some(place) = self.place(index, name) {
            values[place] = instead.as_ptr();
        }
        self.call(values.as_ptr())
    }

    /// Calls the original with something else in the place of some arguments.
    pub(super) fn proceed_replacing(
        &self,
        unwanted: fn(&Object<'py>) -> bool,
        instead: &Object<'py>,
    ) -> Result<Object<'py>> {
        let values: Vec<_> = (0..self.count())
            .filter_map(|place| self.at(place))
            .map(|value| {
                if unwanted(&value) {
                    instead.as_ptr()
                } else {
                    value.as_ptr()
                }
            })
            .collect();
        self.call(values.as_ptr())
    }

    fn call(&self, values: *const *mut ffi::PyObject) -> Result<Object<'py>> {
        // SAFETY: attached; the arguments that CPython has passed, or as many others.
        unsafe {
            Object::owned_or_raised(
                self.py,
                ffi::PyObject_Vectorcall(
                    self.guarded.original,
                    values,
                    self.positional.len(),
                    self.names,
                ),
            )
        }
    }

    /// Refuses the call.
    pub(super) fn refuse(&self, what: Refusal) -> Result<Kept> {
        self.refuse_what(what, "")
    }

    pub(super) fn refuse_what(&self, what: Refusal, detail: &str) -> Result<Kept> {
        Err(current(|guard| guard.refuse(self.py, what, detail)))
    }

    /// Calls the original if that is allowed.
    pub(super) fn unless(&self, allowed: bool, what: Refusal) -> Result<Kept> {
        if allowed {
            Ok(self.proceed()?.into_ptr())
        } else {
            self.refuse(what)
        }
    }

    /// A function for a thread, which takes the guard of this one over.
    pub(super) fn inheriting(&self, function: Object<'py>) -> Result<Object<'py>> {
        // SAFETY: attached; a live object of a heap type.
        unsafe {
            let class = Object::borrowed(
                self.py,
                ffi::Py_TYPE((&raw const *self.guarded).cast_mut().cast()).cast(),
            );
            make(&class, function, &THREAD, super::guard::inherited())
        }
    }

    /// The class of guarded functions.
    pub(super) fn class(&self) -> Object<'py> {
        // SAFETY: attached; a live object of a heap type.
        unsafe {
            let class = ffi::Py_TYPE((&raw const *self.guarded).cast_mut().cast());
            Object::borrowed(self.py, class.cast())
        }
    }
}

/// What a thread begins with.
static THREAD: Rule = Rule {
    module: "",
    name: "",
    run: |call| {
        let guard = call.guarded.inherited.clone();
        let _guarding = guard.map(super::guard::Guarding::thread);
        Ok(call.proceed()?.into_ptr())
    },
};

/// A guarded function in the place of an original.
pub(super) fn guard<'py>(
    class: &Object<'py>,
    original: Object<'py>,
    rule: &'static Rule,
) -> Result<Object<'py>> {
    // SAFETY: attached; the guarded function shows it to the collector again before it lets go of it.
    let hidden = unsafe {
        let tracked = ffi::PyObject_GC_IsTracked(original.as_ptr()) != 0;
        if tracked {
            ffi::PyObject_GC_UnTrack(original.as_ptr().cast());
        }
        tracked
    };
    let guarded = make(class, original, rule, None)?;
    // SAFETY: made just now, with this layout.
    unsafe { (*guarded.as_ptr().cast::<Guarded>()).hidden = hidden };
    Ok(guarded)
}

fn make<'py>(
    class: &Object<'py>,
    original: Object<'py>,
    rule: &'static Rule,
    inherited: Option<Arc<Guard>>,
) -> Result<Object<'py>> {
    // SAFETY: attached; the class has the layout of `Guarded`, whose fields are set before anybody sees them.
    unsafe {
        let object = Object::owned_or_raised(
            class.py(),
            ffi::PyType_GenericAlloc(class.as_ptr().cast(), 0),
        )?;
        let guarded = object.as_ptr().cast::<Guarded>();
        (&raw mut (*guarded).vectorcall).write(Some(vectorcall));
        (&raw mut (*guarded).rule).write(rule);
        (&raw mut (*guarded).original).write(original.into_ptr());
        (&raw mut (*guarded).hidden).write(false);
        (&raw mut (*guarded).inherited).write(inherited);
        Ok(object)
    }
}

/// Whether an object is a guarded function, of whatever class.
pub(super) fn is_guarded(object: *mut ffi::PyObject) -> bool {
    // SAFETY: attached; reads the type of a live object.
    let found = unsafe { (*ffi::Py_TYPE(object)).tp_dealloc };
    found.is_some_and(|found| std::ptr::fn_addr_eq(found, dealloc as ffi::destructor))
}

unsafe extern "C" fn vectorcall(
    this: *mut ffi::PyObject,
    values: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of this class, and as many values as it says.
        unsafe {
            let guarded = &*this.cast::<Guarded>();
            let count = ffi::PyVectorcall_NARGS(count).cast_unsigned();
            let positional = if count == 0 && values.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(values, count)
            };
            let call = Call {
                py,
                guarded,
                positional,
                names,
            };
            Object::owned_or_raised(py, (guarded.rule.run)(&call)?)
        }
    })
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: called once, when the last reference is gone; an object of a heap type holds its type.
    unsafe {
        let class = ffi::Py_TYPE(object);
        let guarded = object.cast::<Guarded>();
        let original = (*guarded).original;
        // Objects that the collector can know take for granted at their end that it does.
        if (*guarded).hidden && ffi::PyObject_GC_IsTracked(original) == 0 {
            ffi::PyObject_GC_Track(original.cast());
        }
        ffi::Py_XDECREF(original);
        (&raw mut (*guarded).inherited).drop_in_place();
        if let Some(free) = (*class).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

/// What describes the original; everything else would lead to it.
const DESCRIBING: &[&str] = &[
    "__name__",
    "__qualname__",
    "__module__",
    "__doc__",
    "__text_signature__",
];

unsafe extern "C" fn getattro(
    this: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of this class and a str.
        unsafe {
            let wanted = Object::borrowed(py, name).str_of()?.unwrap_or_default();
            if DESCRIBING.contains(&wanted.as_str()) {
                let original = (*this.cast::<Guarded>()).original;
                return Object::owned_or_raised(py, ffi::PyObject_GetAttr(original, name));
            }
            Object::owned_or_raised(py, ffi::PyObject_GenericGetAttr(this, name))
        }
    })
}

unsafe extern "C" fn repr(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: CPython passes an object of this class; its original is alive.
        let original = unsafe { Object::borrowed(py, (*this.cast::<Guarded>()).original) };
        let name = original.getattr_str("__name__")?.str_of()?;
        Object::str(
            py,
            &format!("<guarded function {}>", name.unwrap_or_default()),
        )
    })
}

/// Pickled by its name, as built-in functions are.
unsafe extern "C" fn reduce(
    this: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    trampoline::object(|py| {
        // SAFETY: as above.
        let original = unsafe { Object::borrowed(py, (*this.cast::<Guarded>()).original) };
        original.getattr_str("__qualname__")
    })
}

struct Methods([ffi::PyMethodDef; 2]);
// SAFETY: constant data.
unsafe impl Sync for Methods {}

static METHODS: Methods = Methods([
    ffi::PyMethodDef {
        ml_name: c"__reduce__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: reduce,
        },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: std::ptr::null(),
    },
    ffi::PyMethodDef::zeroed(),
]);

struct Members([ffi::PyMemberDef; 2]);
// SAFETY: constant data.
unsafe impl Sync for Members {}

static MEMBERS: Members = Members([
    ffi::PyMemberDef {
        name: c"__vectorcalloffset__".as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: std::mem::offset_of!(Guarded, vectorcall) as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    },
    // SAFETY: the end of the table is all zeros.
    unsafe { std::mem::zeroed() },
]);

/// The class of guarded functions, one for each interpreter.
pub(super) fn make_type<'py>(module: &Object<'py>) -> Result<Object<'py>> {
    make_type_with(module, c"erlang.guarded_function", 0, None)
}

/// A class of guarded methods, beside that of guarded functions.
pub(super) fn make_type_of_methods<'py>(functions: &Object<'py>) -> Result<Object<'py>> {
    // SAFETY: attached; a heap type that was made with a module, which it holds.
    let module = unsafe {
        let module = ffi::PyType_GetModule(functions.as_ptr().cast());
        if module.is_null() {
            return Err(Raised::seen(functions.py()));
        }
        Object::borrowed(functions.py(), module)
    };
    let flags = ffi::Py_TPFLAGS_METHOD_DESCRIPTOR;
    make_type_with(&module, c"erlang.guarded_method", flags, Some(bind))
}

unsafe extern "C" fn bind(
    method: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
    _class: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython passes live objects, or null for the second where the class itself is asked.
    unsafe {
        if object.is_null() || object == ffi::Py_None() {
            ffi::Py_INCREF(method);
            method
        } else {
            api::PyMethod_New(method, object)
        }
    }
}

fn make_type_with<'py>(
    module: &Object<'py>,
    name: &'static CStr,
    flags: c_ulong,
    binding: Option<ffi::descrgetfunc>,
) -> Result<Object<'py>> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let doc = c"A function of Python's own that is not everything it could be in a node.";
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
        slot(ffi::Py_tp_getattro, getattro as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_methods, (&raw const METHODS.0).cast_mut().cast()),
        slot(ffi::Py_tp_members, (&raw const MEMBERS.0).cast_mut().cast()),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
        slot(0, std::ptr::null_mut()),
    ];
    if let Some(binding) = binding {
        let end = slots.len() - 2;
        slots[end] = slot(ffi::Py_tp_descr_get, binding as *mut c_void);
    }
    let flags = flags
        | ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_HAVE_VECTORCALL
        | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<Guarded>() as c_int,
        itemsize: 0,
        flags: flags as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; the spec is read during the call, its texts are static.
    unsafe {
        let class = ffi::PyType_FromModuleAndSpec(module.as_ptr(), &mut spec, std::ptr::null_mut());
        if class.is_null() {
            return Err(Raised::seen(module.py()));
        }
        Object::owned_or_raised(module.py(), class)
    }
}
