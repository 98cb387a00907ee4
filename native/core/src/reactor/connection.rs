//! One end of a connection: a socket or a pipe of our own, which does not block.

use std::cell::Cell;
use std::io::{Error, ErrorKind, Result};
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Whoever has a duplicate may have the socket block: `socket:close/1` does, just before it closes its own.
const AT_ONCE: i32 = libc::MSG_DONTWAIT;

/// What is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Stream,
    /// Datagrams: nothing of what is read says that the peer has ended.
    Datagram,
    Pipe,
}

/// Where a datagram came from, and where answers go.
#[derive(Clone, Copy)]
pub struct Sender {
    address: libc::sockaddr_storage,
    length: libc::socklen_t,
}

/// See the module. Dropped, it ends the connection: the peer sees that even if somebody has a duplicate.
pub struct Connection {
    descriptor: OwnedFd,
    kind: Kind,
    /// It was shut down.
    over: Cell<bool>,
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shut_down();
        self.close_at_once();
    }
}

fn checked(result: i32) -> Result<i32> {
    if result == -1 {
        return Err(Error::last_os_error());
    }
    Ok(result)
}

/// Repeats what a signal interrupted.
fn transferred(mut transfer: impl FnMut() -> isize) -> Result<usize> {
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

fn option<T>(descriptor: RawFd, level: i32, name: i32) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut size = size_of::<T>() as libc::socklen_t;
    // SAFETY: room for the value, and its size. Zeroes are a value of the types that are asked for, numbers and
    // structures of numbers, should the system write less.
    unsafe {
        checked(libc::getsockopt(
            descriptor,
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut size,
        ))?;
        Ok(value.assume_init())
    }
}

fn kind_of(descriptor: RawFd) -> Result<Kind> {
    let kind = match option::<i32>(descriptor, libc::SOL_SOCKET, libc::SO_TYPE) {
        Ok(libc::SOCK_STREAM | libc::SOCK_SEQPACKET) => Kind::Stream,
        Ok(_) => return Ok(Kind::Datagram),
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => return pipe(descriptor),
        Err(error) => return Err(error),
    };
    // Connections come from it; it is none.
    match option::<i32>(descriptor, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) {
        Ok(0) | Err(_) => Ok(kind),
        Ok(_) => Err(Error::from_raw_os_error(libc::EINVAL)),
    }
}

/// Files and directories are always ready, and have no other end.
fn pipe(descriptor: RawFd) -> Result<Kind> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: room for the structure, of numbers.
    let mode = unsafe {
        checked(libc::fstat(descriptor, status.as_mut_ptr()))?;
        status.assume_init().st_mode
    };
    match mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR => Err(Error::from_raw_os_error(libc::EINVAL)),
        _ => Ok(Kind::Pipe),
    }
}

