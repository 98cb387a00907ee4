//! Whose descriptors are: a table of the process, by their numbers.
//!
//! Numbers are used again, and not everything that closes a descriptor says so. Hence an entry also has a stamp of what
//! the number stood for; a number that stands for something else by now belongs to nobody here. Two descriptors of the same
//! file look alike.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The table of this process.
pub static DESCRIPTORS: Descriptors = Descriptors::new();

/// What a number is to somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// They opened it, or were given it.
    Own,
    /// It is open, and somebody else's.
    Strange,
    /// Nothing is open by this number.
    Closed,
}

const LEAF: usize = 4096;
const LEAVES: usize = 4096;

type Leaf = [AtomicU64; LEAF];

/// See the module. Looking something up takes no lock and allocates nothing.
pub struct Descriptors {
    /// Made when they are needed, and kept.
    leaves: [AtomicPtr<Leaf>; LEAVES],
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::new()
    }
}

impl Descriptors {
    pub const fn new() -> Self {
        Self {
            leaves: [const { AtomicPtr::new(std::ptr::null_mut()) }; LEAVES],
        }
    }

    /// From now on the descriptor is that owner's, who is not 0.
    pub fn note(&self, descriptor: RawFd, owner: u32) {
        let (Some(stamp), Ok(number)) = (stamp(descriptor), usize::try_from(descriptor)) else {
            return;
        };
        if let Some(leaf) = self.leaves.get(number / LEAF) {
            let entry = u64::from(owner) << 32 | u64::from(stamp);
            made(leaf)[number % LEAF].store(entry, Ordering::Release);
        }
    }

    /// The descriptor is about to be closed, or is nobody's concern here.
    pub fn forget(&self, descriptor: RawFd) {
        if let Some(entry) = self.entry(descriptor) {
            entry.store(0, Ordering::Release);
        }
    }

    /// What a number is to an owner at this moment.
    pub fn look(&self, descriptor: RawFd, owner: u32) -> Standing {
        let Some(stamp) = stamp(descriptor) else {
            return Standing::Closed;
        };
        let wanted = u64::from(owner) << 32 | u64::from(stamp);
        match self.entry(descriptor) {
            Some(entry) if entry.load(Ordering::Acquire) == wanted => Standing::Own,
            _ => Standing::Strange,
        }
    }

    /// Whose the descriptor is, if anybody said so.
    pub fn owner(&self, descriptor: RawFd) -> Option<u32> {
        let stamp = stamp(descriptor)?;
        let entry = self.entry(descriptor)?.load(Ordering::Acquire);
        // The lower half is the stamp.
        let holds = entry >> 32 != 0 && entry as u32 == stamp;
        holds.then_some((entry >> 32) as u32)
    }

    fn entry(&self, descriptor: RawFd) -> Option<&AtomicU64> {
        let number = usize::try_from(descriptor).ok()?;
        let leaf = self.leaves.get(number / LEAF)?.load(Ordering::Acquire);
        // SAFETY: null, or made by `made` and never freed.
        Some(&unsafe { leaf.as_ref() }?[number % LEAF])
    }
}

fn made(place: &AtomicPtr<Leaf>) -> &'static Leaf {
    let present = place.load(Ordering::Acquire);
    // SAFETY: null, or made below and never freed.
    if let Some(leaf) = unsafe { present.as_ref() } {
        return leaf;
    }
    let new = Box::into_raw(Box::new([const { AtomicU64::new(0) }; LEAF]));
    match place.compare_exchange(present, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: it stays there for ever.
        Ok(_null) => unsafe { &*new },
        Err(other) => {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: as above, of somebody else.
            unsafe { &*other }
        }
    }
}

/// Tells files, sockets and pipes apart; `None` when nothing is open by the number.
fn stamp(descriptor: RawFd) -> Option<u32> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the system fills it in when it succeeds.
    let found = unsafe {
        if libc::fstat(descriptor, found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    // Some systems have other types for these.
    let mut mixed = (found.st_ino as u64) ^ (found.st_dev as u64).rotate_left(32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some((mixed >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::{Descriptors, Standing};
    use std::fs::File;
    use std::io::pipe;
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_noted_is_the_owner_s_alone() {
        let table = Descriptors::new();
        let (socket, other) = UnixStream::pair().expect("sockets");
        table.note(socket.as_raw_fd(), 7);
        assert_eq!(table.look(socket.as_raw_fd(), 7), Standing::Own);
        assert_eq!(table.look(socket.as_raw_fd(), 8), Standing::Strange);
        assert_eq!(table.look(other.as_raw_fd(), 7), Standing::Strange);
        assert_eq!(table.owner(socket.as_raw_fd()), Some(7));
        assert_eq!(table.owner(other.as_raw_fd()), None);
    }

    #[test]
    fn what_is_not_open_is_closed() {
        let table = Descriptors::new();
        assert_eq!(table.look(-1, 7), Standing::Closed);
        assert_eq!(table.look(i32::MAX, 7), Standing::Closed);
        table.note(i32::MAX, 7);
        table.forget(i32::MAX);
        assert_eq!(table.owner(i32::MAX), None);
    }

    #[test]
    fn what_was_forgotten_is_strange() {
        let table = Descriptors::new();
        let (reader, _writer) = pipe().expect("a pipe");
        table.note(reader.as_raw_fd(), 7);
        table.forget(reader.as_raw_fd());
        assert_eq!(table.look(reader.as_raw_fd(), 7), Standing::Strange);
    }

    #[test]
    fn number_that_stands_for_something_else_is_strange() {
        let table = Descriptors::new();
        let (reader, _writer) = pipe().expect("a pipe");
        let (socket, _other) = UnixStream::pair().expect("sockets");
        let number = socket.into_raw_fd();
        table.note(number, 7);
        // SAFETY: the number is this test's; it becomes that of the pipe.
        assert_eq!(unsafe { libc::dup2(reader.as_raw_fd(), number) }, number);
        assert_eq!(table.look(number, 7), Standing::Strange);
        table.note(number, 7);
        assert_eq!(table.look(number, 7), Standing::Own);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::close(number) }, 0);
    }

    #[test]
    fn high_numbers_are_kept_apart() {
        let table = Descriptors::new();
        let file = File::open("/dev/null").expect("it opens");
        // SAFETY: a duplicate of a file that is open here.
        let high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 200) };
        assert!(high >= 200);
        table.note(high, 7);
        assert_eq!(table.look(high, 7), Standing::Own);
        assert_eq!(table.look(file.as_raw_fd(), 7), Standing::Strange);
        // SAFETY: the number is this test's.
        assert_eq!(unsafe { libc::close(high) }, 0);
    }
}
