//! Reading and writing of sockets that do not block. The GIL is kept where that takes a few microseconds: giving it up
//! and taking it again costs more, and whoever waits for it would come in between.

use crate::py::{Object, Python, Raised, ffi};
use std::cell::RefCell;
use std::ffi::c_int;
use std::io::{Error, ErrorKind, Result};

/// What is read at most at once.
const BUFFER: usize = 256 * 1024;

/// From this size on the GIL is given up.
const LONG: usize = 16 * 1024;

thread_local! {
    /// Kept, since memory of this size that is freed goes back to the system and comes anew for every message.
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether it only has to be tried again later.
pub(super) fn would_block(error: &Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// Repeats what a signal interrupted.
#[inline]
fn retried(mut transfer: impl FnMut() -> isize) -> Result<usize> {
    loop {
        match usize::try_from(transfer()) {
            Ok(count) => return Ok(count),
            Err(_negative) => {
                let error = Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// A place to read to, of this size or less; whoever reads does so no more when `body` has ended.
pub(crate) fn in_buffer<T>(limit: usize, body: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            *buffer = vec![0; BUFFER];
        }
        body(&mut buffer[..limit.min(BUFFER)])
    })
}

/// Reads what is there, at most `limit` bytes, and has it looked at.
pub(super) fn receive<T>(fd: c_int, limit: usize, taken: impl FnOnce(&[u8]) -> T) -> Result<T> {
    in_buffer(limit, |place| {
        let count = receive_into(fd, place)?;
        Ok(taken(&place[..count]))
    })
}

/// Reads what is there and goes into a place.
pub(super) fn receive_into(fd: c_int, place: &mut [u8]) -> Result<usize> {
    let (start, size) = (place.as_mut_ptr().cast(), place.len());
    // SAFETY: memory of that size, which nobody else uses meanwhile.
    retried(|| unsafe { libc::recv(fd, start, size, libc::MSG_DONTWAIT) })
}

/// Writes as much as goes at once.
pub(super) fn send(_py: Python<'_>, fd: c_int, bytes: &[u8]) -> Result<usize> {
    #[cfg(target_os = "linux")]
    const FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    #[cfg(not(target_os = "linux"))]
    const FLAGS: c_int = libc::MSG_DONTWAIT;
    // SAFETY: the bytes are alive and do not change.
    let send = || retried(|| unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), FLAGS) });
    if bytes.len() < LONG {
        return send();
    }
    // SAFETY: attached; the same thread state is taken up again.
    let state = unsafe { ffi::PyEval_SaveThread() };
    let sent = send();
    // SAFETY: as above.
    unsafe { ffi::PyEval_RestoreThread(state) };
    sent
}

/// Raises the OSError of an error.
pub(super) fn raised(py: Python<'_>, error: &Error) -> Raised {
    match exception(py, error) {
        // SAFETY: attached; the reference is taken over.
        Ok(exception) => unsafe {
            ffi::PyErr_SetRaisedException(exception.into_ptr());
            Raised::seen(py)
        },
        Err(raised) => raised,
    }
}

/// The OSError of an error, which has the class that its number calls for.
pub(super) fn exception<'py>(py: Python<'py>, error: &Error) -> crate::py::Result<Object<'py>> {
    let number = Object::int(py, error.raw_os_error().unwrap_or_default().into())?;
    let text = Object::import(py, "os")?
        .getattr_str("strerror")?
        .call(&[&number])?;
    // SAFETY: attached; a static class.
    unsafe { Object::borrowed(py, ffi::PyExc_OSError) }.call(&[&number, &text])
}
