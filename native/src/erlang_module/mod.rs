//! `_erlang`: the native half of the Python package `erlang`.
//!
//! The module is made anew for every interpreter, with heap types of its own, so that nothing is shared
//! between interpreters that run at the same time.

mod asyncio;
mod atom;
mod derived;
mod errors;
mod functions;
mod lent;
pub(crate) mod trampoline;
mod values;

use crate::beam::{TermEnv, Word};
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
pub(crate) use asyncio::in_buffer;
use std::ffi::{c_int, c_void};

/// The classes of one interpreter that conversion and interruption need.
pub(crate) struct Types {
    pid: Kept,
    reference: Kept,
    port: Kept,
    fun: Kept,
    atom: Kept,
    lent: Kept,
    interrupted: Kept,
    stale_reference: Kept,
    erlang_error: Kept,
    process_error: Kept,
    python_error: Kept,
    term: Kept,
    continuation: Kept,
    /// The context variable that says whose code runs.
    scope: Kept,
    /// The one that says which trace it is a part of.
    trace: Kept,
}

/// What kind of Erlang term one of our objects stands for.
pub(crate) enum Native {
    /// The term itself.
    Term(Word),
    /// An atom, whose name is the object's text.
    Atom,
    /// What a call goes on with, which is no value.
    Continuation,
}

impl Types {
    /// Those of the module, as far as code has left them there.
    pub(crate) fn of_module(module: &Object<'_>) -> Result<Self> {
        for name in ["Pid", "Ref", "Port", "Fun", "Term"] {
            if !values::is_ours(module.getattr_str(name)?.as_ptr()) {
                return Err(replaced(module.py()));
            }
        }
        let (str, tuple) = (&raw mut ffi::PyUnicode_Type, &raw mut ffi::PyTuple_Type);
        for (name, base) in [("Atom", str), ("Continuation", tuple)] {
            if !module.getattr_str(name)?.derives_from(base.cast()) {
                return Err(replaced(module.py()));
            }
        }
        Ok(Self {
            pid: module.getattr_str("Pid")?.keep(),
            reference: module.getattr_str("Ref")?.keep(),
            port: module.getattr_str("Port")?.keep(),
            fun: module.getattr_str("Fun")?.keep(),
            atom: module.getattr_str("Atom")?.keep(),
            lent: module.getattr_str("_Binary")?.keep(),
            interrupted: module.getattr_str("Interrupted")?.keep(),
            stale_reference: module.getattr_str("StaleReference")?.keep(),
            erlang_error: module.getattr_str("ErlangError")?.keep(),
            process_error: module.getattr_str("ProcessError")?.keep(),
            python_error: module.getattr_str("PythonError")?.keep(),
            term: module.getattr_str("Term")?.keep(),
            continuation: module.getattr_str("Continuation")?.keep(),
            scope: variable(module, "scope")?.keep(),
            trace: variable(module, "trace_context")?.keep(),
        })
    }

