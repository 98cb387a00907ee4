//! Model-checks the counting of permits and of what waiting requests hold: all interleavings of small
//! scenarios. Run with `RUSTFLAGS="--cfg loom" cargo test --release -p py_core --test loom_permits`.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::sync::Arc;
use loom::thread;
use py_core::permits::Permits;
use py_core::tally::Tally;

fn bounded(max: u32) -> Arc<Permits> {
    let permits = Arc::new(Permits::new());
    assert_eq!(permits.set_max(max), 0);
    permits
}

#[test]
fn one_of_two_gets_the_last_permit() {
    loom::model(|| {
        let permits = bounded(1);
        let other = {
            let permits = permits.clone();
            thread::spawn(move || permits.enter().is_ok())
        };
        let mine = permits.enter().is_ok();
        assert!(mine ^ other.join().unwrap());
        assert_eq!(permits.current(), 1);
    });
}

#[test]
fn a_permit_that_is_given_back_reaches_who_waits() {
    loom::model(|| {
        let permits = bounded(1);
        assert_eq!(permits.enter(), Ok(true));
        let holder = {
            let permits = permits.clone();
            thread::spawn(move || permits.leave())
        };
        let to_me = permits.wait();
        assert_eq!(to_me + holder.join().unwrap(), 1);
        assert_eq!(permits.current(), 1);
    });
}

#[test]
fn a_higher_bound_and_a_permit_given_back_leave_nobody_waiting() {
    loom::model(|| {
        let permits = bounded(1);
        assert_eq!(permits.enter(), Ok(true));
        assert_eq!((permits.wait(), permits.wait()), (0, 0));
        let holder = {
            let permits = permits.clone();
            thread::spawn(move || permits.leave())
        };
        let granted = permits.set_max(2);
        assert_eq!(granted + holder.join().unwrap(), 2);
        assert_eq!(permits.current(), 2);
    });
}

#[test]
fn who_stops_waiting_or_its_successor_gets_the_permit() {
    loom::model(|| {
        let permits = bounded(1);
        assert_eq!(permits.enter(), Ok(true));
        assert_eq!(permits.wait(), 0);
        let holder = {
            let permits = permits.clone();
            thread::spawn(move || permits.leave())
        };
        let withdrawn = permits.stop_waiting();
        let granted = holder.join().unwrap();
        assert_eq!(granted, u32::from(!withdrawn));
        assert_eq!(permits.current(), granted);
    });
}

#[test]
fn each_share_is_given_back_once() {
    loom::model(|| {
        let tally = Arc::new(Tally::new());
        assert!(tally.join(true));
        let starts = {
            let tally = tally.clone();
            thread::spawn(move || tally.leave(true))
        };
        let (places, permits) = tally.end();
        let by_request = usize::from(starts.join().unwrap());
        assert_eq!((places + by_request, permits + by_request), (1, 1));
    });
}
