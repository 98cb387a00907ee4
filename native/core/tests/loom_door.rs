//! Model-checks the door: all interleavings of an owner and visitors. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --release -p py_core --test loom_door`.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use py_core::door::Door;

struct Room {
    door: Door,
    inside: UnsafeCell<u32>,
    queued: AtomicBool,
}

impl Room {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            door: Door::new(),
            inside: UnsafeCell::new(0),
            queued: AtomicBool::new(false),
        })
    }

    /// Loom finds two that are inside at the same time.
    fn use_it(&self) {
        self.inside.with_mut(|inside| {
            // SAFETY: the model's claim.
            unsafe { *inside += 1 }
        });
    }
}

fn model(scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(scenario);
}

#[test]
fn nobody_meets_anybody_inside() {
    model(|| {
        let room = Room::new();
        let visitors: Vec<_> = (0..2)
            .map(|_| {
                let room = room.clone();
                thread::spawn(move || {
                    if let Ok(_visit) = room.door.enter() {
                        room.use_it();
                    }
                })
            })
            .collect();
        room.door.own_here();
        room.use_it();
        room.door.open();
        room.door.shut();
        room.use_it();
        for visitor in visitors {
            visitor.join().unwrap();
        }
    });
}

/// A process that has sent something to the owner's queue and visits then must not overtake it: the owner takes from
/// the queue only while the door is shut, and the visitor looks at the queue when it is inside.
#[test]
fn a_visitor_overtakes_nothing_of_its_own() {
    model(|| {
        let room = Room::new();
        let done = Arc::new(AtomicBool::new(false));
        let visitor = {
            let (room, done) = (room.clone(), done.clone());
            thread::spawn(move || {
                room.queued.store(true, Ordering::SeqCst);
                if let Ok(_visit) = room.door.enter()
                    && !room.queued.load(Ordering::SeqCst)
                {
                    assert!(done.load(Ordering::Relaxed));
                }
            })
        };
        room.door.own_here();
        room.door.open();
        room.door.shut();
        if room.queued.load(Ordering::SeqCst) {
            room.queued.store(false, Ordering::SeqCst);
            done.store(true, Ordering::Relaxed);
        }
        room.door.open();
        visitor.join().unwrap();
    });
}
