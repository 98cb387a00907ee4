//! What CPython calls for memory.
//!
//! These functions run with and without a GIL, with and without a thread state, and in the midst of anything: they take
//! no lock that is held while Python's memory is asked for, and never touch an object.

use super::{Holder, Interpreter, MINE, Mine, REGISTERED, kept, shelves, told};
use crate::py::ffi;
use py_core::account::{Counting, LARGE, Verdict};
use std::ffi::c_void;
use std::sync::OnceLock;

/// What the hooks stand before.
struct Below {
    raw: ffi::PyMemAllocatorEx,
    arenas: ffi::PyObjectArenaAllocator,
}

// SAFETY: the functions may be called on any thread, as may those that stand before them; the contexts are CPython's.
unsafe impl Send for Below {}
// SAFETY: as above.
unsafe impl Sync for Below {}

static BELOW: OnceLock<Below> = OnceLock::new();

#[cfg(not(target_vendor = "apple"))]
use libc::malloc_usable_size as size_of_block;

#[cfg(target_vendor = "apple")]
unsafe fn size_of_block(block: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { libc::malloc_size(block.cast_const()) }
}

/// Whether memory can be counted: blocks are `malloc`'s, as they are.
pub(crate) const COUNTED: bool = !cfg!(any(Py_GIL_DISABLED, py_sys_config = "Py_DEBUG"));

/// Puts the hooks in place, before CPython starts. What was asked for earlier may be given back to them.
pub(crate) fn install() {
    if !COUNTED || BELOW.get().is_some() {
        return;
    }
    // SAFETY: CPython has not started, so nobody else asks for memory.
    let below = unsafe {
        let mut raw = std::mem::zeroed::<ffi::PyMemAllocatorEx>();
        let mut arenas = std::mem::zeroed::<ffi::PyObjectArenaAllocator>();
        ffi::PyMem_GetAllocator(ffi::PyMemAllocatorDomain::PYMEM_DOMAIN_RAW, &raw mut raw);
        ffi::PyObject_GetArenaAllocator(&raw mut arenas);
        Below { raw, arenas }
    };
    let _first = BELOW.set(below);
    let mut raw = ffi::PyMemAllocatorEx {
        ctx: std::ptr::null_mut(),
        malloc: Some(malloc),
        calloc: Some(calloc),
        realloc: Some(realloc),
        free: Some(free),
    };
    let mut arenas = ffi::PyObjectArenaAllocator {
        ctx: std::ptr::null_mut(),
        alloc: Some(take_arena),
        free: Some(give_arena_back),
    };
    // SAFETY: as above; both are copied.
    unsafe {
        ffi::PyMem_SetAllocator(ffi::PyMemAllocatorDomain::PYMEM_DOMAIN_RAW, &raw mut raw);
        ffi::PyObject_SetArenaAllocator(&raw mut arenas);
    }
}

#[inline]
fn holder() -> Option<(&'static Holder, Counting)> {
    match MINE.get() {
        Mine::Holder(holder, by) => Some((holder, by)),
        Mine::Nobody => None,
        Mine::Unknown => look(),
    }
}

/// A thread asks for the first time, or has not been attached yet.
#[cold]
fn look() -> Option<(&'static Holder, Counting)> {
    let interpreter = interpreter()?;
    let registered = REGISTERED.lock();
    let known = registered.iter().find(|(one, _)| *one == interpreter);
    let mine = known.map_or(Mine::Nobody, |(_, holder)| {
        Mine::Holder(holder, Counting::Other)
    });
    MINE.set(mine);
    known.map(|(_, holder)| (*holder, Counting::Other))
}

/// The interpreter that the calling thread is attached to.
fn interpreter() -> Option<Interpreter> {
    // SAFETY: a thread may ask for its own thread state at any time; a live one knows its interpreter.
    unsafe {
        let state = ffi::compat::PyThreadState_GetUnchecked();
        (!state.is_null()).then(|| Interpreter(ffi::PyThreadState_GetInterpreter(state)))
    }
}

/// Arenas of the main interpreter are nobody's: owner threads are in it for the initialisation of extension modules.
fn in_main() -> bool {
    // SAFETY: reads a pointer that does not change.
    interpreter().is_some_and(|Interpreter(here)| here == unsafe { ffi::PyInterpreterState_Main() })
}

/// The allocator below; there is one where a hook runs.
#[inline]
fn below() -> Option<&'static Below> {
    BELOW.get()
}

extern "C" fn malloc(_: *mut c_void, size: usize) -> *mut c_void {
    taken(size, |raw| {
        if size >= shelves::LEAST
            && let Some(block) = shelves::block(size)
        {
            return Some(block);
        }
        raw.malloc.map(|malloc| malloc(raw.ctx, size))
    })
}

