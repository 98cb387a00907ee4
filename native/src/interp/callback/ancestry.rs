//! Which contexts wait for one another.
//!
//! A callback leads to requests, whose code leads to callbacks: a tree. A context that waits for a callback runs
//! what descends from it, and nothing else; so it is blocked for every other request until that callback has its
//! answer, and that may take as long as the request takes that the callback's process waits for. It may wait for several
//! on top of one another, or run something on top of its wait, and has to come back from all of that.

use super::record::Callback;
use crate::beam::{Pid, Shared};
use crate::interp::{Context, Looked, Request, Turn, registry};
use parking_lot::Mutex;
use std::collections::HashMap;
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

/// A request that somebody waits for, and that was made in a callback.
struct Asked {
    request: u64,
    made_in: Shared<Callback>,
    context: Arc<Context>,
    /// Where the request is among those that were found before, because of which this one matters.
    because_of: Option<usize>,
}

/// The contexts on the way from a new request, whose parent is given, back to itself.
///
/// A request may have to wait for several callbacks, and each for a request of its own: all of that is gone through.
fn circle(parent: &Shared<Callback>, request: u64, target: &Arc<Context>) -> Option<Vec<Pid>> {
    let mut looked: HashMap<u64, Looked> = HashMap::new();
    let mut found = vec![Asked {
        request,
        made_in: parent.clone(),
        context: target.clone(),
        because_of: None,
    }];
    let mut next = 0;
    while let Some(asked) = found.get(next) {
        let looked = looked.entry(asked.context.serial).or_default();
        match asked
            .context
            .turn(asked.request, &asked.made_in, parent, looked)
        {
            Turn::Never => return Some(way(&found, next)),
            Turn::After(waits) => found.extend(waits.into_iter().filter_map(|wait| {
                let (request, serial) = wait.awaited()?;
                Some(Asked {
                    request,
                    context: registry().by_serial(serial)?,
                    made_in: wait,
                    because_of: Some(next),
                })
            })),
        }
        next += 1;
    }
    None
}

/// The contexts of a request and of those that led to it, from the first one on.
fn way(found: &[Asked], last: usize) -> Vec<Pid> {
    let mut way: Vec<Pid> = Vec::new();
    let mut place = Some(last);
    while let Some(asked) = place.and_then(|place| found.get(place)) {
        let pid = asked.context.pid;
        if way.iter().all(|other| other.word() != pid.word()) {
            way.push(pid);
        }
        place = asked.because_of;
    }
    way.reverse();
    way
}
