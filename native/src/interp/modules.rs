//! The modules that calls name by atoms. Finding one through CPython takes several look-ups; one that was found before
//! takes a single one, which says that it still is the module of that name.

use crate::beam::{Word, place_of};
use crate::py::{Kept, Object, Python, Result, ffi};

/// The bits of the number of places. Each atom has one, where the last one wins.
const BITS: u32 = 6;

struct Known {
    atom: Word,
    name: Kept,
    module: Kept,
}

/// Of one interpreter.
#[derive(Default)]
pub(super) struct Modules(Vec<Option<Known>>);

impl Modules {
    /// The module in `sys.modules`, if it is the one that was seen there.
    pub(super) fn get<'py>(&self, py: Python<'py>, atom: Word) -> Option<Object<'py>> {
        let known = self.0.get(place_of(atom, BITS))?.as_ref()?;
        if known.atom != atom {
            return None;
        }
        // SAFETY: attached; borrowed references, which nothing takes away before they are looked at.
        unsafe {
            let modules = ffi::PyImport_GetModuleDict();
            if modules.is_null() || ffi::PyDict_CheckExact(modules) == 0 {
                return None;
            }
            let found = ffi::PyDict_GetItemWithError(modules, known.name.as_ptr());
            if found == known.module.as_ptr() {
                return Some(Object::borrowed(py, found));
            }
            if found.is_null() {
                ffi::PyErr_Clear();
            }
        }
        None
    }

    /// Remembers a module, unless it is being imported: whoever wants it then has to wait for that.
    pub(super) fn add(
        &mut self,
        py: Python<'_>,
        atom: Word,
        name: &Object<'_>,
        module: &Object<'_>,
    ) {
        let settled = is_settled(module).unwrap_or_else(|raised| {
            raised.clear(py);
            false
        });
        if !settled {
            return;
        }
        if self.0.is_empty() {
            self.0.resize_with(1 << BITS, || None);
        }
        let known = Known {
            atom,
            name: name.again().keep(),
            module: module.again().keep(),
        };
        if let Some(before) = self.0[place_of(atom, BITS)].replace(known) {
            before.release(py);
        }
    }

    pub(super) fn clear(&mut self, py: Python<'_>) {
        for known in self.0.drain(..).flatten() {
            known.release(py);
        }
    }
}

impl Known {
    fn release(self, py: Python<'_>) {
        self.name.release(py);
        self.module.release(py);
    }
}

fn is_settled(module: &Object<'_>) -> Result<bool> {
    let spec = module.getattr_str("__spec__")?;
    // A module that was made by code has none.
    if spec.is_none() {
        return Ok(true);
    }
    let importing = spec.getattr_str("_initializing")?;
    // SAFETY: the address of an immortal object.
    Ok(importing.as_ptr() == unsafe { ffi::Py_False() })
}
