//! Where callbacks go for which no process waits: to the dispatcher, an Erlang process that starts one for each.

use super::record::Callback;
use crate::beam::{Pid, Shared, TermEnv, Word, atoms};
use parking_lot::RwLock;

static DISPATCHER: RwLock<Option<Pid>> = RwLock::new(None);

/// The process that starts processes for callbacks from now on.
pub(crate) fn set_dispatcher(pid: Pid) {
    *DISPATCHER.write() = Some(pid);
}

/// Sends `{py_callback, Callback, Function, Arguments}`. `false`: there is no dispatcher.
pub(super) fn dispatch(
    callback: &Shared<Callback>,
    env: &mut TermEnv,
    function: Word,
    arguments: Word,
) -> bool {
    send(atoms().py_callback, callback, env, function, arguments)
}

/// Sends `{py_tail, Callback, Function, Arguments}`: the value is the answer of the request.
pub(crate) fn dispatch_tail(
    callback: &Shared<Callback>,
    env: &mut TermEnv,
    function: Word,
    arguments: Word,
) -> bool {
    send(atoms().py_tail, callback, env, function, arguments)
}

fn send(
    kind: Word,
    callback: &Shared<Callback>,
    env: &mut TermEnv,
    function: Word,
    arguments: Word,
) -> bool {
    let Some(dispatcher) = *DISPATCHER.read() else {
        return false;
    };
    if !Callback::handed_to(callback, dispatcher) {
        return false;
    }
    let message = env.tuple(&[kind, env.shared(callback), function, arguments]);
    env.send(&dispatcher, message);
    true
}
