//! Where `eval` and `exec` run: a namespace per client.

use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::collections::HashMap;

/// The namespaces of one context, by client.
///
/// Each is a module object entered into `sys.modules` under the name that its functions and classes carry,
/// so that pickling, dataclasses and `typing.get_type_hints` find them.
#[derive(Default)]
pub(crate) struct Namespaces(HashMap<u64, Kept>);

impl Namespaces {
    fn name(py: Python<'_>, client: u64) -> Result<Object<'_>> {
        Object::str(py, &format!("_erlang_process_{client}"))
    }

    /// The module of a client, made at its first use.
    pub(crate) fn module<'py>(&mut self, py: Python<'py>, client: u64) -> Result<Object<'py>> {
        if let Some(module) = self.0.get(&client) {
            return Ok(module.get(py));
        }
        let name = Self::name(py, client)?;
        // SAFETY: attached; the dict of a module is borrowed from it; dicts take references of their own.
        let module = unsafe {
            let module = Object::owned_or_raised(py, ffi::PyModule_NewObject(name.as_ptr()))?;
            let dict = ffi::PyModule_GetDict(module.as_ptr());
            let builtins = ffi::PyEval_GetBuiltins();
            if ffi::PyDict_SetItemString(dict, c"__builtins__".as_ptr(), builtins) != 0
                || ffi::PyDict_SetItem(
                    ffi::PyImport_GetModuleDict(),
                    name.as_ptr(),
                    module.as_ptr(),
                ) != 0
            {
                return Err(Raised::seen(py));
            }
            module
        };
        // SAFETY: attached; a second reference for the table.
        let kept = unsafe { Object::borrowed(py, module.as_ptr()) }.keep();
        self.0.insert(client, kept);
        Ok(module)
    }

    /// The dict of a client's module.
    pub(crate) fn dict<'py>(&mut self, py: Python<'py>, client: u64) -> Result<Object<'py>> {
        let module = self.module(py, client)?;
        // SAFETY: attached; borrowed from the module, which the table keeps.
        Ok(unsafe { Object::borrowed(py, ffi::PyModule_GetDict(module.as_ptr())) })
    }

    /// A client is gone.
    pub(crate) fn remove(&mut self, py: Python<'_>, client: u64) {
        let Some(module) = self.0.remove(&client) else {
            return;
        };
        if let Err(raised) = Self::forget(py, client) {
            raised.clear(py);
        }
        module.release(py);
    }

    fn forget(py: Python<'_>, client: u64) -> Result<()> {
        let name = Self::name(py, client)?;
        // SAFETY: attached; `sys.modules` is borrowed. User code may have removed the entry.
        unsafe {
            let modules = ffi::PyImport_GetModuleDict();
            match ffi::PyDict_Contains(modules, name.as_ptr()) {
                1 if ffi::PyDict_DelItem(modules, name.as_ptr()) == 0 => Ok(()),
                0 => Ok(()),
                _ => Err(Raised::seen(py)),
            }
        }
    }

    /// All clients are gone.
    pub(crate) fn clear(&mut self, py: Python<'_>) {
        for client in self.0.keys().copied().collect::<Vec<_>>() {
            self.remove(py, client);
        }
    }
}
