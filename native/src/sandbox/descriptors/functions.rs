//! Functions that take descriptors by number, or give them.

use super::{
    DESCRIPTORS, Standing, check, check_output, closed, is_int, note, note_result, number, owner,
    strange,
};
use crate::py::{Object, Raised, Result, ffi};
use crate::sandbox::guarded::{Call, Kept};
use crate::sandbox::refusal::Refusal;
use crate::sandbox::scheduler::refuse_to_wait_for;
use std::io::Error;
use std::os::fd::RawFd;

/// An argument that is a descriptor.
fn descriptor(call: &Call<'_, '_>, index: usize, name: &str) -> Result<Option<RawFd>> {
    match call.argument(index, name) {
        Some(argument) => number(&argument),
        None => Ok(None),
    }
}

fn proceed(call: &Call<'_, '_>) -> Result<Kept> {
    Ok(call.proceed()?.into_ptr())
}

/// What gives a descriptor, or some.
pub(in crate::sandbox) fn made(call: &Call<'_, '_>) -> Result<Kept> {
    let result = call.proceed()?;
    note_result(&result)?;
    Ok(result.into_ptr())
}

/// `close(fd)`
pub(in crate::sandbox) fn close(call: &Call<'_, '_>) -> Result<Kept> {
    if let Some(fd) = descriptor(call, 0, "fd")? {
        check(call.py, fd, Refusal::Close)?;
        // Before somebody else can have the number.
        DESCRIPTORS.forget(fd);
    }
    proceed(call)
}

/// `closerange(fd_low, fd_high, /)`: nothing is closed if anything there is not the context's.
pub(in crate::sandbox) fn close_range(call: &Call<'_, '_>) -> Result<Kept> {
    let (Some(low), Some(high)) = (descriptor(call, 0, "")?, descriptor(call, 1, "")?) else {
        return proceed(call);
    };
    let py = call.py;
    // SAFETY: asks the system.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    let high = high.min(RawFd::try_from(most).unwrap_or(RawFd::MAX));
    let mut own = Vec::new();
    for fd in low.max(0)..high {
        match DESCRIPTORS.look(fd, owner(py)) {
            Standing::Own => own.push(fd),
            Standing::Strange => return Err(strange(py, fd, Refusal::Close)),
            Standing::Closed => {}
        }
    }
    for fd in own {
        DESCRIPTORS.forget(fd);
        // SAFETY: the context's own; that it is closed without a word is what the function promises.
        unsafe { libc::close(fd) };
    }
    Ok(Object::none(py).into_ptr())
}

/// `dup(fd, /)`
pub(in crate::sandbox) fn duplicate(call: &Call<'_, '_>) -> Result<Kept> {
    if let Some(fd) = descriptor(call, 0, "fd")? {
        check_output(call.py, fd, Refusal::Duplicate)?;
    }
    made(call)
}

/// `dup2(fd, fd2, inheritable=True)`
pub(in crate::sandbox) fn duplicate_to(call: &Call<'_, '_>) -> Result<Kept> {
    let (Some(from), Some(to)) = (descriptor(call, 0, "fd")?, descriptor(call, 1, "fd2")?) else {
        return proceed(call);
    };
    let py = call.py;
    check_output(py, from, Refusal::Duplicate)?;
    if to < 0 {
        return Err(closed(py));
    }
    match DESCRIPTORS.look(to, owner(py)) {
        Standing::Own => made(call),
        Standing::Strange => Err(strange(py, to, Refusal::Duplicate)),
        Standing::Closed => duplicate_to_free(call, from, to),
    }
}

