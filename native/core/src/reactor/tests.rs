use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system does its part");
    let client = TcpStream::connect(listener.local_addr().expect("the system does its part"))
        .expect("the system does its part");
    (
        client,
        listener.accept().expect("the system does its part").0,
    )
}

#[test]
fn peer_sees_the_end_although_there_is_a_duplicate() {
    let (mut client, server) = connected();
    let connection = Connection::duplicate(server.as_raw_fd()).expect("the system does its part");
    client
        .write_all(b"question")
        .expect("the system does its part");
    let mut place = [0; 16];
    let count = loop {
        match connection.receive(&mut place) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => break other.expect("the system does its part"),
        }
    };
    assert_eq!(&place[..count], b"question");
    assert_eq!(
        connection
            .send(b"answer", None)
            .expect("the system does its part"),
        6
    );
    drop(connection);
    let mut answer = Vec::new();
    client
        .read_to_end(&mut answer)
        .expect("the system does its part");
    assert_eq!(answer, b"answer");
    drop(server);
}

#[test]
fn released_it_goes_on_for_the_owner_of_the_original() {
    let (mut client, mut server) = connected();
    Connection::duplicate(server.as_raw_fd())
        .expect("the system does its part")
        .release();
    server.write_all(b"more").expect("the system does its part");
    let mut place = [0; 4];
    client
        .read_exact(&mut place)
        .expect("the system does its part");
    assert_eq!(&place, b"more");
}

#[test]
fn kinds_are_told_apart() {
    let (left, _right) = UnixStream::pair().expect("the system does its part");
    let kind = |descriptor| Connection::duplicate(descriptor).map(|one| one.kind());
    assert_eq!(
        kind(left.as_raw_fd()).expect("the system does its part"),
        Kind::Stream
    );
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("the system does its part");
    assert_eq!(
        kind(datagrams.as_raw_fd()).expect("the system does its part"),
        Kind::Datagram
    );
    let (reader, _writer) = std::io::pipe().expect("the system does its part");
    assert_eq!(
        kind(reader.as_raw_fd()).expect("the system does its part"),
        Kind::Pipe
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("the system does its part");
    let refused = kind(listener.as_raw_fd()).expect_err("it is none");
    assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(
        kind(-1).expect_err("it is none").raw_os_error(),
        Some(libc::EBADF)
    );
}

#[test]
fn datagrams_are_answered_to_their_sender() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("the system does its part");
    let client = UdpSocket::bind("127.0.0.1:0").expect("the system does its part");
    client
        .send_to(b"", server.local_addr().expect("the system does its part"))
        .expect("the system does its part");
    let connection = Connection::duplicate(server.as_raw_fd()).expect("the system does its part");
    let mut place = [0; 16];
    let (count, sender) = loop {
        match connection.receive_from(&mut place) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            other => break other.expect("the system does its part"),
        }
    };
    assert_eq!(count, 0);
    assert_eq!(
        sender.internet(),
        Some(client.local_addr().expect("the system does its part"))
    );
    assert_eq!(
        connection
            .send(b"back", Some(&sender))
            .expect("the system does its part"),
        4
    );
    assert_eq!(
        client.recv(&mut place).expect("the system does its part"),
        4
    );
}

#[test]
fn connections_are_taken_from_a_listener_until_there_is_none() {
    let original = TcpListener::bind("127.0.0.1:0").expect("the system does its part");
    let address = original.local_addr().expect("the system does its part");
    let ours = listener(original.as_raw_fd()).expect("it listens");
    let mut client = TcpStream::connect(address).expect("the system does its part");
    let (connection, sender) = Connection::accept(ours.as_raw_fd()).expect("one waits");
    assert_eq!(sender.internet(), client.local_addr().ok());
    connection.end_output();
    assert_eq!(client.read(&mut [0; 1]).expect("the end"), 0);
    let nobody = Connection::accept(ours.as_raw_fd())
        .err()
        .expect("none waits");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    let no_listener = listener(client.as_raw_fd()).expect_err("it is none");
    assert_eq!(no_listener.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn pairs_are_connected() {
    // SAFETY: they are ours.
    let [left, right] = pair()
        .expect("the system does its part")
        .map(|one| unsafe { OwnedFd::from_raw_fd(one) });
    UnixStream::from(left)
        .write_all(b"x")
        .expect("the system does its part");
    let mut place = [0; 1];
    UnixStream::from(right)
        .read_exact(&mut place)
        .expect("the system does its part");
    assert_eq!(&place, b"x");
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_read_from_the_system_is_counted() {
    let (mut client, mut server) = connected();
    assert_eq!(taken(server.as_raw_fd()), Some(0));
    client
        .write_all(&[0; 1000])
        .expect("the system does its part");
    server
        .read_exact(&mut [0; 600])
        .expect("the system does its part");
    assert_eq!(taken(server.as_raw_fd()), Some(600));
    client
        .write_all(&[0; 100])
        .expect("the system does its part");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("the system does its part");
    server
        .read_exact(&mut [0; 100])
        .expect("the system does its part");
    assert_eq!(taken(server.as_raw_fd()), Some(700));
    let (left, _right) = UnixStream::pair().expect("the system does its part");
    assert_eq!(taken(left.as_raw_fd()), None);
}

#[test]
fn late_connections_come_in_order_and_once() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut expiry = Expiry::default();
    for (connection, seconds) in [(1, 3), (2, 1), (3, 2), (4, 1)] {
        expiry.set(connection, at(seconds));
    }
    expiry.set(2, at(4));
    expiry.forget(3);
    assert_eq!(expiry.next(), Some(at(1)));
    assert_eq!(expiry.take(start), None);
    assert_eq!(expiry.take(at(3)), Some(4));
    assert_eq!(expiry.take(at(3)), Some(1));
    assert_eq!(expiry.take(at(3)), None);
    assert_eq!(expiry.take(at(4)), Some(2));
    assert_eq!(expiry.next(), None);
}
