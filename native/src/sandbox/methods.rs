//! Methods of types in C that raise no audit event: as functions, but they bind to objects.
//!
//! They are replaced in the types' own dicts, which code cannot reach: the types are immutable for it.

use super::guarded::{Call, Kept as Reference, Rule, guard, make_type_of_methods};
use super::replaced::{item, set_item};
use super::{files, network};
use crate::py::{Kept, Object, Python, Result, ffi};
use parking_lot::Mutex;

/// A rule for a method of a class.
pub(super) struct Method {
    class: &'static str,
    rule: Rule,
}

macro_rules! methods {
    ($($module:literal $class:literal { $($name:literal => $run:expr,)* })*) => {
        static METHODS: &[Method] = &[$($(Method {
            class: $class,
            rule: Rule { module: $module, name: $name, run: $run },
        }),*),*];
    };
}

methods! {
    "_socket" "socket" {
        "listen" => network::listen,
    }
    "_ssl" "_SSLContext" {
        "load_verify_locations" => |call| reads(call, &["cafile", "capath"]),
        "load_cert_chain" => |call| reads(call, &["certfile", "keyfile"]),
    }
}

/// Replaces them in whatever is loaded.
pub(super) fn replace_loaded(functions: &Object<'_>) -> Result<()> {
    // SAFETY: attached; `sys.modules` is borrowed and a dict.
    let modules = unsafe { Object::borrowed(functions.py(), ffi::PyImport_GetModuleDict()) };
    let mut done = "";
    for method in METHODS {
        let name = method.rule.module;
        if name != done
            && let Some(module) = item(&modules, name)?
        {
            replace(functions, &module, name)?;
        }
        done = name;
    }
    Ok(())
}

/// A method that was replaced.
struct Replaced {
    interpreter: i64,
    dict: Kept,
    name: &'static str,
    original: Kept,
}

static REPLACED: Mutex<Vec<Replaced>> = Mutex::new(Vec::new());

/// Puts the originals back, for an interpreter that is about to end: a type that holds what holds its own method, where
/// the collector does not see it, would stay, and with it the memory of the interpreter.
pub(crate) fn restore(py: Python<'_>) -> Result<()> {
    let interpreter = py.interpreter_id();
    let own = {
        let mut replaced = REPLACED.lock();
        let (own, others) = std::mem::take(&mut *replaced)
            .into_iter()
            .partition::<Vec<_>, _>(|one| one.interpreter == interpreter);
        *replaced = others;
        own
    };
    let mut outcome = Ok(());
    for one in own {
        let key = Object::str(py, one.name);
        let put = key.and_then(|key| set_item(&one.dict.get(py), &key, &one.original.get(py)));
        outcome = outcome.and(put);
        one.dict.release(py);
        one.original.release(py);
    }
    // What is looked up by type may still be the guarded ones.
    // SAFETY: attached.
    unsafe { ffi::PyType_ClearCache() };
    outcome
}

/// Replaces what rules say of the types in one module. `functions` is the class of guarded functions.
pub(super) fn replace(functions: &Object<'_>, module: &Object<'_>, name: &str) -> Result<()> {
    let py = module.py();
    let mut guarded_methods = None;
    for method in METHODS.iter().filter(|method| method.rule.module == name) {
        // SAFETY: attached; a module has a dict, which is borrowed.
        let names = unsafe { Object::borrowed(py, ffi::PyModule_GetDict(module.as_ptr())) };
        let Some(class) = item(&names, method.class)? else {
            continue;
        };
        // SAFETY: attached; a type has a dict, here as a new reference.
        let dict = unsafe {
            if ffi::PyType_Check(class.as_ptr()) == 0 {
                continue;
            }
            Object::owned_or_raised(py, ffi::PyType_GetDict(class.as_ptr().cast()))?
        };
        let Some(original) = item(&dict, method.rule.name)? else {
            continue;
        };
        if !original.is_a((&raw mut ffi::PyMethodDescr_Type).cast()) {
            // It was replaced before.
            continue;
        }
        let of_methods = match &guarded_methods {
            Some(known) => known,
            None => guarded_methods.insert(make_type_of_methods(functions)?),
        };
        // SAFETY: attached; a second reference.
        let kept = unsafe { Object::borrowed(py, original.as_ptr()) };
        let guarded = guard(of_methods, original, &method.rule)?;
        set_item(&dict, &Object::str(py, method.rule.name)?, &guarded)?;
        REPLACED.lock().push(Replaced {
            interpreter: py.interpreter_id(),
            dict: dict.keep(),
            name: method.rule.name,
            original: kept.keep(),
        });
        // SAFETY: attached; a type whose dict has changed.
        unsafe { ffi::PyType_Modified(class.as_ptr().cast()) };
    }
    Ok(())
}

/// A method that reads the files at these arguments, in their order.
fn reads(call: &Call<'_, '_>, names: &[&str]) -> Result<Reference> {
    for (index, name) in names.iter().enumerate() {
        // The object itself is the first.
        let Some(path) = call.argument(index + 1, name) else {
            continue;
        };
        // SAFETY: the address of an immortal object.
        if path.as_ptr() != unsafe { ffi::Py_None() } {
            files::may_be_read(call.py, &path)?;
        }
    }
    Ok(call.proceed()?.into_ptr())
}
