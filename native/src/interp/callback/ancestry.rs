//! Which contexts wait for one another.
//!
//! A callback leads to requests, whose code leads to callbacks: a tree. A context that waits for a callback runs
//! what descends from it, and nothing else; so it is blocked for every other request until that callback has its
//! answer, and that may take as long as the request takes that the callback's process waits for.

use super::record::Callback;
use crate::beam::{Pid, Shared};
use crate::interp::{Context, Request, Turn, registry};
use parking_lot::Mutex;
use std::sync::Arc;

/// Contexts that would wait for one another.
pub(crate) struct Circle(pub(crate) Vec<Pid>);

/// Two requests that would close a circle together: one of them must see the other.
static SUBMITTING: Mutex<()> = Mutex::new(());

/// The process that runs `parent` is about to wait for `request`, which goes to `target`.
pub(crate) fn awaits(
    parent: &Shared<Callback>,
    request: &Request,
    target: &Arc<Context>,
) -> Result<(), Circle> {
    let _one_after_another = SUBMITTING.lock();
    parent.awaits(request);
    circle(parent, request.id, target).map_or(Ok(()), |pids| {
        parent.awaits_no_more(request.id);
        Err(Circle(pids))
    })
}

/// The contexts on the way from a new request, whose parent is given, back to itself.
fn circle(parent: &Shared<Callback>, request: u64, target: &Arc<Context>) -> Option<Vec<Pid>> {
    let mut path = Vec::new();
    // A request to `context`, made in `made_in`, that somebody waits for.
    let (mut request, mut made_in, mut context) = (request, parent.clone(), target.clone());
    loop {
        if path
            .iter()
            .any(|pid: &Pid| pid.word() == context.pid.word())
        {
            // Others go round in a circle of their own, which their requests have been told.
            return None;
        }
        path.push(context.pid);
        let wait = match context.turn(request, &made_in, parent) {
            Turn::Comes => return None,
            Turn::Never => return Some(path),
            Turn::After(wait) => wait,
        };
        let serial;
        (request, serial) = wait.awaited()?;
        context = registry().by_serial(serial)?;
        made_in = wait;
    }
}
