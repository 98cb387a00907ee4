//! Whom code talks to.

use super::guard::current;
use super::guarded::{Call, Kept};
use super::hook::Event;
use super::policy::Network;
use super::refusal::Refusal;
use crate::py::{Object, Python, Raised, Result, ffi};
use std::net::IpAddr;

/// `socket.connect`, `socket.bind`, `socket.sendto`, `socket.sendmsg`: a socket and an address.
pub(super) fn addressed(event: &Event<'_, '_>, what: Refusal) -> Result<()> {
    if event.guard.policy.network == Network::All {
        return Ok(());
    }
    let Some(address) = event.argument(1) else {
        return Err(event.guard.refuse(event.py, what, ""));
    };
    // A message to whom the socket is connected with.
    // SAFETY: the address of an immortal object.
    if address.as_ptr() == unsafe { ffi::Py_None() } {
        return Ok(());
    }
    let (host, port) = place(event.py, &address)?;
    if allows(event, &host, port) {
        return Ok(());
    }
    let detail = match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    Err(event.guard.refuse(event.py, what, &detail))
}

/// `socket.getaddrinfo` and the like: a host, and perhaps a port.
pub(super) fn resolving(event: &Event<'_, '_>) -> Result<()> {
    let Network::Only(places) = &event.guard.policy.network else {
        return Ok(());
    };
    let host = match event.argument(0) {
        Some(host) => text(event.py, &host)?,
        None => None,
    };
    // No host is this one, for which no server is asked; whether it may be bound shows later.
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Ok(());
    };
    let allowed = !places.is_empty() && allows(event, &host, None);
    if allowed || host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(event.guard.refuse(event.py, Refusal::Resolve, &host))
}

/// `socket.gethostbyaddr`, `socket.getnameinfo`: the names of an address, which a server is asked for.
pub(super) fn naming(event: &Event<'_, '_>) -> Result<()> {
    let Some(address) = event.argument(0) else {
        return Ok(());
    };
    let (host, _port) = place(event.py, &address)?;
    if host.is_empty() || allows(event, &host, None) {
        return Ok(());
    }
    Err(event.guard.refuse(event.py, Refusal::Resolve, &host))
}

/// `socket.listen(backlog)`: the system gives a socket that was not bound an address by itself.
pub(super) fn listen(call: &Call<'_, '_>) -> Result<Kept> {
    if current(|guard| guard.policy.network == Network::All) {
        return Ok(call.proceed()?.into_ptr());
    }
    if let Some(socket) = call.argument(0, "self")
        && let Some(address) = unbound(call, &socket)?
    {
        let allowed = current(|guard| guard.policy.network.allows(Some(&address), Some(0)));
        if !allowed {
            return call.refuse_what(Refusal::Bind, &address);
        }
    }
    Ok(call.proceed()?.into_ptr())
}

/// The address that a socket would get, if it has none yet.
fn unbound(call: &Call<'_, '_>, socket: &Object<'_>) -> Result<Option<String>> {
    // That of the class in C: a class that derives from it may say anything.
    let class = call.original().getattr_str("__objclass__")?;
    let descriptor = class.getattr_str("fileno")?.call(&[socket])?.as_int()?;
    let Ok(descriptor) = libc::c_int::try_from(descriptor) else {
        return Ok(None);
    };
    // SAFETY: plain data, for which zeros are valid; the system writes at most as much as it is told.
    let (family, port) = unsafe {
        let mut address: libc::sockaddr_storage = std::mem::zeroed();
        let mut size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        if libc::getsockname(descriptor, (&raw mut address).cast(), &mut size) != 0 {
            // Listening will say what is wrong with it.
            return Ok(None);
        }
        let family = libc::c_int::from(address.ss_family);
        let port = match family {
            libc::AF_INET => (*(&raw const address).cast::<libc::sockaddr_in>()).sin_port,
            libc::AF_INET6 => (*(&raw const address).cast::<libc::sockaddr_in6>()).sin6_port,
            _ => return Ok(None),
        };
        (family, port)
    };
    let address = if family == libc::AF_INET {
        "0.0.0.0"
    } else {
        "::"
    };
    Ok((port == 0).then(|| address.into()))
}