extern "C" fn calloc(_: *mut c_void, number: usize, size: usize) -> *mut c_void {
    taken(number.saturating_mul(size), |raw| {
        raw.calloc.map(|calloc| calloc(raw.ctx, number, size))
    })
}

/// A new block, unless that is too much.
#[inline(always)]
fn taken(
    size: usize,
    take: impl FnOnce(&ffi::PyMemAllocatorEx) -> Option<*mut c_void>,
) -> *mut c_void {
    let Some(Below { raw, .. }) = below() else {
        return std::ptr::null_mut();
    };
    let Some((holder, by)) = holder() else {
        return take(raw).unwrap_or_default();
    };
    if size >= LARGE && !holder.account.admits(size, size) {
        told::heard(holder);
        return std::ptr::null_mut();
    }
    let block = take(raw).unwrap_or_default();
    if !block.is_null() {
        // SAFETY: `malloc` has just made the block.
        match holder.account.add(by, unsafe { size_of_block(block) }) {
            Verdict::Granted => {}
            Verdict::Told => told::tell(holder),
            Verdict::Refused => {
                if let Some(free) = raw.free {
                    free(raw.ctx, block);
                }
                told::heard(holder);
                return std::ptr::null_mut();
            }
        }
    }
    block
}

extern "C" fn realloc(_: *mut c_void, block: *mut c_void, size: usize) -> *mut c_void {
    let Some(Below { raw, .. }) = below() else {
        return std::ptr::null_mut();
    };
    let Some(realloc) = raw.realloc else {
        return std::ptr::null_mut();
    };
    let Some((holder, by)) = holder() else {
        return realloc(raw.ctx, block, size);
    };
    // SAFETY: CPython gives back what it was given, or null.
    let before = unsafe { size_of_block(block) };
    if size > before && !holder.account.admits_growth(size - before) {
        told::heard(holder);
        return std::ptr::null_mut();
    }
    let moved = realloc(raw.ctx, block, size);
    if !moved.is_null() {
        // SAFETY: `realloc` has just made it.
        let after = unsafe { size_of_block(moved) };
        if holder.account.change(by, before, after) == Verdict::Told {
            told::tell(holder);
        }
    }
    moved
}

extern "C" fn free(_: *mut c_void, block: *mut c_void) {
    let Some(Below { raw, .. }) = below() else {
        return;
    };
    if block.is_null() {
        return;
    }
    // SAFETY: as in `realloc`.
    let size = unsafe { size_of_block(block) };
    if let Some((holder, by)) = holder() {
        holder.account.remove(by, size);
    }
    if kept::stays(block, || size) || (size >= shelves::LEAST && shelves::keep_block(block, size)) {
        return;
    }
    if let Some(free) = raw.free {
        free(raw.ctx, block);
    }
}

/// Frees a block that was given back and had to stay.
pub(super) fn free_below(block: *mut c_void) {
    if let Some(Below { raw, .. }) = below()
        && let Some(free) = raw.free
    {
        free(raw.ctx, block);
    }
}

/// Gives an arena back that was kept.
pub(super) fn free_arena_below(arena: *mut c_void, size: usize) {
    if let Some(Below { arenas, .. }) = below()
        && let Some(free) = arenas.free
    {
        free(arenas.ctx, arena, size);
    }
}

extern "C" fn take_arena(_: *mut c_void, size: usize) -> *mut c_void {
    let Some(Below { arenas, .. }) = below() else {
        return std::ptr::null_mut();
    };
    let take = || {
        if let Some(arena) = shelves::arena(size) {
            return arena;
        }
        let arena = arenas.alloc.map(|alloc| alloc(arenas.ctx, size));
        arena.unwrap_or_default()
    };
    let Some((holder, by)) = holder().filter(|_| !in_main()) else {
        return take();
    };
    let arena = take();
    if !arena.is_null() {
        match holder.account.add(by, size) {
            Verdict::Granted => {}
            Verdict::Told => told::tell(holder),
            Verdict::Refused => {
                if let Some(free) = arenas.free {
                    free(arenas.ctx, arena, size);
                }
                return std::ptr::null_mut();
            }
        }
    }
    arena
}

extern "C" fn give_arena_back(_: *mut c_void, arena: *mut c_void, size: usize) {
    let Some(Below { arenas, .. }) = below() else {
        return;
    };
    if let Some((holder, by)) = holder().filter(|_| !in_main()) {
        holder.account.remove(by, size);
    }
    if shelves::keep_arena(arena, size) {
        return;
    }
    if let Some(free) = arenas.free {
        free(arenas.ctx, arena, size);
    }
}
