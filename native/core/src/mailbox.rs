//! The mailbox of a context: many producers, one consumer that parks when there is nothing to do.
//!
//! Producers are scheduler threads, so nothing here blocks them: a push is lock-free, and a wake-up
//! is one system call, made only when the consumer really sleeps.

use crate::spin::{SpinBudget, Spinner};
use crate::sync::{
    AtomicBool, AtomicIsize, AtomicU8, Mutex, MutexGuard, Ordering, Thread, fence, park_until,
    thread,
};
use std::collections::VecDeque;
use std::sync::{OnceLock, PoisonError};
use std::time::Instant;

/// What a mailbox needs from its queue; generic so that a model can bring its own.
pub trait Queue<T>: Default {
    /// Appends an item.
    fn push(&self, item: T);
    /// Takes the oldest item.
    fn pop(&self) -> Option<T>;
    /// Whether a [`Self::pop`] would find nothing.
    fn is_empty(&self) -> bool;
}

impl<T> Queue<T> for crossbeam_queue::SegQueue<T> {
    fn push(&self, item: T) {
        Self::push(self, item);
    }
    fn pop(&self) -> Option<T> {
        Self::pop(self)
    }
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// What [`Mailbox::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Take<T> {
    /// The oldest item.
    Item(T),
    /// Nothing yet.
    Empty,
    /// Nothing any more: closed, and every accepted item was taken.
    Closed,
}

/// Where the consumer is.
const AWAKE: u8 = 0;
const PARKED: u8 = 1;
/// It sleeps in something else, where the waker reaches it.
const ELSEWHERE: u8 = 2;

/// Wakes the consumer where it sleeps in something else.
struct Waker(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Waker")
    }
}

/// A queue that can be closed, and on which its one consumer can park.
#[derive(Debug)]
pub struct Mailbox<T, Q: Queue<T> = crossbeam_queue::SegQueue<T>> {
    queue: Q,
    /// What the consumer has put off while it could not see to it; older than what is in the queue.
    deferred: Mutex<VecDeque<T>>,
    has_deferred: AtomicBool,
    /// Pushes less pops; a pop may be counted before its push is, so this can be below zero for a moment.
    len: AtomicIsize,
    closed: AtomicBool,
    /// [`AWAKE`], [`PARKED`] or [`ELSEWHERE`]; whoever puts it back to the first one wakes the consumer.
    asleep: AtomicU8,
    consumer: OnceLock<Thread>,
    waker: OnceLock<Waker>,
    item: std::marker::PhantomData<fn(T) -> T>,
}

