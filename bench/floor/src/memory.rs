//! `memcpy`: what no conversion of a large binary can beat unless it shares the bytes.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The bytes that are copied, and where to.
static BUFFERS: Mutex<(Vec<u8>, Vec<u8>)> = Mutex::new((Vec::new(), Vec::new()));

/// Runs `work` with two buffers of `size` bytes whose pages are there.
fn with_buffers(size: usize, work: impl FnOnce(&[u8], &mut [u8]) -> Option<u64>) -> Option<u64> {
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    if buffers.0.len() != size {
        *buffers = (vec![b'x'; size], vec![b'y'; size]);
    }
    let (from, to) = &mut *buffers;
    work(from, to)
}

fn elapsed(start: Instant) -> Option<u64> {
    u64::try_from(start.elapsed().as_nanos()).ok()
}

/// Nanoseconds of a copy between two buffers.
pub(crate) fn copy(size: usize) -> Option<u64> {
    with_buffers(size, |from, to| {
        let start = Instant::now();
        to.copy_from_slice(black_box(from));
        black_box(to);
        elapsed(start)
    })
}

/// Nanoseconds of a copy into memory that is allocated for it and freed again.
pub(crate) fn copy_new(size: usize) -> Option<u64> {
    with_buffers(size, |from, _| {
        let start = Instant::now();
        drop(black_box(black_box(from).to_vec()));
        elapsed(start)
    })
}
