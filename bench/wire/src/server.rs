//! An echo server on one thread, as a reactor is, with nothing but the system calls that it cannot do without.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const READ: usize = 256 * 1024;
const EVENTS: usize = 256;

struct Connection {
    stream: TcpStream,
    /// Read, and not written yet: the socket takes no more. Nothing is read until it has.
    unsent: Vec<u8>,
}

pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    std::thread::spawn(|| {
        // Whatever ends it, nobody asks any more.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    });
    let poll = Poll::new()?;
    poll.control(libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN)?;
    let mut connections = HashMap::new();
    let mut buffer = vec![0; READ];
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        for event in poll.wait(&mut events)? {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                accept(&listener, &poll, &mut connections)?;
            } else if let Some(connection) = connections.get_mut(&fd)
                && !advance(connection, &poll, &mut buffer)
            {
                connections.remove(&fd);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut HashMap<RawFd, Connection>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd();
        poll.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN)?;
        let unsent = Vec::new();
        connections.insert(fd, Connection { stream, unsent });
    }
}

/// Whether it goes on.
fn advance(connection: &mut Connection, poll: &Poll, buffer: &mut [u8]) -> bool {
    let moved = if connection.unsent.is_empty() {
        echo(connection, poll, buffer)
    } else {
        send(connection, poll)
    };
    match moved {
        Ok(goes_on) => goes_on,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn echo(connection: &mut Connection, poll: &Poll, buffer: &mut [u8]) -> io::Result<bool> {
    let read = connection.stream.read(buffer)?;
    if read == 0 {
        return Ok(false);
    }
    let written = match connection.stream.write(&buffer[..read]) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    if written < read {
        connection.unsent.extend_from_slice(&buffer[written..read]);
        poll.control(
            libc::EPOLL_CTL_MOD,
            connection.stream.as_raw_fd(),
            libc::EPOLLOUT,
        )?;
    }
    Ok(true)
}

fn send(connection: &mut Connection, poll: &Poll) -> io::Result<bool> {
    let written = connection.stream.write(&connection.unsent)?;
    connection.unsent.drain(..written);
    if connection.unsent.is_empty() {
        poll.control(
            libc::EPOLL_CTL_MOD,
            connection.stream.as_raw_fd(),
            libc::EPOLLIN,
        )?;
    }
    Ok(true)
}

struct Poll(OwnedFd);

impl Poll {
    fn new() -> io::Result<Self> {
        // SAFETY: no memory of ours is involved.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn control(&self, operation: i32, fd: RawFd, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: fd as u64,
        };
        // SAFETY: the kernel reads `event` during the call.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &mut event) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    fn wait<'a>(&self, events: &'a mut [libc::epoll_event]) -> io::Result<&'a [libc::epoll_event]> {
        let room = events.len() as i32;
        // SAFETY: the kernel writes at most `room` events.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, -1) };
        match usize::try_from(count) {
            Ok(count) => Ok(&events[..count]),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() == ErrorKind::Interrupted {
                    Ok(&[])
                } else {
                    Err(error)
                }
            }
        }
    }
}
