//! A set of descriptors to wait for: epoll on Linux, kqueue on macOS and the BSDs. Level-triggered: what was not read is
//! reported again.
//!
//! A descriptor leaves the set when the last of its duplicates is closed, which the set is not told; its number may
//! then be another file. So [`PollSet::modify`] says when that has happened.

use crate::descriptors::DESCRIPTORS;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What to wait for: readable, writable, or both. The bits of Python's `selectors`.
pub type Interest = u8;
pub const READ: Interest = 1;
pub const WRITE: Interest = 2;

/// How many events are taken at once.
const BATCH: usize = 128;

/// A descriptor that is ready, and for what.
#[derive(Clone, Copy)]
pub struct Event {
    pub descriptor: RawFd,
    pub interest: Interest,
}

/// See the module.
pub struct PollSet(OwnedFd);

impl AsRawFd for PollSet {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<PollSet> for OwnedFd {
    fn from(set: PollSet) -> Self {
        set.0
    }
}

/// # Errors
/// The error of the last call when `result` is -1.
fn checked(result: i32) -> io::Result<i32> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Puts a set into another one, which becomes readable when the first has something.
pub fn nest(outer: RawFd, inner: &PollSet) -> io::Result<()> {
    system::add(outer, inner.as_raw_fd(), READ)
}

/// Takes it out again; it may have been closed.
pub fn unnest(outer: RawFd, inner: RawFd) {
    let _was_there = system::remove(outer, inner);
}

impl PollSet {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new descriptor, or -1.
        let descriptor = checked(unsafe { system::create() })?;
        // SAFETY: it is ours.
        let set = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // It looks like any other set that had the number before.
        DESCRIPTORS.forget(descriptor);
        Ok(Self(set))
    }

    /// Adds a descriptor. One that is there already, as a number that was reused, gets the new interest.
    pub fn add(&self, descriptor: RawFd, interest: Interest) -> io::Result<()> {
        system::add(self.as_raw_fd(), descriptor, interest)
    }

    /// Changes what to wait for. `false`: the file under that number was closed, and the number is another's now, which
    /// was added.
    pub fn modify(
        &self,
        descriptor: RawFd,
        before: Interest,
        interest: Interest,
    ) -> io::Result<bool> {
        system::modify(self.as_raw_fd(), descriptor, before, interest)
    }

    /// Removes a descriptor. `false`: it was closed, and if a duplicate lives on it stays in the set.
    pub fn remove(&self, descriptor: RawFd) -> bool {
        system::remove(self.as_raw_fd(), descriptor)
    }

    /// Appends what is ready, after waiting for so long at most; `None`: until something is.
    pub fn wait(&self, into: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        system::wait(self.as_raw_fd(), into, timeout)
    }

    /// Appends what is ready now.
    pub fn poll(&self, into: &mut Vec<Event>) -> io::Result<()> {
        self.wait(into, Some(Duration::ZERO))
    }

    /// Whether something is ready now.
    pub fn is_ready(&self) -> bool {
        system::is_ready(self.as_raw_fd())
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{BATCH, Event, Interest, READ, WRITE, checked};
    use std::io;
    use std::os::fd::RawFd;
    use std::time::Duration;

    pub(super) unsafe fn create() -> i32 {
        // SAFETY: no precondition.
        unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }
    }

    fn control(
        set: RawFd,
        operation: i32,
        descriptor: RawFd,
        interest: Interest,
    ) -> io::Result<()> {
        let mut flags = 0;
        if interest & READ != 0 {
            flags |= libc::EPOLLIN;
        }
        if interest & WRITE != 0 {
            flags |= libc::EPOLLOUT;
        }
        let mut event = libc::epoll_event {
            events: flags.cast_unsigned(),
            u64: u64::from(descriptor.cast_unsigned()),
        };
        // SAFETY: the structure lives for the call; bad descriptors are errors.
        checked(unsafe { libc::epoll_ctl(set, operation, descriptor, &raw mut event) }).map(drop)
    }

