//! Where `eval` and `exec` run: a namespace per client.

use crate::beam::WordMap;
use crate::py::{Kept, Object, Python, Raised, Result, ffi};

/// The namespaces of one context, by client.
///
/// Each is a module object entered into `sys.modules` under the name that its functions and classes carry,
/// so that pickling, dataclasses and `typing.get_type_hints` find them.
#[derive(Default)]
pub(crate) struct Namespaces {
    of_clients: WordMap<u64, Kept>,
    /// The name and the module that all others begin as copies of.
    first: Option<(String, Kept)>,
}

impl Namespaces {
    fn name(client: u64) -> String {
        format!("_erlang_process_{client}")
    }

    /// The module of a client, made at its first use.
    pub(crate) fn module<'py>(&mut self, py: Python<'py>, client: u64) -> Result<Object<'py>> {
        if let Some(module) = self.of_clients.get(&client) {
            return Ok(module.get(py));
        }
        let module = Self::make(py, &Self::name(client))?;
        if let Some((_, first)) = &self.first {
            // SAFETY: attached; the dicts of modules are borrowed from them. What the new one has stays: its name.
            unsafe {
                let dict = ffi::PyModule_GetDict(module.as_ptr());
                let known = ffi::PyModule_GetDict(first.as_ptr());
                if ffi::PyDict_Merge(dict, known, 0) != 0 {
                    return Err(Raised::seen(py));
                }
            }
        }
        self.of_clients.insert(client, module.again().keep());
        Ok(module)
    }

    /// The dict of a new module, which all namespaces to come begin as copies of.
    pub(super) fn begin_with<'py>(
        &mut self,
        py: Python<'py>,
        serial: Option<u64>,
    ) -> Result<Object<'py>> {
        let name = match serial {
            Some(serial) => format!("_erlang_preload_{serial}"),
            None => "_erlang_preload".into(),
        };
        let module = Self::make(py, &name)?;
        // SAFETY: attached; borrowed from the module, which is kept below.
        let dict = unsafe { Object::borrowed(py, ffi::PyModule_GetDict(module.as_ptr())) };
        if let Some((_, before)) = self.first.replace((name, module.keep())) {
            before.release(py);
        }
        Ok(dict)
    }

    /// A module in `sys.modules`.
    fn make<'py>(py: Python<'py>, name: &str) -> Result<Object<'py>> {
        let name = Object::str(py, name)?;
        // SAFETY: attached; the dict of a module is borrowed from it; dicts take references of their own.
        unsafe {
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
            Ok(module)
        }
    }

    /// The dict of a client's module.
    pub(crate) fn dict<'py>(&mut self, py: Python<'py>, client: u64) -> Result<Object<'py>> {
        let module = self.module(py, client)?;
        // SAFETY: attached; borrowed from the module, which the table keeps.
        Ok(unsafe { Object::borrowed(py, ffi::PyModule_GetDict(module.as_ptr())) })
    }

    /// A client is gone.
    pub(crate) fn remove(&mut self, py: Python<'_>, client: u64) {
        if let Some(module) = self.of_clients.remove(&client) {
            Self::end(py, &Self::name(client), module);
        }
    }

    fn end(py: Python<'_>, name: &str, module: Kept) {
        if let Err(raised) = Self::forget(py, name) {
            raised.clear(py);
        }
        module.release(py);
    }

    fn forget(py: Python<'_>, name: &str) -> Result<()> {
        let name = Object::str(py, name)?;
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
        for client in self.of_clients.keys().copied().collect::<Vec<_>>() {
            self.remove(py, client);
        }
        if let Some((name, module)) = self.first.take() {
            Self::end(py, &name, module);
        }
    }
}
