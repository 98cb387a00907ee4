//! `erlang.call`: from the arguments to the result.

use super::answers::Answers;
use super::dispatch;
use super::raised::{outcome, raise};
use super::record::{Callback, Reply, Waiter};
use super::stage::Stage;
use super::station::Station;
use super::tools::{Tools, with_tools};
use super::wait::{Waiting, wait};
use crate::beam::{Shared, TermEnv, Word};
use crate::interp::trace::wrapped;
use crate::interp::{Context, Kind, Request, inline};
use crate::interrupt::{NOBODY, scope_of_code};
use crate::py::{Object, Python, Raised, Result};
use crate::sandbox::refuse_to_wait;
use parking_lot::Condvar;
use std::sync::Arc;

/// What is called.
#[derive(Clone, Copy)]
pub(super) enum Function<'a, 'py> {
    /// Registered under a name.
    Named(&'a str),
    /// An `erlang.Fun`.
    Fun(&'a Object<'py>),
}

/// Calls and waits.
pub(super) fn call<'py>(
    py: Python<'py>,
    function: Function<'_, 'py>,
    arguments: &[Object<'py>],
) -> Result<Object<'py>> {
    match Stage::here() {
        Some(stage) => on_owner_thread(py, &stage, function, arguments),
        None => on_other_thread(py, function, arguments),
    }
}

fn on_owner_thread<'py>(
    py: Python<'py>,
    stage: &Stage,
    function: Function<'_, 'py>,
    arguments: &[Object<'py>],
) -> Result<Object<'py>> {
    let context = &stage.context;
    let (request, scope) = may_call(py, context)?;
    let mut owner = stage.borrow();
    let mut env = context.envs.take();
    let terms = with_tools(py, owner.as_deref_mut(), context, |tools| {
        terms(py, tools, &env, function, arguments)
    });
    let (function, arguments) = match terms {
        Ok(terms) => terms,
        Err(raised) => {
            context.envs.put(env);
            return Err(raised);
        }
    };
    let by_caller = request
        .as_ref()
        .is_some_and(|request| request.kind == Kind::Call);
    let waiter = Waiter::Owner(Arc::downgrade(context));
    let callback = Callback::new(request.clone(), owner.is_some(), by_caller, waiter);
    let waiting = Waiting::begin(context, &callback);
    match request.filter(|_| by_caller) {
        Some(request) => {
            let rest = [
                env.shared(&callback),
                function,
                arguments,
                request.left(&env),
            ];
            if !request.call_out(&mut env, &rest) {
                context.envs.put(env);
                return Err(context.interrupts.raised_for(py, scope));
            }
        }
        None if dispatch::dispatch(&callback, &mut env, function, arguments) => {}
        None => return Err(nobody_there(py)),
    }
    context.envs.put(env);
    let reply = wait(py, waiting, scope, owner.as_deref_mut())?;
    let result = with_tools(py, owner.as_deref_mut(), context, |tools| {
        outcome(py, tools, &reply.env, reply.word)
    });
    context.envs.put(reply.env);
    result?.map_err(raise)
}

fn on_other_thread<'py>(
    py: Python<'py>,
    function: Function<'_, 'py>,
    arguments: &[Object<'py>],
) -> Result<Object<'py>> {
    refuse_to_wait(py, "erlang.call")?;
    let (station, context) = here(py)?;
    let mut env = TermEnv::new();
    let (function, arguments) = with_tools(py, None, &context, |tools| {
        terms(py, tools, &env, function, arguments)
    })?;
    let callback = Callback::new(None, false, false, Waiter::Thread(Condvar::new()));
    let reply = py.detached(|| {
        station.waiting(&callback, || {
            if dispatch::dispatch(&callback, &mut env, function, arguments) {
                Some(callback.wait())
            } else {
                None
            }
        })
    });
    let Some(reply) = reply else {
        return Err(nobody_there(py));
    };
    let reply = reply.ok_or_else(|| ended(py))?;
    let result = with_tools(py, None, &context, |tools| {
        outcome(py, tools, &reply.env, reply.word)
    });
    result?.map_err(raise)
}

