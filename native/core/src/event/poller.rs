//! The descriptors of one event loop, and how another thread wakes the loop.

use super::bell::Bell;
use super::poll::{Event, Interest, PollSet, READ};
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Wakes whoever sleeps somewhere else than in the poller's own set.
pub trait Wake: Send + Sync {
    /// May be called on any thread, schedulers included.
    fn wake(&self);
}

/// Where the loop's thread sleeps, or is about to.
enum Sleeping {
    Nowhere,
    InTheSet,
    Elsewhere(Arc<dyn Wake>),
}

/// See the module.
pub struct Poller {
    set: RwLock<PollSet>,
    /// How often the set was made anew.
    generation: AtomicU64,
    interests: Mutex<HashMap<RawFd, Interest>>,
    watched: AtomicUsize,
    /// Numbers that were closed before they were removed. A duplicate may keep their files in the set, which would then
    /// speak for the next files of those numbers.
    left: Mutex<HashSet<RawFd>>,
    woken: AtomicBool,
    sleeping: Mutex<Sleeping>,
    /// In the set. Made with it: later there may be no descriptors left.
    bell: Bell,
}

fn all() -> &'static RwLock<HashMap<u64, Arc<Poller>>> {
    static ALL: OnceLock<RwLock<HashMap<u64, Arc<Poller>>>> = OnceLock::new();
    ALL.get_or_init(RwLock::default)
}

impl Poller {
    /// A new one under a number that no other ever has.
    pub fn open() -> io::Result<u64> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (set, bell) = (PollSet::new()?, Bell::new()?);
        set.add(bell.descriptor(), READ)?;
        let poller = Self {
            set: RwLock::new(set),
            generation: AtomicU64::new(0),
            interests: Mutex::default(),
            watched: AtomicUsize::new(0),
            left: Mutex::default(),
            woken: AtomicBool::new(false),
            sleeping: Mutex::new(Sleeping::Nowhere),
            bell,
        };
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        all().write().insert(number, Arc::new(poller));
        Ok(number)
    }

    pub fn get(number: u64) -> Option<Arc<Self>> {
        all().read().get(&number).cloned()
    }

    /// Its descriptor is closed when nobody is about to use it.
    pub fn close(number: u64) {
        let closed = all().write().remove(&number);
        drop(closed);
    }

    pub fn add(&self, descriptor: RawFd, interest: Interest) -> io::Result<()> {
        self.set.read().add(descriptor, interest)?;
        self.note(|interests| {
            interests.insert(descriptor, interest);
        });
        if self.left.lock().contains(&descriptor) {
            self.make_anew()?;
        }
        Ok(())
    }

    /// See [`PollSet::modify`].
    pub fn modify(&self, descriptor: RawFd, interest: Interest) -> io::Result<bool> {
        let before = self.interests.lock().get(&descriptor).copied();
        let set = self.set.read();
        let same = set.modify(descriptor, before.unwrap_or_default(), interest)?;
        drop(set);
        self.note(|interests| {
            interests.insert(descriptor, interest);
        });
        if !same {
            // As in `left`.
            self.make_anew()?;
        }
        Ok(same)
    }

    pub fn remove(&self, descriptor: RawFd) {
        if !self.set.read().remove(descriptor) {
            self.left.lock().insert(descriptor);
        }
        self.note(|interests| {
            interests.remove(&descriptor);
        });
    }

    fn note(&self, change: impl FnOnce(&mut HashMap<RawFd, Interest>)) {
        let mut interests = self.interests.lock();
        change(&mut interests);
        self.watched.store(interests.len(), Ordering::Relaxed);
    }

    /// How many descriptors are waited for.
    pub fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    /// Whether there is anything to wait for.
    pub fn has_descriptors(&self) -> bool {
        self.watched() > 0
    }

    /// Whether something is ready.
    pub fn is_ready(&self) -> bool {
        self.has_descriptors() && self.set.read().is_ready()
    }

    /// What is ready now.
    pub fn poll(&self, into: &mut Vec<Event>) -> io::Result<()> {
        if self.has_descriptors() {
            self.set.read().poll(into)?;
            self.sort_out(into)?;
        }
        Ok(())
    }

    /// Takes out what is not for the loop.
    fn sort_out(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let bell = self.bell.descriptor();
        let mut stray = false;
        {
            let interests = self.interests.lock();
            events.retain(|event| {
                if event.descriptor == bell {
                    self.bell.silence();
                    return false;
                }
                let known = interests.contains_key(&event.descriptor);
                stray |= !known;
                known
            });
        }
        if stray {
            // Its number was closed, but a duplicate keeps it in the set, out of reach.
            self.make_anew()?;
        }
        Ok(())
    }

    fn make_anew(&self) -> io::Result<()> {
        let fresh = PollSet::new()?;
        fresh.add(self.bell.descriptor(), READ)?;
        let interests = self.interests.lock();
        for (&descriptor, &interest) in &*interests {
            // One that was closed is as if it were never ready.
            let _closed = fresh.add(descriptor, interest);
        }
        *self.set.write() = fresh;
        self.left.lock().clear();
        self.generation.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Something with the set, and how often it was made anew.
    pub fn with_set<T>(&self, body: impl FnOnce(&PollSet, u64) -> T) -> T {
        let set = self.set.read();
        body(&set, self.generation.load(Ordering::Relaxed))
    }

    /// The loop shall look up from its sleep, or not begin to. May be called on any thread, schedulers included.
    pub fn wake(&self) {
        if self.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        match &*self.sleeping.lock() {
            Sleeping::Nowhere => {}
            Sleeping::InTheSet => self.bell.ring(),
            Sleeping::Elsewhere(place) => place.wake(),
        }
    }

    /// Whether somebody has woken the loop; asking takes it.
    pub fn take_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst) && self.woken.swap(false, Ordering::SeqCst)
    }

    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    /// The calling thread sleeps, if it does, where `place` wakes it, for as long as the guard lives. It looks at
    /// [`Self::is_woken`] before it does.
    pub fn sleeps_elsewhere(&self, place: Arc<dyn Wake>) -> impl Drop + '_ {
        *self.sleeping.lock() = Sleeping::Elsewhere(place);
        Asleep(self)
    }

    /// Waits in the set.
    pub fn sleep(&self, into: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.sleep_unless(into, timeout, || false)
    }

    /// The same, but not where `other` says so; it is asked when [`Self::ring`] is sure to end the wait.
    pub fn sleep_unless(
        &self,
        into: &mut Vec<Event>,
        timeout: Option<Duration>,
        other: impl Fn() -> bool,
    ) -> io::Result<()> {
        *self.sleeping.lock() = Sleeping::InTheSet;
        let _asleep = Asleep(self);
        let timeout = if other() || self.is_woken() {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        self.set.read().wait(into, timeout)?;
        self.sort_out(into)
    }

    /// Whoever sleeps in the set looks up, and the loop is not woken. May be called on any thread, schedulers included.
    pub fn ring(&self) {
        if matches!(*self.sleeping.lock(), Sleeping::InTheSet) {
            self.bell.ring();
        }
    }
}

struct Asleep<'a>(&'a Poller);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        *self.0.sleeping.lock() = Sleeping::Nowhere;
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.set.read().as_raw_fd()
    }
}
