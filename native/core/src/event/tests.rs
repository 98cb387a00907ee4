//! What the waiting promises, with pipes for descriptors.

use super::{Bell, Event, Poller, READ, WRITE, Wake};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

fn open() -> (u64, Arc<Poller>) {
    let number = Poller::open().expect("a set");
    (number, Poller::get(number).expect("it was opened"))
}

fn ready(poller: &Poller) -> Vec<(RawFd, u8)> {
    let mut events: Vec<Event> = Vec::new();
    poller.poll(&mut events).expect("a set");
    let pair = |event: &Event| (event.descriptor, event.interest);
    events.iter().map(pair).collect()
}

/// Under a number that is given, or that nothing else gets: tests run at the same time.
fn duplicate(descriptor: RawFd, number: Option<RawFd>) -> OwnedFd {
    static NEXT: AtomicI32 = AtomicI32::new(500);
    // SAFETY: open descriptors; the result is ours.
    unsafe {
        let copy = match number {
            Some(number) => libc::dup2(descriptor, number),
            None => {
                let least = NEXT.fetch_add(10, Ordering::Relaxed);
                libc::fcntl(descriptor, libc::F_DUPFD, least)
            }
        };
        assert_ne!(copy, -1);
        OwnedFd::from_raw_fd(copy)
    }
}

#[test]
fn what_is_ready_is_told_until_it_was_read() {
    let (number, poller) = open();
    let bell = Bell::new().expect("a pipe");
    poller.add(bell.descriptor(), READ).expect("a pipe");
    assert_eq!(ready(&poller), []);
    bell.ring();
    assert!(poller.is_ready());
    for _ in 0..2 {
        assert_eq!(ready(&poller), [(bell.descriptor(), READ)]);
    }
    bell.silence();
    assert_eq!(ready(&poller), []);
    bell.ring();
    poller.remove(bell.descriptor());
    assert_eq!(ready(&poller), []);
    assert!(!poller.has_descriptors());
    Poller::close(number);
    assert!(Poller::get(number).is_none());
}

#[test]
fn a_number_that_became_another_file_is_told_at_the_next_change() {
    let (_number, poller) = open();
    let (first, second) = (Bell::new().expect("a pipe"), Bell::new().expect("a pipe"));
    let descriptor = duplicate(first.descriptor(), None);
    let reused = descriptor.as_raw_fd();
    poller.add(reused, READ).expect("a pipe");
    assert!(poller.modify(reused, READ).expect("a pipe"));
    drop(descriptor);
    drop(first);
    let descriptor = duplicate(second.descriptor(), Some(reused));
    assert!(!poller.modify(reused, READ).expect("a pipe"));
    second.ring();
    assert_eq!(ready(&poller), [(descriptor.as_raw_fd(), READ)]);
}

#[test]
fn a_closed_number_whose_duplicate_lives_does_not_keep_the_loop_busy() {
    let (_number, poller) = open();
    let (first, second) = (Bell::new().expect("a pipe"), Bell::new().expect("a pipe"));
    let descriptor = duplicate(first.descriptor(), None);
    poller.add(descriptor.as_raw_fd(), READ).expect("a pipe");
    poller.add(second.descriptor(), READ).expect("a pipe");
    let closed = descriptor.as_raw_fd();
    drop(descriptor);
    poller.remove(closed);
    first.ring();
    assert_eq!(ready(&poller), []);
    assert!(!poller.is_ready());
    second.ring();
    assert_eq!(ready(&poller), [(second.descriptor(), READ)]);
}

#[test]
fn both_directions_are_told_apart() {
    let (_number, poller) = open();
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors, which are ours.
    let (ours, theirs) = unsafe {
        let made = libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr());
        assert_eq!(made, 0);
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    poller
        .add(ours.as_raw_fd(), READ | WRITE)
        .expect("a socket");
    assert_eq!(ready(&poller), [(ours.as_raw_fd(), WRITE)]);
    poller.modify(ours.as_raw_fd(), READ).expect("a socket");
    assert_eq!(ready(&poller), []);
    // The end of the other side is for whoever looks.
    drop(theirs);
    let events = ready(&poller);
    assert!(matches!(events[..], [(descriptor, interest)]
        if descriptor == ours.as_raw_fd() && interest & READ != 0));
}

#[test]
fn waking_before_and_during_a_sleep_ends_it() {
    let (_number, poller) = open();
    let mut events = Vec::new();
    poller.wake();
    poller.sleep(&mut events, None).expect("a set");
    assert!(poller.take_woken() && !poller.take_woken());
    let waker = poller.clone();
    let thread = std::thread::spawn(move || waker.wake());
    poller.sleep(&mut events, None).expect("a set");
    thread.join().expect("no panic");
    assert!(poller.take_woken());
    // The bell that ended a sleep ends no other.
    poller
        .sleep(&mut events, Some(Duration::from_millis(1)))
        .expect("a set");
    assert!(!poller.is_woken() && events.is_empty());
}

#[test]
fn a_loop_that_sleeps_elsewhere_is_woken_there_once() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (_number, poller) = open();
    let place = Arc::new(Count(AtomicUsize::new(0)));
    let asleep = poller.sleeps_elsewhere(place.clone());
    poller.wake();
    poller.wake();
    assert_eq!(place.0.load(Ordering::SeqCst), 1);
    drop(asleep);
    assert!(poller.take_woken());
    poller.wake();
    assert_eq!(place.0.load(Ordering::SeqCst), 1);
}
