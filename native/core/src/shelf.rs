//! Large blocks of memory that a thread has given back, kept for what it asks for next.
//!
//! A large block comes from the kernel, without pages; each page costs a fault when it is touched first, which is several
//! times what it costs to fill it. Python makes and drops large objects all the time.
//!
//! A thread keeps few blocks, and all threads together no more than [`ALL_THREADS`].

use crate::sync::{AtomicUsize, Ordering};

/// Smaller blocks are kept by `malloc` itself.
pub const LEAST: usize = 128 << 10;

/// What one thread keeps of each kind at most.
const ONE_THREAD: usize = 24 << 20;

/// What all keep.
pub const ALL_THREADS: usize = 128 << 20;

const PLACES: usize = 24;

/// What all threads keep at the moment.
#[derive(Debug)]
pub struct Kept(AtomicUsize);

impl Default for Kept {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn admits(&self, size: usize) -> bool {
        if self.0.fetch_add(size, Ordering::Relaxed) + size <= ALL_THREADS {
            return true;
        }
        self.0.fetch_sub(size, Ordering::Relaxed);
        false
    }

    fn less(&self, size: usize) {
        self.0.fetch_sub(size, Ordering::Relaxed);
    }
}

/// One block: where it is, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub address: usize,
    pub size: usize,
}

/// Those of one thread, the oldest first.
#[derive(Debug)]
pub struct Shelf {
    blocks: [Block; PLACES],
    count: usize,
    sum: usize,
}

impl Default for Shelf {
    fn default() -> Self {
        Self::new()
    }
}

impl Shelf {
    #[must_use]
    pub const fn new() -> Self {
        const NONE: Block = Block {
            address: 0,
            size: 0,
        };
        Self {
            blocks: [NONE; PLACES],
            count: 0,
            sum: 0,
        }
    }

    /// A block of that size, or of up to a quarter more: the youngest, whose pages are most likely in a cache.
    pub fn take(&mut self, size: usize, kept: &Kept) -> Option<Block> {
        let fits = |block: &Block| (size..=size.saturating_add(size / 4)).contains(&block.size);
        let place = self.blocks[..self.count].iter().rposition(fits)?;
        Some(self.remove(place, kept))
    }

    /// Keeps a block. What must go to make room for it, or the block itself, goes to `release`.
    pub fn put(&mut self, block: Block, kept: &Kept, mut release: impl FnMut(Block)) {
        if block.size > ONE_THREAD {
            release(block);
            return;
        }
        while self.count == PLACES || self.sum + block.size > ONE_THREAD {
            release(self.remove(0, kept));
        }
        if !kept.admits(block.size) {
            release(block);
            return;
        }
        self.blocks[self.count] = block;
        self.count += 1;
        self.sum += block.size;
    }

    /// Keeps nothing any more.
    pub fn clear(&mut self, kept: &Kept, mut release: impl FnMut(Block)) {
        while self.count > 0 {
            release(self.remove(self.count - 1, kept));
        }
    }

    fn remove(&mut self, place: usize, kept: &Kept) -> Block {
        let block = self.blocks[place];
        self.blocks.copy_within(place + 1..self.count, place);
        self.count -= 1;
        self.sum -= block.size;
        kept.less(block.size);
        block
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn block(address: usize, size: usize) -> Block {
        Block { address, size }
    }

    fn put(shelf: &mut Shelf, kept: &Kept, block: Block) -> Vec<usize> {
        let mut released = Vec::new();
        shelf.put(block, kept, |block| released.push(block.address));
        released
    }

    #[test]
    fn the_youngest_that_fits_is_taken() {
        let (mut shelf, kept) = (Shelf::new(), Kept::new());
        for (address, size) in [(1, MIB), (2, MIB), (3, 2 * MIB)] {
            assert!(put(&mut shelf, &kept, block(address, size)).is_empty());
        }
        assert_eq!(shelf.take(MIB, &kept), Some(block(2, MIB)));
        assert_eq!(shelf.take(MIB, &kept), Some(block(1, MIB)));
        assert_eq!(shelf.take(MIB, &kept), None);
        assert_eq!(shelf.take(2 * MIB, &kept), Some(block(3, 2 * MIB)));
    }

    #[test]
    fn at_most_a_quarter_is_wasted() {
        let (mut shelf, kept) = (Shelf::new(), Kept::new());
        assert!(put(&mut shelf, &kept, block(1, MIB)).is_empty());
        assert_eq!(shelf.take(MIB + 1, &kept), None);
        assert_eq!(shelf.take(MIB * 4 / 5 - 1, &kept), None);
        assert_eq!(shelf.take(MIB * 4 / 5 + 1, &kept), Some(block(1, MIB)));
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let (mut shelf, kept) = (Shelf::new(), Kept::new());
        for address in 1..=2 {
            assert!(put(&mut shelf, &kept, block(address, 10 * MIB)).is_empty());
        }
        assert_eq!(put(&mut shelf, &kept, block(3, 20 * MIB)), [1, 2]);
        for address in 4..4 + PLACES {
            put(&mut shelf, &kept, block(address, LEAST));
        }
        assert_eq!(put(&mut shelf, &kept, block(99, LEAST)), [4]);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let (mut shelf, kept) = (Shelf::new(), Kept::new());
        assert!(put(&mut shelf, &kept, block(1, MIB)).is_empty());
        assert_eq!(put(&mut shelf, &kept, block(2, ONE_THREAD + 1)), [2]);
        assert_eq!(shelf.take(MIB, &kept), Some(block(1, MIB)));
    }

    #[test]
    fn all_threads_together_keep_no_more_than_their_share() {
        let kept = Kept::new();
        let mut shelves: Vec<Shelf> = (0..8).map(|_| Shelf::new()).collect();
        let mut released = 0;
        for shelf in &mut shelves {
            released += put(shelf, &kept, block(1, ONE_THREAD)).len();
        }
        assert_eq!(released, 8 - ALL_THREADS / ONE_THREAD);
        for shelf in &mut shelves {
            shelf.clear(&kept, |_| {});
            assert!(shelf.take(ONE_THREAD, &kept).is_none());
        }
        assert!(put(&mut shelves[7], &kept, block(1, ONE_THREAD)).is_empty());
    }
}
