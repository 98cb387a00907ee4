//! How many requests of this node may be in flight, and who is told that a permit is free.
//!
//! The process `py_semaphore` stands in line for all processes that wait for a permit of their own. It holds what
//! it was lent; a successor begins with nothing, and what was lent to the one before goes back.

use super::reaper::reaper;
use crate::beam::{Pid, TermEnv, atoms};
use parking_lot::Mutex;
use py_core::permits::{Overloaded, Permits};
use std::sync::atomic::{AtomicBool, Ordering};

static PERMITS: Permits = Permits::new();

static LENDING: Mutex<Lending> = Mutex::new(Lending {
    server: None,
    lent: 0,
    untold: 0,
});

struct Lending {
    server: Option<Pid>,
    /// What the server holds for others, or will hold when it is told.
    lent: u32,
    /// How many of those it was not told of.
    untold: u32,
}

/// The permit of one request, or none where there was no bound when it was submitted.
pub(crate) struct Permit(AtomicBool);

impl Permit {
    pub(crate) fn take() -> Result<Self, Overloaded> {
        PERMITS.enter().map(|taken| Self(AtomicBool::new(taken)))
    }

    /// None, for what is part of something that has one.
    pub(crate) fn none() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(super) fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The code of the request has ended, or never begins. Only the first call counts.
    pub(super) fn give_back(&self) {
        if self.is_held() && self.0.swap(false, Ordering::AcqRel) {
            give_back(1);
        }
    }

    /// It was given back with all others of its process.
    pub(super) fn forget(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Gives permits back. May be called on any thread: the reaper tells who has waited for them.
pub(super) fn give_back(permits: usize) {
    let granted = (0..permits).map(|_| PERMITS.leave()).sum::<u32>();
    if granted > 0 {
        let mut lending = LENDING.lock();
        lending.lent += granted;
        lending.untold += granted;
        drop(lending);
        reaper().permits_granted();
    }
}

/// Tells the server of the permits that it was granted meanwhile. Not for schedulers.
pub(super) fn tell_server() {
    let (server, granted) = {
        let mut lending = LENDING.lock();
        (lending.server, std::mem::take(&mut lending.untold))
    };
    if let Some(server) = server
        && granted > 0
    {
        let mut env = TermEnv::new();
        let message = env.tuple(&[atoms().py_permits, env.int(i64::from(granted))]);
        env.send(&server, message);
    }
}

/// A new server, for whom nobody waits and who holds nothing.
pub(crate) fn open(server: Pid) {
    PERMITS.dissolve_line();
    let lent = {
        let mut lending = LENDING.lock();
        lending.server = Some(server);
        lending.untold = 0;
        std::mem::take(&mut lending.lent)
    };
    give_back(lent as usize);
}

/// One more process waits. Gives the permits that are the line's at once.
pub(crate) fn wait() -> u32 {
    lend(PERMITS.wait())
}

/// One process less waits; `false`: a permit is on its way.
pub(crate) fn stop_waiting() -> bool {
    PERMITS.stop_waiting()
}

/// Another bound. Gives the permits that are the line's now.
pub(crate) fn set_max(max: u32) -> u32 {
    lend(PERMITS.set_max(max))
}

/// The server gives one back.
pub(crate) fn release() {
    let mut lending = LENDING.lock();
    let held = lending.lent > 0;
    lending.lent -= u32::from(held);
    drop(lending);
    if held {
        give_back(1);
    }
}

/// How many permits are taken, and how many there are.
pub(crate) fn counted() -> (u32, u32) {
    (PERMITS.current(), PERMITS.max())
}

fn lend(granted: u32) -> u32 {
    if granted > 0 {
        LENDING.lock().lent += granted;
    }
    granted
}
