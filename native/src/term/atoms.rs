//! Atoms as Python strings, each made once.

use crate::beam::{TermEnv, Word, WordMap};
use crate::erlang_module::Types;
use crate::py::{Kept, Object, Python, Raised, Result};

/// Atoms seen lately; beyond this the table starts anew, so that it cannot grow for ever.
const MOST: usize = 8192;

type Table = WordMap<Word, Kept>;

/// One interpreter's strings for atoms: plain ones, and instances of `Atom`.
#[derive(Default)]
pub(crate) struct AtomNames {
    names: Table,
    atoms: Table,
}

impl AtomNames {
    /// The str of an atom that was seen lately; none for any other term.
    pub(crate) fn known<'py>(&self, py: Python<'py>, atom: Word) -> Option<Object<'py>> {
        self.names.get(&atom).map(|name| name.get(py))
    }

    /// The interned str of an atom; a `TypeError` for any other term.
    pub(crate) fn get<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        atom: Word,
    ) -> Result<Object<'py>> {
        if let Some(name) = self.known(py, atom) {
            return Ok(name);
        }
        let Some(text) = env.get_atom(atom) else {
            return Err(Raised::type_error(py, "an atom was expected"));
        };
        let mut name = Object::str(py, &text)?.into_ptr();
        // SAFETY: attached; `name` is a str that we own, and the function may replace it by its equal.
        let name = unsafe {
            crate::py::ffi::PyUnicode_InternInPlace(&mut name);
            Object::owned_or_raised(py, name)?
        };
        enter(&mut self.names, py, atom, &name);
        Ok(name)
    }

    /// The `erlang.Atom` of an atom.
    pub(crate) fn atom<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        types: &Types,
        atom: Word,
    ) -> Result<Object<'py>> {
        if let Some(object) = self.atoms.get(&atom) {
            return Ok(object.get(py));
        }
        let object = types.atom(&self.get(py, env, atom)?)?;
        enter(&mut self.atoms, py, atom, &object);
        Ok(object)
    }

    pub(crate) fn clear(&mut self, py: Python<'_>) {
        clear(&mut self.names, py);
        clear(&mut self.atoms, py);
    }
}

fn enter(table: &mut Table, py: Python<'_>, atom: Word, object: &Object<'_>) {
    if table.len() >= MOST {
        clear(table, py);
    }
    // SAFETY: attached; a second reference for the table.
    let kept = unsafe { Object::borrowed(py, object.as_ptr()) }.keep();
    table.insert(atom, kept);
}

fn clear(table: &mut Table, py: Python<'_>) {
    for (_, object) in table.drain() {
        object.release(py);
    }
}
