//! Requests that lie on one another without having to do with one another: an event loop serves whatever comes.

use super::Interrupts;
use std::sync::atomic::Ordering;

/// What lies below, with its interrupts.
pub(super) struct Segment {
    /// Outermost first; the last is the innermost one.
    requests: Vec<u64>,
    wanted: u64,
    delivered: u64,
}

impl Interrupts {
    /// What the owner thread runs from now on has nothing to do with what it ran. `false`: it ran nothing.
    pub(crate) fn begin_segment(&self) -> bool {
        let running = self.running();
        if running == 0 {
            return false;
        }
        // Whoever interrupts finds a request in one of the two places.
        let _gate = self.gate.lock();
        let mut requests = std::mem::take(&mut *self.below.lock());
        requests.push(running);
        self.outer.lock().push(Segment {
            requests,
            wanted: self.wanted.swap(0, Ordering::SeqCst),
            delivered: self.delivered.swap(0, Ordering::SeqCst),
        });
        self.nested.store(false, Ordering::Relaxed);
        self.running.store(0, Ordering::SeqCst);
        true
    }

    /// It goes on with what it ran before.
    pub(crate) fn end_segment(&self) {
        let _gate = self.gate.lock();
        let Some(mut segment) = self.outer.lock().pop() else {
            return;
        };
        let running = segment.requests.pop().unwrap_or_default();
        self.nested
            .store(!segment.requests.is_empty(), Ordering::Relaxed);
        *self.below.lock() = segment.requests;
        self.running.store(running, Ordering::SeqCst);
        self.wanted.store(segment.wanted, Ordering::SeqCst);
        self.delivered.store(segment.delivered, Ordering::SeqCst);
    }

    /// Notes an interrupt of a request that lies below others which have nothing to do with it. Its task is cancelled if
    /// it waits in an event loop; other code of it is interrupted when it goes on. For the holder of the gate.
    pub(super) fn interrupt_below(&self, request: u64) -> bool {
        let mut outer = self.outer.lock();
        let Some(segment) = outer
            .iter_mut()
            .find(|segment| segment.requests.contains(&request))
        else {
            return false;
        };
        let innermost = segment.requests.last().copied();
        if innermost == Some(request) && segment.delivered == request {
            // On its way out, and others hold it up.
            return true;
        }
        let place = |of: u64| segment.requests.iter().position(|&one| one == of);
        if place(segment.wanted).is_none_or(|wanted| Some(wanted) > place(request)) {
            segment.wanted = request;
            drop(outer);
            self.tasks.interrupt(request);
        }
        true
    }
}
