//! What a context is given before it runs code of users, and what is changed in all contexts later: the environment that
//! packages come from, modules, code. Erlang says what, in `py_birth`; how is `erlang._birth`'s.

use super::code::Grammar;
use super::functions::{attribute, evaluate, imported};
use super::owner::Owner;
use super::{Context, Mode};
use crate::beam::{TermEnv, Word, atoms};
use crate::py::{Python, Raised, Result};

/// One step, its terms still in the request's environment.
enum Step<'e> {
    /// `{settle, Arguments}`: `erlang._birth.settle(*Arguments)`.
    Settle { arguments: Word },
    /// `{import, Module, Function | all}`, under the context's policy.
    Import { module: Word, function: Word },
    /// `{preload, Code}`: namespaces begin as copies of what this defines.
    Preload { code: &'e [u8] },
}

impl<'e> Step<'e> {
    fn read(env: &'e TermEnv, step: Word) -> Option<Self> {
        let known = atoms();
        match *env.get_tuple(step)? {
            [kind, arguments] if kind == known.settle => Some(Self::Settle { arguments }),
            [kind, module, function] if kind == known.import => {
                Some(Self::Import { module, function })
            }
            [kind, code] if kind == known.preload => Some(Self::Preload {
                code: env.get_binary(code)?,
            }),
            _ => None,
        }
    }

    /// What the error of a step that fails is called: by the setting that it is about.
    fn word(&self) -> Word {
        let known = atoms();
        match self {
            Self::Settle { .. } => known.venv,
            Self::Import { .. } => known.imports,
            Self::Preload { .. } => known.preload,
        }
    }
}

impl Owner {
    /// Takes the steps, up to the first that fails; its word is noted for the answer.
    pub(super) fn born(
        &mut self,
        py: Python<'_>,
        context: &Context,
        env: &TermEnv,
        steps: Word,
    ) -> Result<()> {
        for step in env.list(steps) {
            let Some(step) = Step::read(env, step) else {
                return Err(Raised::type_error(py, "malformed request"));
            };
            let word = step.word();
            self.take(py, context, env, step)
                .inspect_err(|_| self.failed_step = Some(word))?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        py: Python<'_>,
        context: &Context,
        env: &TermEnv,
        step: Step<'_>,
    ) -> Result<()> {
        match step {
            Step::Settle { arguments } => {
                let settle = self.boot.get(py).getattr_str("settle")?;
                let keywords = atoms().none;
                self.call(py, env, context.conversion, &settle, arguments, keywords)?;
            }
            Step::Import { module, function } => {
                let module = self.name(py, env, module)?;
                let module = self.lending(|| imported(&module))?;
                if function != atoms().all {
                    let function = self.name(py, env, function)?;
                    self.lending(|| attribute(&module, &function))?;
                }
            }
            Step::Preload { code } => {
                let code = self.code.get(py, Grammar::Statements, code)?;
                // In the main interpreter all contexts share `sys.modules`.
                let serial = (self.mode == Mode::Worker).then_some(context.serial);
                let globals = self.namespaces.begin_with(py, serial)?;
                self.lending(|| evaluate(&code, &globals, &globals))?;
            }
        }
        Ok(())
    }
}
