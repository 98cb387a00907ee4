//! Blocks that CPython gives back and that must stay a while: another thread may still write into them.
//!
//! Whoever removes something says which address is meant, and whether it must stay; whoever was the last to use it
//! lets it go.

use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are being removed at the moment, so that no other `free` asks further.
static REMOVING: AtomicUsize = AtomicUsize::new(0);

/// How many there are, so that [`let_go`] asks no further.
static COUNT: AtomicUsize = AtomicUsize::new(0);

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

struct Kept {
    /// An address within the block.
    address: usize,
    /// Once it was given back.
    block: usize,
    /// Nobody needs it any more.
    let_go: bool,
}

/// The object at this address is being removed until the guard is dropped. Its block stays if `is_used`.
pub(crate) fn begin(address: *mut c_void, is_used: impl FnOnce() -> bool) -> Keeping {
    let address = address.addr();
    let mut kept = KEPT.lock();
    // First, as its user says first that it uses another one: one of the two sees the other.
    COUNT.fetch_add(1, Ordering::SeqCst);
    if !is_used() {
        COUNT.fetch_sub(1, Ordering::SeqCst);
        return Keeping(None);
    }
    REMOVING.fetch_add(1, Ordering::SeqCst);
    kept.push(Kept {
        address,
        block: 0,
        let_go: false,
    });
    Keeping(Some(address))
}

/// See [`begin`].
pub(crate) struct Keeping(Option<usize>);

impl Drop for Keeping {
    fn drop(&mut self) {
        let Some(address) = self.0 else {
            return;
        };
        REMOVING.fetch_sub(1, Ordering::SeqCst);
        let mut kept = KEPT.lock();
        let over = |one: &mut Kept| one.address == address && (one.let_go || one.block == 0);
        let block = kept.extract_if(.., over).map(|one| one.block).next();
        drop(kept);
        free(block);
    }
}

/// The calling thread no longer uses what is at this address, which may have been removed.
pub(crate) fn let_go(address: *mut c_void) {
    if COUNT.load(Ordering::SeqCst) == 0 {
        return;
    }
    let mut kept = KEPT.lock();
    let address = address.addr();
    let Some(place) = kept.iter().position(|one| one.address == address) else {
        return;
    };
    if kept[place].block == 0 {
        // It is just being removed.
        kept[place].let_go = true;
        return;
    }
    let block = kept.swap_remove(place).block;
    drop(kept);
    free(Some(block));
}

/// CPython gives a block back. `true`: it stays.
#[inline]
pub(super) fn stays(block: *mut c_void, size: impl FnOnce() -> usize) -> bool {
    REMOVING.load(Ordering::Relaxed) != 0 && is_meant(block, size())
}

#[cold]
fn is_meant(block: *mut c_void, size: usize) -> bool {
    let begin = block.addr();
    let mut kept = KEPT.lock();
    let within = |one: &&mut Kept| one.block == 0 && (begin..begin + size).contains(&one.address);
    match kept.iter_mut().find(within) {
        Some(one) => {
            one.block = block.expose_provenance();
            true
        }
        None => false,
    }
}

/// One less is kept, if there is one.
fn free(block: Option<usize>) {
    let Some(block) = block else {
        return;
    };
    COUNT.fetch_sub(1, Ordering::SeqCst);
    if block != 0 {
        super::hooks::free_below(std::ptr::with_exposed_provenance_mut(block));
    }
}
