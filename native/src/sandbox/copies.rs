//! Copies that CPython keeps of the namespaces of its first modules, `sys` among them, for interpreters that ask for them
//! again. The garbage collector shows them to anybody.

use super::replaced::{Replaced, items, set_item};
use crate::py::{Object, Python, Result, api, ffi};
use std::ffi::{c_int, c_void};

struct Search<'a, 'py> {
    py: Python<'py>,
    replaced: &'a Replaced<'py>,
    found: Vec<Object<'py>>,
}

/// Replaces objects in the namespaces of modules that are no module's now. Nothing else is looked at.
pub(super) fn replace<'py>(py: Python<'py>, replaced: &Replaced<'py>) -> Result<()> {
    let mut search = Search {
        py,
        replaced,
        found: Vec::new(),
    };
    // SAFETY: attached; the callback only reads, and runs before this returns.
    unsafe { api::PyUnstable_GC_VisitObjects(visit, (&raw mut search).cast()) };
    for dict in &search.found {
        for (key, value) in items(py, dict) {
            if let Some(guarded) = replaced.get(&value.as_ptr()) {
                set_item(dict, &key, guarded)?;
            }
        }
    }
    Ok(())
}

unsafe extern "C" fn visit(object: *mut ffi::PyObject, search: *mut c_void) -> c_int {
    // SAFETY: `replace` passes its own search; CPython a live object, of which only dicts are read, which hold live
    // objects.
    unsafe {
        let search = &mut *search.cast::<Search<'_, '_>>();
        if ffi::PyDict_CheckExact(object) == 0 {
            return 1;
        }
        let (mut place, mut value) = (0, std::ptr::null_mut());
        while ffi::PyDict_Next(object, &mut place, std::ptr::null_mut(), &mut value) != 0 {
            if ffi::PyCFunction_Check(value) != 0 && search.replaced.contains_key(&value) {
                search.found.push(Object::borrowed(search.py, object));
                break;
            }
        }
    }
    1
}
