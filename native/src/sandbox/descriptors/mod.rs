//! Whose descriptors are. A number that code did not get from what it opened itself belongs to the node, or to another
//! context: the node's sockets and files are numbers of the same process.
//!
//! What an interpreter opens is its own, and so is what Erlang hands to it. Objects that hold a descriptor use and close it
//! as they like; what is checked is numbers. Standard output and standard error may be written to.

mod functions;
mod types;

pub(super) use functions::*;
pub(super) use types::{MODULES, guard_types};

use super::guard::current;
use super::hook::Event;
use super::policy::Network;
use super::refusal::Refusal;
use crate::py::{Object, Python, Raised, Result, ffi};
use py_core::descriptors::{DESCRIPTORS, Standing};
use std::os::fd::RawFd;

/// Standard input and output, which nobody but the node owns.
const LAST_STANDARD: RawFd = libc::STDERR_FILENO;

/// Whoever runs in the attached interpreter.
fn owner(_py: Python<'_>) -> u32 {
    // SAFETY: attached; reads a number of the interpreter, which is not negative and far below the largest.
    let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    interpreter as u32 + 1
}

/// The attached interpreter has opened a descriptor, or is given it.
pub(crate) fn note(py: Python<'_>, descriptor: RawFd) {
    if descriptor > LAST_STANDARD {
        DESCRIPTORS.note(descriptor, owner(py));
    }
}

/// The descriptor is nobody's that code knows of.
pub(crate) fn forget(descriptor: RawFd) {
    DESCRIPTORS.forget(descriptor);
}

/// Whether the number is the attached interpreter's to use; the exception says what is wrong with it.
pub(crate) fn check_read(py: Python<'_>, descriptor: RawFd) -> Result<()> {
    check(py, descriptor, Refusal::ReadDescriptor)
}

fn check(py: Python<'_>, descriptor: RawFd, what: Refusal) -> Result<()> {
    match DESCRIPTORS.look(descriptor, owner(py)) {
        Standing::Own => Ok(()),
        // Said here: by the time that a function asked, the number might be somebody's.
        Standing::Closed => Err(closed(py)),
        Standing::Strange => Err(strange(py, descriptor, what)),
    }
}

/// As [`check`], where standard output and standard error will do.
fn check_output(py: Python<'_>, descriptor: RawFd, what: Refusal) -> Result<()> {
    match descriptor {
        libc::STDOUT_FILENO | libc::STDERR_FILENO => Ok(()),
        _ => check(py, descriptor, what),
    }
}

/// Code says that a descriptor is its own: C code that it called has opened it, which nobody else sees.
pub(crate) fn adopt(py: Python<'_>, descriptor: RawFd) -> Result<()> {
    let calls_c = current(|guard| guard.policy.ctypes || guard.policy.native);
    let is_free = DESCRIPTORS
        .owner(descriptor)
        .is_none_or(|other| other == owner(py));
    match DESCRIPTORS.look(descriptor, owner(py)) {
        Standing::Closed => Err(closed(py)),
        _ if calls_c && is_free && descriptor > LAST_STANDARD => {
            note(py, descriptor);
            Ok(())
        }
        _ => Err(strange(py, descriptor, Refusal::AdoptDescriptor)),
    }
}

fn closed(py: Python<'_>) -> Raised {
    Raised::os_error(py, &std::io::Error::from_raw_os_error(libc::EBADF))
}

fn strange(py: Python<'_>, descriptor: RawFd, what: Refusal) -> Raised {
    current(|guard| guard.refuse(py, what, &format!("descriptor {descriptor}")))
}

/// A socket that Erlang means an interpreter to have, by its number: a duplicate of it. Whoever may talk to anybody may have
/// any socket.
pub(crate) fn duplicate_socket(py: Python<'_>, descriptor: RawFd) -> Result<RawFd> {
    let standing = DESCRIPTORS.look(descriptor, owner(py));
    let everywhere = current(|guard| guard.policy.network == Network::All);
    match standing {
        Standing::Closed => return Err(closed(py)),
        Standing::Strange if !everywhere => {
            return Err(strange(py, descriptor, Refusal::AdoptSocket));
        }
        _ => {}
    }
    let mut kind: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: asks the system about a number; it writes as much as it is told.
    let copy = unsafe {
        let asked = libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut size,
        );
        match asked {
            0 => libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, LAST_STANDARD + 1),
            _ => -1,
        }
    };
    if copy < 0 {
        return Err(Raised::os_error(py, &std::io::Error::last_os_error()));
    }
    note(py, copy);
    Ok(copy)
}

/// The number in an argument that has to be one. `None`: it is none that the system knows, and whoever gets it says so.
fn number(object: &Object<'_>) -> Result<Option<RawFd>> {
    if !is_int(object) {
        // Other objects might answer otherwise when they are asked again.
        let text = format!("a descriptor must be an int, not {}", object.type_name());
        return Err(Raised::type_error(object.py(), &text));
    }
    match object.as_int() {
        Ok(number) => Ok(number.try_into().ok()),
        Err(raised) => {
            raised.clear(object.py());
            Ok(None)
        }
    }
}

fn is_int(object: &Object<'_>) -> bool {
    // SAFETY: attached; reads the type of a live object.
    unsafe { ffi::PyLong_Check(object.as_ptr()) != 0 }
}

fn is_none(object: &Object<'_>) -> bool {
    // SAFETY: the address of an immortal object.
    object.as_ptr() == unsafe { ffi::Py_None() }
}

/// `mmap.__new__`: fileno, length, access, offset.
pub(super) fn mapped(event: &Event<'_, '_>) -> Result<()> {
    match event.argument(0) {
        Some(fd) if is_int(&fd) => match number(&fd)? {
            // Memory of no file.
            Some(-1) | None => Ok(()),
            Some(fd) => check(event.py, fd, Refusal::MapDescriptor),
        },
        _ => Ok(()),
    }
}

/// A function has given a descriptor, or a tuple of them.
fn note_result(result: &Object<'_>) -> Result<()> {
    // SAFETY: attached; reads the type of a live object.
    if unsafe { ffi::PyTuple_Check(result.as_ptr()) } != 0 {
        return result.tuple_items()?.iter().try_for_each(note_result);
    }
    if is_int(result)
        && let Ok(descriptor) = RawFd::try_from(result.as_int()?)
    {
        note(result.py(), descriptor);
    }
    Ok(())
}