/// Calls and does not wait: the answer goes to an event loop under a number.
pub(super) fn submit<'py>(
    py: Python<'py>,
    function: Function<'_, 'py>,
    arguments: &[Object<'py>],
    answers: &Arc<Answers>,
    number: u64,
) -> Result<()> {
    let (context, request) = match Stage::here() {
        Some(stage) => {
            let (request, _scope) = may_call(py, &stage.context)?;
            (stage.context.clone(), request)
        }
        None => {
            refuse_to_wait(py, "erlang.async_call")?;
            (here(py)?.1, None)
        }
    };
    let mut env = TermEnv::new();
    let (function, arguments) = with_tools(py, None, &context, |tools| {
        terms(py, tools, &env, function, arguments)
    })?;
    let waiter = Waiter::Loop(Arc::downgrade(answers), number);
    let callback = Callback::new(request, false, false, waiter);
    answers.expect(number, &callback);
    if dispatch::dispatch(&callback, &mut env, function, arguments) {
        return Ok(());
    }
    answers.forget(number);
    Err(nobody_there(py))
}

/// What came for an event loop: a value, or an exception.
pub(super) fn received<'py>(
    py: Python<'py>,
    reply: &Reply,
) -> Result<std::result::Result<Object<'py>, Object<'py>>> {
    let context = match Stage::here() {
        Some(stage) => stage.context.clone(),
        None => here(py)?.1,
    };
    with_tools(py, None, &context, |tools| {
        outcome(py, tools, &reply.env, reply.word)
    })
}

/// The request whose code calls, and the scope of that code; an exception when it must end.
fn may_call(py: Python<'_>, context: &Context) -> Result<(Option<Shared<Request>>, i64)> {
    let scope = scope_of_code(py, &context.interrupts);
    let request = request_of(context, scope);
    if context.mailbox.is_closed() {
        return Err(match request {
            Some(_) => context.interrupts.raised_for(py, scope),
            None => ended(py),
        });
    }
    if let Some(request) = request.as_ref().filter(|request| request.is_late()) {
        request.set_timed_out();
        return Err(context.interrupts.raised_for(py, scope));
    }
    if request
        .as_ref()
        .is_some_and(|request| request.state.is_cancelled())
    {
        return Err(context.interrupts.raised_for(py, scope));
    }
    Ok((request, scope))
}

/// The request that code of this scope runs for, on the owner thread.
pub(in crate::interp) fn request_of(context: &Context, scope: i64) -> Option<Shared<Request>> {
    if scope == NOBODY && context.interrupts.pumps() {
        None
    } else if scope == NOBODY {
        // Finalisers may run on top of a request that waits itself: they are no part of it.
        let running = context.interrupts.running();
        let request = context.innermost();
        request.filter(|request| request.id == running)
    } else {
        context.started(scope.cast_unsigned())
    }
}

/// The interpreter's station, and a context that is served there.
pub(in crate::interp) fn here(py: Python<'_>) -> Result<(Arc<Station>, Arc<Context>)> {
    let visited = inline::visited(py)?;
    let station = Station::of(py.interpreter_id()).ok_or_else(|| ended(py))?;
    let context = visited.or_else(|| station.context());
    Ok((station, context.ok_or_else(|| ended(py))?))
}

pub(super) fn ended(py: Python<'_>) -> Raised {
    Raised::runtime_error(
        py,
        "no Erlang function can be called here: the context has ended, or has not begun to take requests",
    )
}

fn nobody_there(py: Python<'_>) -> Raised {
    Raised::runtime_error(py, "the application erlang_python is not running")
}

/// The terms of a function and its arguments.
fn terms<'py>(
    py: Python<'py>,
    tools: &mut Tools<'_>,
    env: &TermEnv,
    function: Function<'_, 'py>,
    arguments: &[Object<'py>],
) -> Result<(Word, Word)> {
    let function = match function {
        Function::Named(name) => env.binary(name.as_bytes()),
        Function::Fun(fun) => tools.term(py, env, fun)?,
    };
    let function = wrapped(py, tools.types.trace(), env, function);
    let mut words = Vec::with_capacity(arguments.len());
    for argument in arguments {
        words.push(tools.term(py, env, argument)?);
    }
    Ok((function, env.list_of(&words)))
}
