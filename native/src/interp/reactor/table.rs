//! The connections that are open, by their descriptors, which are small numbers.

use super::connection::Connection;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bits of a connection's number its descriptor takes.
const DESCRIPTOR: u32 = 24;

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    places: Vec<Option<Rc<Connection>>>,
    count: usize,
}

fn place(number: u64) -> usize {
    (number & ((1 << DESCRIPTOR) - 1)) as usize
}

impl Table {
    /// A number for the connection with this descriptor that no other ever has.
    pub(super) fn next_number(descriptor: i32) -> u64 {
        // Other tables count as well: protocols outlive the loop, and in mode `worker` contexts share them.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let last = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        (last << DESCRIPTOR) | u64::from(descriptor.cast_unsigned())
    }

    pub(super) fn insert(&mut self, connection: &Rc<Connection>) {
        let place = place(connection.number);
        if self.places.len() <= place {
            self.places.resize(place + 1, None);
        }
        self.places[place] = Some(connection.clone());
        self.count += 1;
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Rc<Connection>> {
        let place = self.places.get_mut(place(number))?;
        let removed = place.take_if(|connection| connection.number == number);
        self.count -= usize::from(removed.is_some());
        removed
    }

    pub(super) fn by_number(&self, number: u64) -> Option<Rc<Connection>> {
        let found = self.by_descriptor(place(number) as i32);
        found.filter(|connection| connection.number == number)
    }

    pub(super) fn by_descriptor(&self, descriptor: i32) -> Option<Rc<Connection>> {
        let place = usize::try_from(descriptor).ok()?;
        self.places.get(place)?.clone()
    }

    pub(super) fn all(&self) -> Vec<Rc<Connection>> {
        self.places.iter().flatten().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