/// `socket.__new__`: a socket, its family, type and protocol.
pub(super) fn made(event: &Event<'_, '_>) -> Result<()> {
    if event.guard.policy.network == Network::All {
        return Ok(());
    }
    let number = |index| {
        event
            .argument(index)
            .map_or(Ok(-1), |argument| argument.as_int())
    };
    let (family, kind) = (number(1)?, number(2)?);
    let plain_family = [-1, 0, libc::AF_INET, libc::AF_INET6, libc::AF_UNIX]
        .iter()
        .any(|&known| i64::from(known) == family);
    // The lowest bits tell the type, those above are flags.
    let plain_type = kind == -1
        || [libc::SOCK_STREAM, libc::SOCK_DGRAM]
            .iter()
            .any(|&known| i64::from(known) == kind & 0xf);
    if plain_family && plain_type {
        return Ok(());
    }
    Err(event.guard.refuse(event.py, Refusal::RawSocket, ""))
}

/// Notes what an allowed name means: connections go to the addresses that were found for it. `found` is the answer of
/// `getaddrinfo`.
pub(super) fn found(
    py: Python<'_>,
    guard: &super::guard::Guard,
    host: &str,
    found: &Object<'_>,
) -> Result<()> {
    if guard.policy.network == Network::All || host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    // SAFETY: attached; the items of a list, and of the tuples in it, are borrowed and live as long as it.
    unsafe {
        if ffi::PyList_Check(found.as_ptr()) == 0 {
            return Ok(());
        }
        for index in 0..ffi::PyList_GET_SIZE(found.as_ptr()) {
            let entry = ffi::PyList_GET_ITEM(found.as_ptr(), index);
            if ffi::PyTuple_Check(entry) == 0 || ffi::PyTuple_GET_SIZE(entry) != 5 {
                continue;
            }
            let address = Object::borrowed(py, ffi::PyTuple_GET_ITEM(entry, 4));
            let (ip, _port) = place(py, &address)?;
            if let Ok(ip) = ip.parse() {
                let mut resolved = guard.resolved.lock();
                resolved.entry(ip).or_default().insert(host.to_owned());
            }
        }
    }
    Ok(())
}

fn allows(event: &Event<'_, '_>, host: &str, port: Option<u16>) -> bool {
    let network = &event.guard.policy.network;
    if network.allows(Some(host), port) {
        return true;
    }
    host.parse().is_ok_and(|ip: IpAddr| {
        let resolved = event.guard.resolved.lock();
        resolved
            .get(&ip)
            .is_some_and(|names| names.iter().any(|name| network.allows(Some(name), port)))
    })
}

/// The host and the port of an address; a Unix socket's path stands for a host.
fn place(py: Python<'_>, address: &Object<'_>) -> Result<(String, Option<u16>)> {
    // SAFETY: attached; reads the type of a live object, and items of a tuple, which are borrowed.
    let (host, port) = unsafe {
        if ffi::PyTuple_Check(address.as_ptr()) == 0 || ffi::PyTuple_GET_SIZE(address.as_ptr()) < 2
        {
            (text(py, address)?, None)
        } else {
            let item = |index| Object::borrowed(py, ffi::PyTuple_GET_ITEM(address.as_ptr(), index));
            let port = item(1);
            // Whatever else has an __index__ might answer otherwise when the system asks.
            if ffi::PyLong_Check(port.as_ptr()) == 0 {
                return Err(Raised::type_error(
                    py,
                    "the context's sandbox limits `network`, so a port is an int",
                ));
            }
            (text(py, &item(0))?, u16::try_from(port.as_int()?).ok())
        }
    };
    let host = host.unwrap_or_default();
    // An interface's name is no part of the address, and one address has many texts.
    let bare = host.split('%').next().unwrap_or_default();
    Ok(match bare.parse::<IpAddr>() {
        Ok(ip) => (ip.to_string(), port),
        Err(_) if host.is_empty() && port.is_some() => ("0.0.0.0".into(), port),
        Err(_) => (host, port),
    })
}

/// A str, or bytes; `None` for nothing.
fn text(py: Python<'_>, object: &Object<'_>) -> Result<Option<String>> {
    if let Some(text) = object.str_of()? {
        return Ok(Some(text));
    }
    // SAFETY: attached; a live object; the bytes live as long as it.
    unsafe {
        if object.as_ptr() == ffi::Py_None() {
            return Ok(None);
        }
        if ffi::PyBytes_Check(object.as_ptr()) == 0 {
            return Ok(Some(object.type_name()));
        }
        let data = ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>();
        let size = ffi::PyBytes_Size(object.as_ptr()).cast_unsigned();
        let _ = py;
        Ok(Some(
            String::from_utf8_lossy(std::slice::from_raw_parts(data, size)).into_owned(),
        ))
    }
}