impl<T, Q: Queue<T>> Default for Mailbox<T, Q> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, Q: Queue<T>> Mailbox<T, Q> {
    /// An open, empty mailbox with no consumer yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: Q::default(),
            deferred: Mutex::new(VecDeque::new()),
            has_deferred: AtomicBool::new(false),
            len: AtomicIsize::new(0),
            closed: AtomicBool::new(false),
            asleep: AtomicU8::new(AWAKE),
            consumer: OnceLock::new(),
            waker: OnceLock::new(),
            item: std::marker::PhantomData,
        }
    }

    /// Makes the calling thread the consumer. Only the first call has an effect.
    pub fn consume_here(&self) {
        self.consumer.get_or_init(thread::current);
    }

    /// Appends an item and wakes the consumer. Returns `false` when the mailbox was closed by then:
    /// the item may or may not be seen by the drainer, so the two settle it over the item's state.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        self.queue.push(item);
        self.len.fetch_add(1, Ordering::Relaxed);
        self.wake();
        !self.is_closed()
    }

    /// Takes the oldest item, and tells apart "nothing yet" and "nothing any more".
    ///
    /// The look at `closed` comes before the look into the queue: in the other order, an item whose
    /// push was accepted between the two, just before the close, would be lost.
    pub fn take(&self) -> Take<T> {
        if self.has_deferred.load(Ordering::SeqCst)
            && let Some(item) = self.take_deferred(|_| true)
        {
            return Take::Item(item);
        }
        self.take_new()
    }

    /// Consumer only: as [`Self::take`], but leaves what was put off.
    pub fn take_new(&self) -> Take<T> {
        let closed = self.is_closed();
        fence(Ordering::SeqCst);
        match self.queue.pop() {
            Some(item) => {
                self.len.fetch_sub(1, Ordering::Relaxed);
                Take::Item(item)
            }
            None if closed => Take::Closed,
            None => Take::Empty,
        }
    }

    /// Consumer only: puts an item off, to be taken before everything that has not been seen yet. Returns `false`
    /// when the mailbox was closed by then, as [`Self::push`] does.
    #[must_use]
    pub fn defer(&self, item: T) -> bool {
        self.deferred().push_back(item);
        self.has_deferred.store(true, Ordering::SeqCst);
        self.len.fetch_add(1, Ordering::Relaxed);
        // Its partner is in `close`: whoever empties the mailbox after that sees the item, or it is refused here.
        fence(Ordering::SeqCst);
        !self.is_closed()
    }

    /// Takes the oldest of the items that were put off and are wanted.
    pub fn take_deferred(&self, wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let mut deferred = self.deferred();
        let place = deferred.iter().position(wanted)?;
        let item = deferred.remove(place);
        if deferred.is_empty() {
            self.has_deferred.store(false, Ordering::SeqCst);
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        item
    }

    fn deferred(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many items wait.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.len.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether an item waits, be it one that was put off.
    #[must_use]
    pub fn has_any(&self) -> bool {
        !self.is_empty() || self.has_deferred.load(Ordering::SeqCst)
    }

    /// Whether no item waits but those that were put off.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// No push after this is accepted. Returns `true` for the call that closed it.
    pub fn close(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        self.wake();
        first
    }

    /// Whether the mailbox was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Wakes the consumer if it sleeps. The fence orders what the caller has just published before
    /// the look at `asleep`; its partner is in [`Self::park`]. One of the two sides sees the other.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) == AWAKE {
            return;
        }
        match self.asleep.swap(AWAKE, Ordering::AcqRel) {
            PARKED => {
                if let Some(consumer) = self.consumer.get() {
                    consumer.unpark();
                }
            }
            ELSEWHERE => {
                if let Some(Waker(wake)) = self.waker.get() {
                    wake();
                }
            }
            _ => {}
        }
    }

    /// Consumer only: how it is woken in [`Self::sleep_elsewhere`]. Only the first call has an effect.
    pub fn wake_elsewhere_by(&self, waker: impl FnOnce() -> Box<dyn Fn() + Send + Sync>) {
        self.waker.get_or_init(|| Waker(waker()));
    }

    /// Consumer only: sleeps in something else than this mailbox. `body` calls its argument once it is sure to be woken
    /// there, and does not sleep if that says that there is something to do.
    pub fn sleep_elsewhere<R>(&self, body: impl FnOnce(&dyn Fn() -> bool) -> R) -> R {
        let result = body(&|| {
            // As in `park_unless`.
            self.asleep.swap(ELSEWHERE, Ordering::AcqRel);
            fence(Ordering::SeqCst);
            self.ready()
        });
        self.asleep.swap(AWAKE, Ordering::AcqRel);
        result
    }

    fn ready(&self) -> bool {
        !self.is_empty() || self.is_closed()
    }

    /// Consumer only: sleeps until there is a new item or the mailbox is closed.
    pub fn park(&self) {
        self.park_until(None);
    }

    /// Consumer only: as [`Self::park`], but not beyond a point in time.
    pub fn park_until(&self, deadline: Option<Instant>) {
        self.park_unless(deadline, || false);
    }

    /// Consumer only: as [`Self::park_until`], but not while `other` holds. Whoever makes it hold calls [`Self::wake`]
    /// afterwards.
    pub fn park_unless(&self, deadline: Option<Instant>, other: impl Fn() -> bool) {
        // A swap, not a store: it must come after the producers' swaps in their order, too.
        self.asleep.swap(PARKED, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if self.ready() || other() {
            self.asleep.swap(AWAKE, Ordering::AcqRel);
            return;
        }
        while self.asleep.load(Ordering::Acquire) != AWAKE {
            if !park_until(deadline) {
                self.asleep.swap(AWAKE, Ordering::AcqRel);
            }
        }
    }

    /// Consumer only: looks for work for a while, as `spinner` advises and `budget` allows; `true` when there
    /// is some (or nothing will come any more).
    pub fn look(&self, spinner: &mut Spinner, budget: &SpinBudget) -> bool {
        self.look_or(spinner, budget, || false)
    }

    /// Consumer only: as [`Self::look`]; `other` is work, too.
    pub fn look_or(
        &self,
        spinner: &mut Spinner,
        budget: &SpinBudget,
        other: impl Fn() -> bool,
    ) -> bool {
        spinner.spin(budget, || self.ready() || other())
    }

    /// Consumer only: sleeps until there is work, or for as long as it may; `spinner` learns how long that took.
    pub fn sleep(&self, spinner: &mut Spinner, deadline: Option<Instant>) {
        self.sleep_unless(spinner, deadline, || false);
    }

    /// Consumer only: as [`Self::sleep`], with [`Self::park_unless`].
    pub fn sleep_unless(
        &self,
        spinner: &mut Spinner,
        deadline: Option<Instant>,
        other: impl Fn() -> bool,
    ) {
        spinner.parked(|| self.park_unless(deadline, other));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn items_come_out_in_order_and_are_counted() {
        let mailbox: Mailbox<u32> = Mailbox::new();
        assert!(mailbox.push(1));
        assert!(mailbox.push(2));
        assert_eq!(mailbox.len(), 2);
        assert_eq!(mailbox.take(), Take::Item(1));
        assert!(mailbox.close());
        assert_eq!(mailbox.take(), Take::Item(2));
        assert_eq!(mailbox.take(), Take::Closed);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn what_was_put_off_comes_first_and_in_order() {
        let mailbox: Mailbox<u32> = Mailbox::new();
        for item in 1..=3 {
            assert!(mailbox.push(item));
        }
        for _ in 1..=3 {
            let Take::Item(item) = mailbox.take_new() else {
                unreachable!("three were pushed");
            };
            assert!(mailbox.defer(item));
        }
        assert!(mailbox.push(4));
        assert_eq!(mailbox.take_new(), Take::Item(4));
        assert_eq!(mailbox.take_new(), Take::Empty);
        assert_eq!(mailbox.len(), 3);
        assert_eq!(mailbox.take_deferred(|&item| item > 1), Some(2));
        assert_eq!(mailbox.take_deferred(|&item| item > 3), None);
        assert!(mailbox.close());
        assert!(!mailbox.defer(5));
        let rest: Vec<_> = std::iter::from_fn(|| match mailbox.take() {
            Take::Item(item) => Some(item),
            Take::Empty | Take::Closed => None,
        })
        .collect();
        assert_eq!(rest, [1, 3, 5]);
        assert_eq!(mailbox.take(), Take::Closed);
    }

    #[test]
    fn parking_ends_in_time() {
        let mailbox: Mailbox<u32> = Mailbox::new();
        mailbox.consume_here();
        let deadline = Instant::now() + std::time::Duration::from_millis(5);
        mailbox.park_until(Some(deadline));
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn a_push_into_a_closed_mailbox_is_reported() {
        let mailbox: Mailbox<u32> = Mailbox::new();
        assert!(mailbox.close());
        assert!(!mailbox.close());
        assert!(!mailbox.push(1));
    }

    #[test]
    fn a_consumer_that_sleeps_elsewhere_gets_everything() {
        let mailbox: Arc<Mailbox<u32>> = Arc::new(Mailbox::new());
        let (bell, rung) = std::sync::mpsc::channel();
        mailbox
            .wake_elsewhere_by(|| Box::new(move || bell.send(()).expect("the consumer listens")));
        let producers: Vec<_> = (0..4)
            .map(|_| {
                let mailbox = mailbox.clone();
                std::thread::spawn(move || {
                    for item in 0..1000 {
                        assert!(mailbox.push(item));
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while taken < 4000 {
            match mailbox.take() {
                Take::Item(_) => taken += 1,
                _ => mailbox.sleep_elsewhere(|begins| {
                    if !begins() {
                        rung.recv().expect("the mailbox keeps the bell");
                    }
                }),
            }
        }
        for producer in producers {
            producer.join().expect("all was pushed");
        }
        assert_eq!(mailbox.take(), Take::Empty);
    }

    #[test]
    fn items_that_arrive_together_cost_one_wake() {
        let mailbox: Arc<Mailbox<u32>> = Arc::new(Mailbox::new());
        let wakes = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = wakes.clone();
        mailbox.wake_elsewhere_by(|| {
            Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        });
        // To a consumer that is awake, none.
        assert!(mailbox.push(0));
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
        assert_eq!(mailbox.take(), Take::Item(0));
        for round in 1..=3 {
            mailbox.sleep_elsewhere(|begins| {
                assert!(!begins());
                assert!((1..=50).all(|item| mailbox.push(item)));
            });
            assert_eq!(wakes.load(Ordering::SeqCst), round);
            assert!((1..=50).all(|item| mailbox.take() == Take::Item(item)));
        }
    }

    #[test]
    fn a_parked_consumer_gets_everything_from_many_producers() {
        let mailbox: Arc<Mailbox<usize>> = Arc::new(Mailbox::new());
        let (producers, each) = (4, 20_000);
        let threads: Vec<_> = (0..producers)
            .map(|_| {
                let mailbox = mailbox.clone();
                std::thread::spawn(move || (1..=each).all(|i| mailbox.push(i)))
            })
            .collect();
        mailbox.consume_here();
        let (mut count, mut sum) = (0, 0);
        while count < producers * each {
            match mailbox.take() {
                Take::Item(i) => {
                    count += 1;
                    sum += i;
                }
                Take::Empty => mailbox.park(),
                Take::Closed => unreachable!("nobody closes it"),
            }
        }
        assert!(
            threads
                .into_iter()
                .all(|t| t.join().is_ok_and(|accepted| accepted))
        );
        assert_eq!(sum, producers * each * (each + 1) / 2);
    }
}