    pub(crate) fn pid<'py>(
        &self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        values::make(py, self.pid.as_ptr(), env, word)
    }

    pub(crate) fn reference<'py>(
        &self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        values::make(py, self.reference.as_ptr(), env, word)
    }

    pub(crate) fn port<'py>(
        &self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        values::make(py, self.port.as_ptr(), env, word)
    }

    pub(crate) fn fun<'py>(
        &self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        values::make(py, self.fun.as_ptr(), env, word)
    }

    /// Any term, as it is.
    pub(crate) fn term<'py>(
        &self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        values::make(py, self.term.as_ptr(), env, word)
    }

    /// The pid that a `Pid` stands for, `None` for other objects.
    pub(crate) fn pid_term(&self, env: &TermEnv, object: &Object<'_>) -> Option<Word> {
        // SAFETY: attached to the interpreter of these types; the exact type has the layout that `values` reads.
        unsafe {
            let class: *mut ffi::PyObject = ffi::Py_TYPE(object.as_ptr()).cast();
            (class == self.pid.as_ptr()).then(|| values::term(object.as_ptr(), env))
        }
    }

    /// The `Atom` of a name, which is a str.
    pub(crate) fn atom<'py>(&self, name: &Object<'py>) -> Result<Object<'py>> {
        self.atom.get(name.py()).call(&[name])
    }

    /// A read-only view of a binary.
    pub(crate) fn memoryview<'py>(
        &self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        lent::view(py, self.lent.as_ptr(), env, word)
    }

    /// What an object of one of our classes stands for, `None` for other objects.
    ///
    /// # Safety
    /// Attached to the interpreter of these types; `object` is alive.
    pub(crate) unsafe fn native(
        &self,
        env: &TermEnv,
        object: *mut ffi::PyObject,
    ) -> Option<Native> {
        // SAFETY: the caller's promise; the exact types have the layout that `values` reads.
        unsafe {
            let class = ffi::Py_TYPE(object).cast();
            if class == self.atom.as_ptr() {
                return Some(Native::Atom);
            }
            if class == self.continuation.as_ptr() {
                return Some(Native::Continuation);
            }
            let values = [
                &self.pid,
                &self.reference,
                &self.port,
                &self.fun,
                &self.term,
            ];
            values
                .iter()
                .any(|known| class == known.as_ptr())
                .then(|| Native::Term(values::term(object, env)))
        }
    }

    /// Whether an object says what a call goes on with.
    pub(crate) fn is_continuation(&self, object: &Object<'_>) -> bool {
        // SAFETY: attached; reads the type of a live object.
        let class: *mut ffi::PyObject = unsafe { ffi::Py_TYPE(object.as_ptr()).cast() };
        class == self.continuation.as_ptr()
    }

    pub(crate) fn scope(&self) -> *mut ffi::PyObject {
        self.scope.as_ptr()
    }

    pub(crate) fn trace(&self) -> *mut ffi::PyObject {
        self.trace.as_ptr()
    }

    pub(crate) fn interrupted(&self) -> *mut ffi::PyObject {
        self.interrupted.as_ptr()
    }

    /// The class of the exception for a reference whose object is gone.
    pub(crate) fn stale_reference(&self) -> &Kept {
        &self.stale_reference
    }

    /// The class of the exceptions that come from Erlang.
    pub(crate) fn erlang_error(&self) -> &Kept {
        &self.erlang_error
    }

    /// The class of the exception for a message that cannot be sent.
    pub(crate) fn process_error(&self) -> &Kept {
        &self.process_error
    }

    /// The class of what stands for a Python exception behind an Erlang one.
    pub(crate) fn python_error(&self) -> &Kept {
        &self.python_error
    }

    pub(crate) fn release(self, py: Python<'_>) {
        let all = [
            self.pid,
            self.reference,
            self.port,
            self.fun,
            self.atom,
            self.lent,
            self.interrupted,
            self.stale_reference,
            self.erlang_error,
            self.process_error,
            self.python_error,
            self.term,
            self.continuation,
            self.scope,
            self.trace,
        ];
        for class in all {
            class.release(py);
        }
    }
}

/// Code has put something else in the place of a class of the module.
fn replaced(py: Python<'_>) -> Raised {
    Raised::runtime_error(py, "a class of the module _erlang was replaced")
}

fn variable<'py>(module: &Object<'py>, name: &str) -> Result<Object<'py>> {
    let variable = module.getattr_str(name)?;
    // SAFETY: attached; reads the type of a live object.
    if unsafe { ffi::PyContextVar_CheckExact(variable.as_ptr()) } == 0 {
        return Err(replaced(module.py()));
    }
    Ok(variable)
}

/// Fills a new module: the part of its making that may fail.
unsafe extern "C" fn fill(module: *mut ffi::PyObject) -> c_int {
    trampoline::status(|py| {
        // SAFETY: CPython passes the module that it makes.
        let module = unsafe { Object::borrowed(py, module) };
        values::add_types(&module)?;
        atom::add_type(&module)?;
        derived::add_continuation(&module)?;
        add(&module, c"_Binary", lent::make_type(&module)?)?;
        asyncio::add_types(&module)?;
        let nobody = Object::int(module.py(), 0)?;
        // SAFETY: attached; a new reference to a context variable with a default.
        let scope = unsafe {
            let variable = ffi::PyContextVar_New(c"erlang_scope".as_ptr(), nobody.as_ptr());
            Object::owned_or_raised(module.py(), variable)?
        };
        add(&module, c"scope", scope)?;
        // SAFETY: attached; a new reference to a context variable whose default is no trace.
        let trace = unsafe {
            let variable = ffi::PyContextVar_New(c"erlang_trace".as_ptr(), ffi::Py_None());
            Object::owned_or_raised(module.py(), variable)?
        };
        add(&module, c"trace_context", trace)?;
        errors::add_all(&module)
    })
}