/// A number that is free now may be the node's by the time that the system is asked, so it is not taken by force.
fn duplicate_to_free(call: &Call<'_, '_>, from: RawFd, to: RawFd) -> Result<Kept> {
    let py = call.py;
    let stays_open = match call.argument(2, "inheritable") {
        // SAFETY: attached; a live object.
        Some(flag) => match unsafe { ffi::PyObject_IsTrue(flag.as_ptr()) } {
            -1 => return Err(Raised::seen(py)),
            truth => truth != 0,
        },
        None => true,
    };
    // SAFETY: a number that the context may duplicate.
    let got = unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, to) };
    if got < 0 {
        let error = Error::last_os_error();
        // A number beyond the limit is a wrong argument to this function, and a bad descriptor to the other.
        return match error.raw_os_error() {
            Some(libc::EINVAL) => Err(closed(py)),
            _ => Err(Raised::os_error(py, &error)),
        };
    }
    if got != to {
        // SAFETY: made above.
        unsafe { libc::close(got) };
        return Err(strange(py, to, Refusal::Duplicate));
    }
    // SAFETY: made above.
    if stays_open && unsafe { libc::fcntl(got, libc::F_SETFD, 0) } != 0 {
        return Err(Raised::os_error(py, &Error::last_os_error()));
    }
    note(py, got);
    Ok(Object::int(py, got.into())?.into_ptr())
}

/// Flags of what is open: `set_blocking(fd, blocking, /)`, `set_inheritable(fd, inheritable, /)`.
pub(in crate::sandbox) fn flagged(call: &Call<'_, '_>) -> Result<Kept> {
    if let Some(fd) = descriptor(call, 0, "fd")? {
        check(call.py, fd, Refusal::DescriptorFlags)?;
    }
    proceed(call)
}

/// What reads, or moves where it is read, by a first argument.
pub(in crate::sandbox) fn reads(call: &Call<'_, '_>) -> Result<Kept> {
    if let Some(fd) = descriptor(call, 0, "fd")? {
        check(call.py, fd, Refusal::ReadDescriptor)?;
        refuse_to_wait_for(call.py, fd)?;
    }
    proceed(call)
}

/// What writes, by a first argument.
pub(in crate::sandbox) fn writes(call: &Call<'_, '_>) -> Result<Kept> {
    if let Some(fd) = descriptor(call, 0, "fd")? {
        check_output(call.py, fd, Refusal::WriteDescriptor)?;
    }
    proceed(call)
}

/// What changes the file itself.
pub(in crate::sandbox) fn changes(call: &Call<'_, '_>) -> Result<Kept> {
    if let Some(fd) = descriptor(call, 0, "fd")? {
        check(call.py, fd, Refusal::WriteDescriptor)?;
    }
    proceed(call)
}

/// `truncate(path, length)`, whose path may be a descriptor.
pub(in crate::sandbox) fn truncate(call: &Call<'_, '_>) -> Result<Kept> {
    match call.argument(0, "path") {
        Some(path) if is_int(&path) => {
            if let Some(fd) = number(&path)? {
                check(call.py, fd, Refusal::WriteDescriptor)?;
            }
            proceed(call)
        }
        _ => proceed(call),
    }
}

/// `sendfile(out_fd, in_fd, ...)`
pub(in crate::sandbox) fn send_file(call: &Call<'_, '_>) -> Result<Kept> {
    moves(call, (1, "in_fd"), (0, "out_fd"))
}

/// `splice(src, dst, ...)`, `copy_file_range(src, dst, ...)`
pub(in crate::sandbox) fn copy(call: &Call<'_, '_>) -> Result<Kept> {
    moves(call, (0, "src"), (1, "dst"))
}

fn moves(call: &Call<'_, '_>, from: (usize, &str), to: (usize, &str)) -> Result<Kept> {
    if let Some(fd) = descriptor(call, from.0, from.1)? {
        check(call.py, fd, Refusal::ReadDescriptor)?;
    }
    if let Some(fd) = descriptor(call, to.0, to.1)? {
        check_output(call.py, fd, Refusal::WriteDescriptor)?;
    }
    proceed(call)
}

