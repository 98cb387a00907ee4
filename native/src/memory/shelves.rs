//! Large blocks and arenas that a thread has given back, for what it asks for next: see [`py_core::shelf`].
//!
//! The emulator sets a threshold of the C library at its start, which turns off that it learns to keep large blocks; so
//! without this each of them would be taken from the kernel anew.

use super::hooks;
use py_core::shelf::{Block, Kept, Shelf};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;

pub(super) use py_core::shelf::LEAST;

static KEPT: Kept = Kept::new();

struct Shelves {
    blocks: Shelf,
    arenas: Shelf,
}

impl Drop for Shelves {
    fn drop(&mut self) {
        self.blocks.clear(&KEPT, release_block);
        self.arenas.clear(&KEPT, release_arena);
    }
}

thread_local! {
    /// The thread asks for large blocks again and again: it is a context's own. Others, such as schedulers, may be the ones
    /// that drop an object, and would keep what they never ask for.
    static KEEPS: Cell<bool> = const { Cell::new(false) };
    static SHELVES: RefCell<Shelves> = const {
        RefCell::new(Shelves { blocks: Shelf::new(), arenas: Shelf::new() })
    };
}

fn pointer(block: Block) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(block.address)
}

fn release_block(block: Block) {
    hooks::free_below(pointer(block));
}

fn release_arena(arena: Block) {
    hooks::free_arena_below(pointer(arena), arena.size);
}

/// The calling thread keeps large blocks from now on.
pub(crate) fn open() {
    KEEPS.set(true);
}

/// What the thread keeps; nothing where it ends, or is none that does.
fn on_shelves<R>(what: impl FnOnce(&mut Shelves) -> R) -> Option<R> {
    if !KEEPS.get() {
        return None;
    }
    SHELVES
        .try_with(|shelves| {
            shelves
                .try_borrow_mut()
                .ok()
                .map(|mut here| what(&mut here))
        })
        .ok()
        .flatten()
}

/// A block that was kept.
#[cold]
pub(super) fn block(size: usize) -> Option<*mut c_void> {
    on_shelves(|here| here.blocks.take(size, &KEPT))
        .flatten()
        .map(pointer)
}

/// `false`: it must be freed.
#[cold]
pub(super) fn keep_block(block: *mut c_void, size: usize) -> bool {
    let block = Block {
        address: block.expose_provenance(),
        size,
    };
    on_shelves(|here| here.blocks.put(block, &KEPT, release_block)).is_some()
}

/// CPython asks for the pieces of its own stacks as well as for arenas, and those are small.
pub(super) fn arena(size: usize) -> Option<*mut c_void> {
    if size < LEAST {
        return None;
    }
    let arena = on_shelves(|here| here.arenas.take(size, &KEPT)).flatten()?;
    if arena.size != size {
        // Another size would be given back with the wrong one.
        release_arena(arena);
        return None;
    }
    Some(pointer(arena))
}

/// As [`keep_block`].
pub(super) fn keep_arena(arena: *mut c_void, size: usize) -> bool {
    if size < LEAST {
        return false;
    }
    let arena = Block {
        address: arena.expose_provenance(),
        size,
    };
    on_shelves(|here| here.arenas.put(arena, &KEPT, release_arena)).is_some()
}

/// The thread keeps nothing any more.
pub(crate) fn clear() {
    on_shelves(|here| {
        here.blocks.clear(&KEPT, release_block);
        here.arenas.clear(&KEPT, release_arena);
    });
}