fn add(module: &Object<'_>, name: &std::ffi::CStr, value: Object<'_>) -> Result<()> {
    // SAFETY: attached; the module takes a reference of its own.
    let failed =
        unsafe { ffi::PyModule_AddObjectRef(module.as_ptr(), name.as_ptr(), value.as_ptr()) != 0 };
    if failed {
        Err(Raised::seen(module.py()))
    } else {
        Ok(())
    }
}

/// A definition that CPython may write to (its reference count) from several interpreters.
struct Definition(std::cell::UnsafeCell<ffi::PyModuleDef>);

// SAFETY: multi-phase definitions are made to be shared by interpreters with their own GILs; CPython
// initialises the rest of this one under a lock of its own.
unsafe impl Sync for Definition {}

struct Slots<const N: usize>([ffi::PyModuleDef_Slot; N]);
// SAFETY: constant data: function pointers and flags.
unsafe impl<const N: usize> Sync for Slots<N> {}

static SLOTS: Slots<4> = Slots([
    ffi::PyModuleDef_Slot {
        slot: ffi::Py_mod_exec,
        value: fill as *mut c_void,
    },
    ffi::PyModuleDef_Slot {
        slot: ffi::Py_mod_multiple_interpreters,
        value: ffi::Py_MOD_PER_INTERPRETER_GIL_SUPPORTED,
    },
    #[cfg(Py_3_13)]
    ffi::PyModuleDef_Slot {
        slot: ffi::Py_mod_gil,
        value: ffi::Py_MOD_GIL_NOT_USED,
    },
    ffi::PyModuleDef_Slot {
        slot: 0,
        value: std::ptr::null_mut(),
    },
    #[cfg(not(Py_3_13))]
    ffi::PyModuleDef_Slot {
        slot: 0,
        value: std::ptr::null_mut(),
    },
]);

static DEFINITION: Definition = Definition(std::cell::UnsafeCell::new(ffi::PyModuleDef {
    m_base: ffi::PyModuleDef_HEAD_INIT,
    m_name: c"_erlang".as_ptr(),
    m_doc: c"The native half of the package erlang; import that instead.".as_ptr(),
    m_size: 0,
    m_methods: functions::table(),
    m_slots: (&raw const SLOTS.0).cast_mut().cast(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
}));

/// The classes of the module that was installed in the attached interpreter.
pub(crate) fn installed(py: Python<'_>) -> Result<Types> {
    Types::of_module(&Object::import(py, "_erlang")?)
}

/// Makes the module in the attached interpreter and enters it into `sys.modules`. It is made by hand, not
/// imported, since from CPython 3.13 a first import of a built-in module would need the main GIL.
pub(crate) fn install(py: Python<'_>) -> Result<Types> {
    let machinery = Object::import(py, "_frozen_importlib")?;
    let name = Object::str(py, "_erlang")?;
    // SAFETY: attached; an immortal object.
    let none = unsafe { Object::borrowed(py, ffi::Py_None()) };
    let spec = machinery.getattr_str("ModuleSpec")?.call(&[&name, &none])?;
    // SAFETY: attached; the definition is static and multi-phase; the module is executed once, here.
    unsafe {
        let module = Object::owned_or_raised(
            py,
            ffi::PyModule_FromDefAndSpec(DEFINITION.0.get(), spec.as_ptr()),
        )?;
        if ffi::PyModule_ExecDef(module.as_ptr(), DEFINITION.0.get()) != 0 {
            return Err(Raised::seen(py));
        }
        let modules = ffi::PyImport_GetModuleDict();
        if ffi::PyDict_SetItem(modules, name.as_ptr(), module.as_ptr()) != 0 {
            return Err(Raised::seen(py));
        }
        Types::of_module(&module)
    }
}