/// A first argument that is a descriptor, or has one: what is asked is handed on, as it may answer otherwise later.
fn asked<'py>(call: &Call<'_, 'py>) -> Result<Option<(RawFd, Object<'py>)>> {
    let Some(argument) = call.argument(0, "fd") else {
        return Ok(None);
    };
    // SAFETY: attached; a live object.
    let fd = unsafe { ffi::PyObject_AsFileDescriptor(argument.as_ptr()) };
    if fd < 0 {
        return Err(Raised::seen(call.py));
    }
    Ok(Some((fd, Object::int(call.py, fd.into())?)))
}

/// `fcntl(fd, cmd, arg=0, /)`
pub(in crate::sandbox) fn control(call: &Call<'_, '_>) -> Result<Kept> {
    let Some((fd, exact)) = asked(call)? else {
        return proceed(call);
    };
    let command = match call.argument(1, "cmd") {
        Some(command) => number(&command)?,
        None => None,
    };
    let Some(command) = command else {
        return proceed(call);
    };
    if !matches!(command, libc::F_GETFD | libc::F_GETFL) {
        check(call.py, fd, Refusal::Control)?;
    }
    if sends_signals(call, command)? {
        return call.refuse(Refusal::SignalsByDescriptor);
    }
    let result = call.proceed_with((0, "fd"), &exact)?;
    if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
        note_result(&result)?;
    }
    Ok(result.into_ptr())
}

/// Whether a command makes the system send signals when something happens to the descriptor.
fn sends_signals(call: &Call<'_, '_>, command: i32) -> Result<bool> {
    if command == libc::F_SETOWN {
        return Ok(true);
    }
    #[cfg(target_os = "linux")]
    if matches!(command, libc::F_SETLEASE | libc::F_NOTIFY | 10 | 15) {
        // 10 and 15 are F_SETSIG and F_SETOWN_EX.
        return Ok(true);
    }
    match call.argument(2, "arg") {
        Some(flags) if command == libc::F_SETFL && is_int(&flags) => {
            let flags = number(&flags)?.unwrap_or(0);
            Ok(flags & libc::O_ASYNC != 0)
        }
        _ => Ok(false),
    }
}

/// Questions about terminals, and how much there is to read: `TIOCGWINSZ`, `TCGETS`, `FIONREAD`.
#[cfg(target_os = "linux")]
const QUESTIONS: &[i64] = &[0x5413, 0x5401, 0x541b];
#[cfg(not(target_os = "linux"))]
const QUESTIONS: &[i64] = &[0x4008_7468, 0x4004_667f];

/// `FIOASYNC`, `FIOSETOWN`, `SIOCSPGRP`.
#[cfg(target_os = "linux")]
const SIGNALS: &[i64] = &[0x5452, 0x8901, 0x8902];
#[cfg(not(target_os = "linux"))]
const SIGNALS: &[i64] = &[0x8004_667d, 0x8004_667c, 0x8004_7308];

/// `ioctl(fd, request, arg=0, mutate_flag=True, /)`
pub(in crate::sandbox) fn device_control(call: &Call<'_, '_>) -> Result<Kept> {
    let Some((fd, exact)) = asked(call)? else {
        return proceed(call);
    };
    let request = match call.argument(1, "request") {
        Some(request) if is_int(&request) => request.as_int()? & 0xffff_ffff,
        _ => return proceed(call),
    };
    if !QUESTIONS.contains(&request) {
        check(call.py, fd, Refusal::Control)?;
    }
    if SIGNALS.contains(&request) {
        return call.refuse(Refusal::SignalsByDescriptor);
    }
    Ok(call.proceed_with((0, "fd"), &exact)?.into_ptr())
}

/// Locks and terminals: a first argument that is a descriptor, or has one.
pub(in crate::sandbox) fn controlled(call: &Call<'_, '_>) -> Result<Kept> {
    let Some((fd, exact)) = asked(call)? else {
        return proceed(call);
    };
    check(call.py, fd, Refusal::Control)?;
    Ok(call.proceed_with((0, "fd"), &exact)?.into_ptr())
}