    pub(super) fn add(set: RawFd, descriptor: RawFd, interest: Interest) -> io::Result<()> {
        match control(set, libc::EPOLL_CTL_ADD, descriptor, interest) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                control(set, libc::EPOLL_CTL_MOD, descriptor, interest)
            }
            result => result,
        }
    }

    pub(super) fn modify(
        set: RawFd,
        descriptor: RawFd,
        _before: Interest,
        interest: Interest,
    ) -> io::Result<bool> {
        match control(set, libc::EPOLL_CTL_MOD, descriptor, interest) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                control(set, libc::EPOLL_CTL_ADD, descriptor, interest).map(|()| false)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove(set: RawFd, descriptor: RawFd) -> bool {
        control(set, libc::EPOLL_CTL_DEL, descriptor, 0).is_ok()
    }

    pub(super) fn wait(
        set: RawFd,
        into: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let milliseconds = timeout.map_or(-1, |timeout| {
            // Rounded up: nobody is woken before the time.
            i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        // SAFETY: the array has room for as many events as are asked for.
        let count = checked(unsafe {
            libc::epoll_wait(set, events.as_mut_ptr(), BATCH as i32, milliseconds)
        });
        let count = match count {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            count => count?,
        };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let (flags, token) = (event.events.cast_signed(), event.u64);
            let mut interest = 0;
            // Errors and hang-ups are for whoever looks, reader or writer.
            if flags & !libc::EPOLLIN != 0 {
                interest |= WRITE;
            }
            if flags & !libc::EPOLLOUT != 0 {
                interest |= READ;
            }
            into.push(Event {
                descriptor: token as RawFd,
                interest,
            });
        }
        Ok(())
    }

    pub(super) fn is_ready(set: RawFd) -> bool {
        let mut asked = libc::pollfd {
            fd: set,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one structure, which lives for the call.
        unsafe { libc::poll(&raw mut asked, 1, 0) > 0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{BATCH, Event, Interest, READ, WRITE, checked};
    use std::io;
    use std::os::fd::RawFd;
    use std::time::Duration;

    pub(super) unsafe fn create() -> i32 {
        // SAFETY: no precondition; the flag keeps it from children.
        unsafe {
            let set = libc::kqueue();
            if set != -1 {
                libc::fcntl(set, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            set
        }
    }

    fn change(set: RawFd, descriptor: RawFd, filter: i16, flags: u16) -> io::Result<()> {
        // SAFETY: zeroes are a valid event; the structure lives for the call; bad descriptors are errors.
        let result = unsafe {
            let mut event: libc::kevent = std::mem::zeroed();
            event.ident = descriptor as libc::uintptr_t;
            event.filter = filter;
            event.flags = flags;
            let none = std::ptr::null_mut();
            libc::kevent(set, &raw const event, 1, none, 0, std::ptr::null())
        };
        checked(result).map(drop)
    }

    pub(super) fn add(set: RawFd, descriptor: RawFd, interest: Interest) -> io::Result<()> {
        if interest & READ != 0 {
            change(set, descriptor, libc::EVFILT_READ, libc::EV_ADD)?;
        }
        if interest & WRITE != 0 {
            change(set, descriptor, libc::EVFILT_WRITE, libc::EV_ADD)?;
        }
        Ok(())
    }

    pub(super) fn modify(
        set: RawFd,
        descriptor: RawFd,
        before: Interest,
        interest: Interest,
    ) -> io::Result<bool> {
        let mut same = true;
        for (bit, filter) in [(READ, libc::EVFILT_READ), (WRITE, libc::EVFILT_WRITE)] {
            if before & bit != 0 {
                // Gone if the file was closed.
                same &= change(set, descriptor, filter, libc::EV_DELETE).is_ok();
            }
        }
        add(set, descriptor, interest)?;
        Ok(same)
    }

    /// Closing a number takes it out of the set here, whatever duplicates there are.
    pub(super) fn remove(set: RawFd, descriptor: RawFd) -> bool {
        for filter in [libc::EVFILT_READ, libc::EVFILT_WRITE] {
            let _gone_anyway = change(set, descriptor, filter, libc::EV_DELETE);
        }
        true
    }

    pub(super) fn wait(
        set: RawFd,
        into: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let limit = limit
            .as_ref()
            .map_or(std::ptr::null(), |limit| std::ptr::from_ref(limit));
        // SAFETY: zeroes are valid events; the array has room for as many as are asked for.
        let (events, count) = unsafe {
            let mut events: [libc::kevent; BATCH] = std::mem::zeroed();
            let count = libc::kevent(
                set,
                std::ptr::null(),
                0,
                events.as_mut_ptr(),
                BATCH as i32,
                limit,
            );
            (events, checked(count))
        };
        let count = match count {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            count => count?,
        };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let interest = if event.filter == libc::EVFILT_READ {
                READ
            } else {
                WRITE
            };
            let descriptor = event.ident as RawFd;
            match into.iter_mut().find(|other| other.descriptor == descriptor) {
                Some(other) => other.interest |= interest,
                None => into.push(Event {
                    descriptor,
                    interest,
                }),
            }
        }
        Ok(())
    }

    pub(super) fn is_ready(set: RawFd) -> bool {
        let mut asked = libc::pollfd {
            fd: set,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one structure, which lives for the call.
        unsafe { libc::poll(&raw mut asked, 1, 0) > 0 }
    }
}
