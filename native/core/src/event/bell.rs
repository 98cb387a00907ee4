//! A descriptor that any thread makes readable.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A pipe whose ends neither block nor are inherited.
pub struct Bell {
    reading: OwnedFd,
    writing: OwnedFd,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        let mut ends = [-1; 2];
        // SAFETY: the array has room for two descriptors, which are ours on success.
        let (reading, writing) = unsafe {
            if libc::pipe(ends.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        for end in [&reading, &writing] {
            // SAFETY: an open descriptor.
            let failed = unsafe {
                libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) != 0
                    || libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) != 0
            };
            if failed {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { reading, writing })
    }

    /// What becomes readable.
    pub fn descriptor(&self) -> RawFd {
        self.reading.as_raw_fd()
    }

    /// May be called on any thread, schedulers included: it never waits.
    pub fn ring(&self) {
        let byte = [1u8];
        let end = self.writing.as_raw_fd();
        // SAFETY: a descriptor that this value owns, and a byte. A full pipe is readable already.
        let _written = unsafe { libc::write(end, byte.as_ptr().cast(), byte.len()) };
    }

    /// It is readable no more, unless somebody rings meanwhile.
    pub fn silence(&self) {
        let mut bytes = [0u8; 64];
        let end = self.reading.as_raw_fd();
        // SAFETY: a descriptor that this value owns and that does not block.
        let _read = unsafe { libc::read(end, bytes.as_mut_ptr().cast(), bytes.len()) };
    }
}
