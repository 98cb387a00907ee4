//! How many requests wait in a context, and how many may.

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

    /// A place for one more request.
    pub(crate) fn enter(&self) -> Result<Place, Full> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.waiting.clone());
        if before < self.most {
            return Ok(place);
        }
        Err(Full {
            waiting: before,
            most: self.most,
        })
    }

    /// A place beyond the bound, for a request that another context had accepted.
    pub(crate) fn enter_anyway(&self) -> Place {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Place(self.waiting.clone())
    }
}

/// A request's place among those that wait; dropped when it starts, or is taken back.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
