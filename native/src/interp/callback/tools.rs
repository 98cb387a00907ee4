//! What conversion needs: the owner's own means, or some made for the moment where those are in use or out of reach.

use super::call::ended;
use super::stage::Stage;
use super::station::Station;
use crate::beam::{TermEnv, Word};
use crate::erlang_module::{self, Types};
use crate::interp::Context;
use crate::interp::owner::Owner;
use crate::py::{Object, Python, Result};
use crate::term::{AtomNames, Conversion, FromErlang, FromPython, Held, KeyNames, Simplifier};
use std::sync::Arc;

/// See the module.
pub(in crate::interp) struct Tools<'a> {
    pub(super) types: &'a Types,
    names: &'a mut AtomNames,
    keys: &'a mut KeyNames,
    simplifier: &'a mut Simplifier,
    held: &'a Arc<Held>,
    /// The serial of the context that gives out references to objects.
    context: u64,
    options: Conversion,
}

impl Tools<'_> {
    pub(in crate::interp) fn term<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        object: &Object<'py>,
    ) -> Result<Word> {
        self.converter(py, env).term(object)
    }

    /// For terms that stay: they need nothing of the interpreter but the objects that are no values.
    pub(super) fn lasting_term<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        object: &Object<'py>,
    ) -> Result<Word> {
        self.converter(py, env).lending_nothing().term(object)
    }

    fn converter<'c, 'py>(&'c mut self, py: Python<'py>, env: &'c TermEnv) -> FromPython<'c, 'py> {
        FromPython::new(
            py,
            env,
            self.types,
            self.held,
            self.context,
            self.options,
            self.simplifier,
        )
    }

    pub(super) fn object<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        FromErlang {
            py,
            env,
            types: self.types,
            names: self.names,
            keys: self.keys,
            held: self.held,
            options: self.options,
        }
        .object(word)
    }
}

/// The objects that Erlang keeps alive in the interpreter.
fn held_here(py: Python<'_>) -> Result<Arc<Held>> {
    Station::of(py.interpreter_id())
        .map(|station| station.held.clone())
        .ok_or_else(|| ended(py))
}

/// Runs `work` with the owner's tools if there is one at hand.
pub(super) fn with_tools<T>(
    py: Python<'_>,
    owner: Option<&mut Owner>,
    context: &Context,
    work: impl FnOnce(&mut Tools<'_>) -> Result<T>,
) -> Result<T> {
    if let Some(owner) = owner {
        return work(&mut Tools {
            types: &owner.types,
            names: &mut owner.names,
            keys: &mut owner.keys,
            simplifier: &mut owner.simplifier,
            held: &owner.held,
            context: context.serial,
            options: context.conversion,
        });
    }
    let types = erlang_module::installed(py)?;
    with_tools_of_the_moment(py, types, &held_here(py)?, context, work)
}

fn with_tools_of_the_moment<T>(
    py: Python<'_>,
    types: Types,
    held: &Arc<Held>,
    context: &Context,
    work: impl FnOnce(&mut Tools<'_>) -> Result<T>,
) -> Result<T> {
    let (mut names, mut keys) = (AtomNames::default(), KeyNames::default());
    let mut simplifier = Simplifier::default();
    let result = work(&mut Tools {
        types: &types,
        names: &mut names,
        keys: &mut keys,
        simplifier: &mut simplifier,
        held,
        context: context.serial,
        options: context.conversion,
    });
    names.clear(py);
    keys.clear(py);
    simplifier.clear(py);
    types.release(py);
    result
}

/// As [`with_tools`], on whatever thread this is, and also while an interpreter ends; for what holds no objects. `module`
/// is `_erlang`.
pub(in crate::interp) fn with_tools_here<T>(
    py: Python<'_>,
    context: &Context,
    module: &Object<'_>,
    work: impl FnOnce(&mut Tools<'_>) -> Result<T>,
) -> Result<T> {
    let stage = Stage::here();
    let mut owner = stage.as_ref().and_then(|stage| stage.borrow());
    if owner.is_none() && Station::of(py.interpreter_id()).is_none() {
        let types = Types::of_module(module)?;
        return with_tools_of_the_moment(py, types, &Arc::default(), context, work);
    }
    with_tools(py, owner.as_deref_mut(), context, work)
}
