//! How many requests wait in a context, and how many may.

use super::Client;
use crate::beam::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the requests that wait; shared with the places that it gives out.
#[derive(Clone)]
pub(crate) struct Queue {
    waiting: Arc<AtomicUsize>,
    most: usize,
}

/// The queue is full: so many wait, so many may.
pub(crate) struct Full {
    pub(crate) waiting: usize,
    pub(crate) most: usize,
}

impl Queue {
    /// No bound.
    pub(crate) const UNBOUNDED: usize = usize::MAX;

    /// At most `most` requests may wait.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: Arc::default(),
            most,
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many may wait; `usize::MAX`: any number.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.most != Self::UNBOUNDED
    }

    /// A place for one more request.
    pub(crate) fn enter(&self) -> Result<Place, Full> {
        if !self.is_bounded() {
            return Ok(self.enter_anyway());
        }
        // Never counted beyond the bound, not even for a moment: another would be refused for nothing.
        let one_more = |waiting: usize| (waiting < self.most).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map(|_before| self.place())
            .map_err(|waiting| Full {
                waiting,
                most: self.most,
            })
    }

    /// A place beyond the bound, for a request that another context had accepted.
    pub(crate) fn enter_anyway(&self) -> Place {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.place()
    }

    /// The places of a process that has ended.
    pub(super) fn leave(&self, places: usize) {
        self.waiting.fetch_sub(places, Ordering::Relaxed);
    }

    /// A place that does not count, for what is asked by nobody.
    pub(crate) fn enter_unseen() -> Place {
        Place {
            waiting: None,
            of: None,
        }
    }

    fn place(&self) -> Place {
        Place {
            waiting: Some(self.waiting.clone()),
            of: None,
        }
    }
}

/// A request's place among those that wait; given back when it starts, or is taken back.
pub(crate) struct Place {
    waiting: Option<Arc<AtomicUsize>>,
    /// Whose end gives it back as well, and whether a permit with it.
    of: Option<(Shared<Client>, bool)>,
}

impl Place {
    /// Whether it counts for nobody.
    pub(super) fn is_unseen(&self) -> bool {
        self.waiting.is_none()
    }

    /// The end of the process gives it back. `false`: it has ended.
    pub(super) fn join(&mut self, client: &Shared<Client>, permit: bool) -> bool {
        // The end would give back what was never taken.
        if self.is_unseen() {
            return true;
        }
        let alive = client.tally.join(permit);
        if alive {
            self.of = Some((client.clone(), permit));
        }
        alive
    }

    /// `false`: the end of the process has given it back already, and the permit.
    pub(super) fn give_back(mut self) -> bool {
        self.leave()
    }

    fn leave(&mut self) -> bool {
        let Some(waiting) = self.waiting.take() else {
            return true;
        };
        if let Some((client, permit)) = self.of.take()
            && !client.tally.leave(permit)
        {
            return false;
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
