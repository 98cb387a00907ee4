//! Modules in C that code has made anew, which come with their own functions.

use super::guard::current;
use super::guarded::{Call, Kept, Rule, guard};
use super::policy::Imports;
use super::replaced::{IMPORTS, RULES, items, replace_in, set_item};
use super::{descriptors, imports, methods, scheduler};
use crate::py::{Object, Result, ffi};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;

/// `_imp.create_builtin(spec)`, `_imp.create_dynamic(spec, file)`: a module made anew has its own functions again.
pub(super) fn made(call: &Call<'_, '_>) -> Result<Kept> {
    scheduler::refuse_to_load(call.py)?;
    let module = match call.argument(0, "spec") {
        Some(spec) => {
            let spec = settled(&spec)?;
            if let Some(name) = spec.getattr_str("name")?.str_of()? {
                current(|guard| imports::may_be_loaded(call.py, guard, &name))?;
            }
            call.proceed_with((0, "spec"), &spec)?
        }
        None => call.proceed()?,
    };
    mend(call, &module)?;
    Ok(module.into_ptr())
}

/// What CPython asks a spec for, and C modules that copy it to where Python code expects it.
const OF_SPECS: &[&str] = &[
    "name",
    "origin",
    "loader",
    "parent",
    "submodule_search_locations",
];

/// A spec that says what this one says now, however often it is asked. A name that is no plain str ends CPython.
fn settled<'py>(spec: &Object<'py>) -> Result<Object<'py>> {
    let py = spec.py();
    // SAFETY: attached; a new module, which is as good as any object with attributes.
    let settled = unsafe { Object::owned_or_raised(py, ffi::PyModule_New(c"spec".as_ptr()))? };
    for name in OF_SPECS {
        let key = Object::str(py, name)?;
        let Some(value) = spec.getattr_optional(&key)? else {
            continue;
        };
        // SAFETY: attached; reads the type of a live object.
        let is_text = unsafe { ffi::PyUnicode_Check(value.as_ptr()) } != 0;
        let value = match value.str_of()? {
            Some(text) if is_text => Object::str(py, &text)?,
            _ => value,
        };
        settled.set_attr(&key, &value)?;
    }
    Ok(settled)
}

/// `_imp.exec_builtin(module)`, `_imp.exec_dynamic(module)`.
pub(super) fn executed(call: &Call<'_, '_>) -> Result<Kept> {
    scheduler::refuse_to_load(call.py)?;
    let outcome = call.proceed()?;
    if let Some(module) = call.argument(0, "mod") {
        mend(call, &module)?;
    }
    Ok(outcome.into_ptr())
}

fn mend<'py>(call: &Call<'_, 'py>, module: &Object<'py>) -> Result<()> {
    let class = call.class();
    // What it is called by code need not be its name.
    // SAFETY: attached; the definition of a module in C is static, and so is its name; a module has a dict.
    let (name, dict) = unsafe {
        if ffi::PyModule_Check(module.as_ptr()) == 0 {
            return Ok(());
        }
        let definition = ffi::PyModule_GetDef(module.as_ptr());
        let name = if definition.is_null() {
            ffi::PyErr_Clear();
            None
        } else {
            Some(CStr::from_ptr((*definition).m_name).to_string_lossy())
        };
        let dict = Object::borrowed(class.py(), ffi::PyModule_GetDict(module.as_ptr()));
        (name, dict)
    };
    let limited = current(|guard| guard.policy.imports != Imports::All);
    if let Some(name) = name {
        let last = name.rsplit('.').next().unwrap_or_default();
        replace_in(&class, module, last, RULES, &mut HashMap::new())?;
        if limited {
            replace_in(&class, module, last, IMPORTS, &mut HashMap::new())?;
        }
        methods::replace(&class, module, last)?;
        descriptors::guard_types(module, last)?;
    }
    // A copy of a module that was there before has no definition, but its functions.
    for (key, value) in items(class.py(), &dict) {
        if let Some(rule) = rule_of(&value).filter(|rule| limited || !is_of_imports(rule)) {
            set_item(&dict, &key, &guard(&class, value, rule)?)?;
        }
    }
    Ok(())
}

/// The C functions that were replaced, and by which rules; the same in all interpreters.
static KNOWN: RwLock<BTreeMap<usize, &'static Rule>> = RwLock::new(BTreeMap::new());

/// The address of a built-in function's code.
fn code_of(function: &Object<'_>) -> Option<usize> {
    // SAFETY: attached; reads the type of a live object, and the code of a built-in function.
    unsafe {
        if ffi::PyCFunction_Check(function.as_ptr()) == 0 {
            return None;
        }
        ffi::PyCFunction_GetFunction(function.as_ptr()).map(|code| code as usize)
    }
}

/// From now on a built-in function is known, wherever it turns up again.
pub(super) fn remember(function: &Object<'_>, rule: &'static Rule) {
    if let Some(code) = code_of(function) {
        KNOWN.write().insert(code, rule);
    }
}

fn is_of_imports(rule: &'static Rule) -> bool {
    IMPORTS.iter().any(|known| std::ptr::eq(known, rule))
}

fn rule_of(function: &Object<'_>) -> Option<&'static Rule> {
    KNOWN.read().get(&code_of(function)?).copied()
}
