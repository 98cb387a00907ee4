//! The door of something that one thread owns and others may use while the owner idles.
//!
//! The owner opens the door when it has nothing to do and shuts it before it goes on. A visitor enters an open door, or
//! is turned away at once: nobody but the owner ever waits here, and it waits for one visit at most, since nobody
//! enters while it does. Visits are numbered, so that others can tell one from the next.
//!
//! ```text
//!   SHUT ──open──▶ OPEN ──enter──▶ INSIDE ──leave──▶ OPEN
//!    ▲ ◀──shut──────┘                 │ shut
//!    └────────────leave────────── AWAITED
//! ```

use crate::sync::{AtomicU64, Ordering, Thread, park_until, spin_loop, thread};
use std::sync::OnceLock;

const SHUT: u64 = 0;
const OPEN: u64 = 1;
const INSIDE: u64 = 2;
/// A visitor is inside, and the owner waits for it to leave.
const AWAITED: u64 = 3;

const STATE: u64 = 3;
/// The number of the visit is above the state.
const ONE_VISIT: u64 = 4;

/// How often a visitor looks again while another one is inside: less than a microsecond.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 16 };

/// How often the owner looks before it parks: visits are short.
const OWNER_LOOKS: u32 = if cfg!(loom) { 1 } else { 200 };

/// Why a visitor was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// The owner is at work, or about to be.
    Shut,
    /// Another visitor is inside.
    Taken,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Door {
    word: AtomicU64,
    owner: OnceLock<Thread>,
}

impl Door {
    /// A shut door without an owner yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the calling thread the owner. Only the first call has an effect.
    pub fn own_here(&self) {
        self.owner.get_or_init(thread::current);
    }

    /// Owner only, of a door that is shut: visitors may enter, and find what the owner has done before.
    pub fn open(&self) {
        let word = self.word.load(Ordering::Relaxed);
        debug_assert_eq!(word & STATE, SHUT);
        self.word.store(word & !STATE | OPEN, Ordering::Release);
    }

    /// Owner only, of a door that is open: waits for the visitor inside, and finds what visitors have done.
    pub fn shut(&self) {
        for _ in 0..OWNER_LOOKS {
            let word = self.word.load(Ordering::Relaxed);
            if word & STATE == OPEN && self.change(word, SHUT).is_ok() {
                return;
            }
            spin_loop();
        }
        loop {
            let word = self.word.load(Ordering::Acquire);
            let _changed = match word & STATE {
                SHUT => return,
                OPEN => self.change(word, SHUT),
                INSIDE => self.change(word, AWAITED),
                _ => {
                    park_until(None);
                    continue;
                }
            };
        }
    }

    fn change(&self, word: u64, state: u64) -> Result<u64, u64> {
        self.word.compare_exchange_weak(
            word,
            word & !STATE | state,
            Ordering::Acquire,
            Ordering::Relaxed,
        )
    }

    /// Enters, alone. Looks for less than a microsecond where another visitor is inside.
    ///
    /// # Errors
    /// Says who is in the way.
    pub fn enter(&self) -> Result<Visit<'_>, Away> {
        for _ in 0..LOOKS {
            let word = self.word.load(Ordering::Relaxed);
            match word & STATE {
                OPEN => {
                    let entered = (word & !STATE | INSIDE).wrapping_add(ONE_VISIT);
                    // Sequentially consistent: whoever looks for visits after having said so sees this one.
                    let exchanged = self.word.compare_exchange_weak(
                        word,
                        entered,
                        Ordering::SeqCst,
                        Ordering::Relaxed,
                    );
                    if exchanged.is_ok() {
                        return Ok(Visit {
                            door: self,
                            entered,
                        });
                    }
                }
                INSIDE => spin_loop(),
                _ => return Err(Away::Shut),
            }
        }
        Err(Away::Taken)
    }

    /// The number of the visit that goes on, if there is one.
    #[must_use]
    pub fn visit(&self) -> Option<u64> {
        let word = self.word.load(Ordering::SeqCst);
        (word & STATE >= INSIDE).then_some(word / ONE_VISIT)
    }

    /// How many visits there were.
    #[must_use]
    pub fn visits(&self) -> u64 {
        self.word.load(Ordering::Relaxed) / ONE_VISIT
    }
}

/// A visitor is inside until this is dropped.
#[derive(Debug)]
pub struct Visit<'d> {
    door: &'d Door,
    entered: u64,
}

impl Visit<'_> {
    /// See [`Door::visit`].
    #[must_use]
    pub fn number(&self) -> u64 {
        self.entered / ONE_VISIT
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let word = &self.door.word;
        let left = self.entered & !STATE | OPEN;
        if word
            .compare_exchange(self.entered, left, Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            // The owner waits: nobody else changes the word while a visitor is inside.
            word.store(self.entered & !STATE | SHUT, Ordering::Release);
            if let Some(owner) = self.door.owner.get() {
                owner.unpark();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_shut_door_turns_visitors_away() {
        let door = Door::new();
        assert_eq!(door.enter().err(), Some(Away::Shut));
        door.open();
        let visit = door.enter().expect("open");
        assert_eq!(door.visit(), Some(visit.number()));
        assert_eq!(door.enter().err(), Some(Away::Taken));
        drop(visit);
        assert_eq!(door.visit(), None);
        let second = door.enter().expect("open again");
        assert_eq!(second.number(), 2);
        drop(second);
        door.shut();
        assert_eq!(door.enter().err(), Some(Away::Shut));
        assert_eq!(door.visits(), 2);
    }

    struct Counted(UnsafeCell<u64>);
    // SAFETY: the test's claim: the door keeps its users apart.
    unsafe impl Sync for Counted {}

    #[test]
    fn the_owner_and_visitors_keep_out_of_each_others_way() {
        let shared = Arc::new((
            Door::new(),
            Counted(UnsafeCell::new(0)),
            AtomicBool::new(false),
        ));
        let visitors: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let (door, counted, over) = &*shared;
                    let mut visits = 0;
                    while !over.load(Ordering::Relaxed) {
                        if let Ok(_visit) = door.enter() {
                            // SAFETY: inside, alone.
                            unsafe { *counted.0.get() += 1 };
                            visits += 1;
                        }
                    }
                    visits
                })
            })
            .collect();
        let (door, counted, over) = &*shared;
        door.own_here();
        let turns = 20_000;
        for _ in 0..turns {
            door.open();
            door.shut();
            // SAFETY: the door is shut.
            unsafe { *counted.0.get() += 1 };
        }
        over.store(true, Ordering::Relaxed);
        let visits: u64 = visitors
            .into_iter()
            .map(|visitor| visitor.join().expect("no panic"))
            .sum();
        // SAFETY: nobody else is left.
        assert_eq!(unsafe { *counted.0.get() }, turns + visits);
        assert_eq!(door.visits(), visits);
    }
}