impl Connection {
    /// Duplicates a descriptor, which stays with its owner.
    pub fn duplicate(descriptor: RawFd) -> Result<Self> {
        let kind = kind_of(descriptor)?;
        // SAFETY: a new descriptor, or -1; so are the flags.
        unsafe {
            let copy = checked(libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0))?;
            let connection = Self {
                descriptor: OwnedFd::from_raw_fd(copy),
                kind,
                over: Cell::new(false),
            };
            let prepared = checked(libc::fcntl(copy, libc::F_GETFL)).and_then(|flags| {
                checked(libc::fcntl(copy, libc::F_SETFL, flags | libc::O_NONBLOCK))
            });
            if let Err(error) = prepared {
                connection.release();
                return Err(error);
            }
            Ok(connection)
        }
    }

    /// Takes a connection from a listening socket, and says who is at the other end.
    pub fn accept(listener: RawFd) -> Result<(Self, Sender)> {
        // SAFETY: zeroes are an address of no family.
        let address = unsafe { std::mem::zeroed() };
        let mut sender = Sender { address, length: 0 };
        let accepted = transferred(|| {
            sender.length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            let address = (&raw mut sender.address).cast();
            // SAFETY: room for the address and its length.
            unsafe { accept_one(listener, address, &raw mut sender.length) as isize }
        })?;
        let connection = Self {
            // SAFETY: a new descriptor.
            descriptor: unsafe { OwnedFd::from_raw_fd(accepted as RawFd) },
            kind: Kind::Stream,
            over: Cell::new(false),
        };
        Ok((connection, sender))
    }

    /// Nothing more is written, which the peer sees; what it sends is read.
    pub fn end_output(&self) {
        if self.kind == Kind::Stream {
            // SAFETY: no precondition. One that has ended already is no matter.
            unsafe { libc::shutdown(self.as_raw_fd(), libc::SHUT_WR) };
        }
    }

    /// Closes the descriptor; the connection goes on where there is a duplicate.
    pub fn release(self) {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: taken out once, of something that is never dropped.
        drop(unsafe { std::ptr::read(&raw const this.descriptor) });
    }

    /// The address of this end, if it is one of the internet.
    pub fn local(&self) -> Option<SocketAddr> {
        // SAFETY: zeroes are an address of no family.
        let address = unsafe { std::mem::zeroed() };
        let mut local = Sender { address, length: 0 };
        local.length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let address = (&raw mut local.address).cast();
        // SAFETY: room for the address and its length.
        let named =
            checked(unsafe { libc::getsockname(self.as_raw_fd(), address, &raw mut local.length) });
        named.ok().and_then(|_| local.internet())
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Has the close not wait for what the peer has not taken, as `SO_LINGER` says. Without time it is a reset, and stays.
    fn close_at_once(&self) {
        if self.kind != Kind::Stream {
            return;
        }
        let set = option::<libc::linger>(self.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER);
        if set.is_ok_and(|set| set.l_onoff != 0 && set.l_linger > 0) {
            let off = libc::linger {
                l_onoff: 0,
                l_linger: 0,
            };
            // SAFETY: the structure lives for the call.
            unsafe {
                libc::setsockopt(
                    self.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&raw const off).cast(),
                    size_of::<libc::linger>() as libc::socklen_t,
                )
            };
        }
    }

    /// Nothing more is read or written; the peer sees the end.
    pub fn shut_down(&self) {
        if self.kind == Kind::Stream && !self.over.replace(true) {
            // SAFETY: no precondition. One that has ended already is no matter.
            unsafe { libc::shutdown(self.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }

    /// Reads what is there into a place; of a datagram what fits. 0 from a stream or a pipe: its end.
    pub fn receive(&self, place: &mut [u8]) -> Result<usize> {
        let (start, size) = (place.as_mut_ptr().cast(), place.len());
        // SAFETY: the same bytes; the system only writes what it has.
        self.receive_new(unsafe { std::slice::from_raw_parts_mut(start, size) })
    }

    /// The same for a place that was never written; the first so many bytes were then.
    pub fn receive_new(&self, place: &mut [MaybeUninit<u8>]) -> Result<usize> {
        let (start, size) = (place.as_mut_ptr().cast(), place.len());
        // SAFETY: memory of that size, which nobody else uses meanwhile.
        transferred(|| unsafe {
            match self.kind {
                Kind::Pipe => libc::read(self.as_raw_fd(), start, size),
                // Cheaper than `read`, which has to find out what it reads.
                _ => libc::recv(self.as_raw_fd(), start, size, AT_ONCE),
            }
        })
    }

    /// The same for a datagram, and who has sent it.
    pub fn receive_from(&self, place: &mut [u8]) -> Result<(usize, Sender)> {
        let (start, size) = (place.as_mut_ptr().cast(), place.len());
        // SAFETY: zeroes are an address of no family.
        let address = unsafe { std::mem::zeroed() };
        let mut sender = Sender { address, length: 0 };
        let count = transferred(|| {
            sender.length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            // SAFETY: as above; the address and its length are written.
            unsafe {
                libc::recvfrom(
                    self.as_raw_fd(),
                    start,
                    size,
                    AT_ONCE,
                    (&raw mut sender.address).cast(),
                    &raw mut sender.length,
                )
            }
        })?;
        Ok((count, sender))
    }

    /// Writes as much as goes at once; a datagram to whoever is given.
    pub fn send(&self, bytes: &[u8], to: Option<&Sender>) -> Result<usize> {
        #[cfg(target_os = "linux")]
        const FLAGS: i32 = libc::MSG_NOSIGNAL | AT_ONCE;
        #[cfg(not(target_os = "linux"))]
        const FLAGS: i32 = AT_ONCE;
        let (start, size, descriptor) = (bytes.as_ptr().cast(), bytes.len(), self.as_raw_fd());
        let to = to.filter(|to| self.kind == Kind::Datagram && to.length > 0);
        // SAFETY: the bytes are alive and do not change; so is the address.
        transferred(|| unsafe {
            match (self.kind, to) {
                (Kind::Pipe, _) => libc::write(descriptor, start, size),
                (_, None) => libc::send(descriptor, start, size, FLAGS),
                (_, Some(to)) => {
                    let address = (&raw const to.address).cast();
                    libc::sendto(descriptor, start, size, FLAGS, address, to.length)
                }
            }
        })
    }
}

impl Sender {
    /// The address, if it is one of the internet.
    pub fn internet(&self) -> Option<SocketAddr> {
        let family = i32::from(self.address.ss_family);
        // SAFETY: the family says what the storage, which has room for every kind, holds.
        unsafe {
            match family {
                libc::AF_INET => {
                    let address = &*(&raw const self.address).cast::<libc::sockaddr_in>();
                    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                    Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let address = &*(&raw const self.address).cast::<libc::sockaddr_in6>();
                    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                    let port = u16::from_be(address.sin6_port);
                    Some(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }
}

#[cfg(target_os = "linux")]
unsafe fn accept_one(
    listener: RawFd,
    address: *mut libc::sockaddr,
    length: *mut libc::socklen_t,
) -> RawFd {
    // SAFETY: the caller's promise.
    unsafe {
        libc::accept4(
            listener,
            address,
            length,
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    }
}

#[cfg(not(target_os = "linux"))]
unsafe fn accept_one(
    listener: RawFd,
    address: *mut libc::sockaddr,
    length: *mut libc::socklen_t,
) -> RawFd {
    // SAFETY: the caller's promise; the new descriptor is ours.
    unsafe {
        let accepted = libc::accept(listener, address, length);
        if accepted != -1 {
            libc::fcntl(accepted, libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(accepted, libc::F_SETFL, libc::O_NONBLOCK);
        }
        accepted
    }
}

/// The peer of a socket, which somebody else has, sees the end. Nothing happens to what is no socket.
pub fn end(descriptor: RawFd) {
    // SAFETY: no precondition.
    unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) };
}

/// A duplicate of a listening socket.
pub fn listener(descriptor: RawFd) -> Result<OwnedFd> {
    match option::<i32>(descriptor, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? {
        0 => Err(Error::from_raw_os_error(libc::EINVAL)),
        _ => {
            // SAFETY: a new descriptor, or -1.
            unsafe {
                let copy = checked(libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0))?;
                let copy = OwnedFd::from_raw_fd(copy);
                let flags = checked(libc::fcntl(copy.as_raw_fd(), libc::F_GETFL))?;
                let flags = flags | libc::O_NONBLOCK;
                checked(libc::fcntl(copy.as_raw_fd(), libc::F_SETFL, flags))?;
                Ok(copy)
            }
        }
    }
}

/// Two connected Unix sockets that do not block, for whoever takes them over.
pub fn pair() -> Result<[RawFd; 2]> {
    let mut pair = [-1; 2];
    #[cfg(target_os = "linux")]
    const KIND: i32 = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    #[cfg(not(target_os = "linux"))]
    const KIND: i32 = libc::SOCK_STREAM;
    // SAFETY: room for two descriptors.
    checked(unsafe { libc::socketpair(libc::AF_UNIX, KIND, 0, pair.as_mut_ptr()) })?;
    #[cfg(not(target_os = "linux"))]
    for descriptor in pair {
        // SAFETY: they are ours.
        unsafe {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK);
        }
    }
    Ok(pair)
}

/// How many bytes of a TCP connection were read from the system so far; `None` where it cannot say.
#[cfg(target_os = "linux")]
pub fn taken(descriptor: RawFd) -> Option<u64> {
    /// `tcpi_bytes_received` of `struct tcp_info` in Linux 4.1 and later, as laid out in `linux/tcp.h`.
    const RECEIVED: usize = 128;
    /// `tcpi_state`, the first byte, where the peer has ended: TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING of
    /// `linux/tcp_states.h`.
    const ENDED: [u8; 4] = [6, 8, 9, 11];
    let info: [u64; 24] = option(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO).ok()?;
    let received = info[RECEIVED / size_of::<u64>()];
    let mut unread: i32 = 0;
    // SAFETY: room for the number.
    checked(unsafe { libc::ioctl(descriptor, libc::FIONREAD, &raw mut unread) }).ok()?;
    // The end of the peer's output is counted as a byte, but for FIONREAD.
    let ended = ENDED.contains(&info[0].to_ne_bytes()[0]);
    let unread = u64::from(unread.cast_unsigned()) + u64::from(ended);
    Some(received.saturating_sub(unread))
}

/// The same: not known here.
#[cfg(not(target_os = "linux"))]
pub fn taken(_descriptor: RawFd) -> Option<u64> {
    None
}
