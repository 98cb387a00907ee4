//! `erlang.send` and `erlang.whereis`.

use super::call::here;
use super::stage::Stage;
use super::tools::with_tools;
use crate::beam::{Pid, TermEnv, Word, atoms, existing_atom};
use crate::erlang_module::installed;
use crate::interp::Context;
use crate::py::{Object, Python, Raised, Result, ffi};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many messages of a context to other nodes may wait. They wait in an Erlang process, since sending to another
/// node may take long.
const WAITING: usize = 10_000;

/// Counts the messages of a context to other nodes that wait.
#[derive(Default)]
pub(crate) struct Relay(AtomicUsize);

impl Relay {
    fn enter(&self) -> bool {
        let one_more = |waiting: usize| (waiting < WAITING).then_some(waiting + 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// So many were sent on.
    pub(crate) fn leave(&self, count: usize) {
        let less = |waiting: usize| Some(waiting.saturating_sub(count));
        let _before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// Sends a term to a process of this node, or by way of a relay to one of another.
pub(super) fn send<'py>(py: Python<'py>, to: &Object<'py>, object: &Object<'py>) -> Result<()> {
    let stage = Stage::here();
    let context = match &stage {
        Some(stage) => stage.context.clone(),
        None => here(py)?.1,
    };
    let mut owner = stage.as_ref().and_then(|stage| stage.borrow());
    let mut env = context.envs.take();
    let sent = with_tools(py, owner.as_deref_mut(), &context, |tools| {
        let target = target(py, tools.types, &env, to)?;
        Ok((target, tools.term(py, &env, object)?))
    })
    .and_then(|(target, word)| deliver(to, &context, &mut env, target, word));
    context.envs.put(env);
    sent
}

/// Where a message goes.
#[derive(Clone, Copy)]
enum Target {
    Local(Pid),
    /// A process, or a name with its node.
    Remote(Word),
}

fn target(
    py: Python<'_>,
    types: &crate::erlang_module::Types,
    env: &TermEnv,
    to: &Object<'_>,
) -> Result<Target> {
    if let Some(word) = types.pid_term(env, to) {
        return Ok(Pid::of_term(env, word).map_or(Target::Remote(word), Target::Local));
    }
    // SAFETY: attached; reads the type of a live object.
    let is_tuple = unsafe { ffi::PyTuple_Check(to.as_ptr()) } != 0;
    let parts = if is_tuple {
        to.tuple_items()?
    } else {
        Vec::new()
    };
    let [name, node] = parts.as_slice() else {
        return Err(Raised::type_error(
            py,
            "the first argument of erlang.send is a Pid, or a pair of a registered name and a node",
        ));
    };
    let mut words = [Word::default(); 2];
    for (word, part) in words.iter_mut().zip([name, node]) {
        let text = part.str_of()?.ok_or_else(|| {
            Raised::type_error(py, "the name and the node to send to are strs or Atoms")
        })?;
        *word = existing_atom(env, &text).ok_or_else(|| {
            Raised::value_error(
                py,
                &format!("there is no node or process with the name {text}"),
            )
        })?;
    }
    Ok(Target::Remote(env.tuple(&words)))
}

fn deliver(
    to: &Object<'_>,
    context: &Arc<Context>,
    env: &mut TermEnv,
    target: Target,
    word: Word,
) -> Result<()> {
    let py = to.py();
    match target {
        Target::Local(pid) => {
            if env.try_send(&pid, word) {
                return Ok(());
            }
            let process = to.to_text()?;
            let text = format!("the process {process} does not exist any more");
            Err(process_error(py, &text))
        }
        Target::Remote(to) => {
            if context.mailbox.is_closed() {
                return Err(process_error(py, "the context has ended"));
            }
            if !context.relay.enter() {
                return Err(process_error(
                    py,
                    &format!(
                        "{WAITING} messages to other nodes wait to be sent; this one was not accepted"
                    ),
                ));
            }
            let known = atoms();
            let what = env.tuple(&[known.relay, to, word]);
            let serial = env.int(context.serial.cast_signed());
            let message = env.tuple(&[known.py_context, serial, what]);
            env.send(&context.pid, message);
            Ok(())
        }
    }
}

fn process_error(py: Python<'_>, text: &str) -> Raised {
    match installed(py) {
        Ok(types) => {
            let raised = Raised::of_class(py, &types.process_error().get(py), text);
            types.release(py);
            raised
        }
        Err(raised) => raised,
    }
}

/// The `Pid` of a registered name, if there is one.
pub(super) fn whereis<'py>(py: Python<'py>, name: &str) -> Result<Option<Object<'py>>> {
    let env = TermEnv::new();
    let Some(pid) = existing_atom(&env, name).and_then(Pid::registered) else {
        return Ok(None);
    };
    let types = installed(py)?;
    let object = types.pid(py, &env, pid.word());
    types.release(py);
    object.map(Some)
}
