//! Both ends of a connection, in native code: the client costs little beside the servers that it asks, and the
//! server is what no other can be cheaper than.
//!
//! `bench_wire serve` says on which port, and serves until its input ends.
//!
//! `bench_wire client` answers each line of its input with one line:
//!
//! - `echo PORT CONNECTIONS SIZE MILLISECONDS PID...`: sends a message on every connection and reads all the echoes,
//!   again and again. The answer is the number of messages, the nanoseconds that passed, those of processor time that
//!   the processes used, and then the time of each of some round trips on one connection.
//! - `connect ...`, with the same words: has every connection made, used for one message and closed. The answer is of
//!   the same form, about connections.
//! - `cpu PID...`: the processor time that these processes have used.

mod client;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod server;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("client") => answer_lines(),
        Some("serve") => serve(),
        _ => Err(io::Error::other("usage: bench_wire serve | client")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_wire: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer_lines() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let words: Vec<u64> = rest
            .split_whitespace()
            .map(|word| word.parse().map_err(io::Error::other))
            .collect::<io::Result<_>>()?;
        let numbers = match (command, words.as_slice()) {
            ("cpu", pids) => vec![cpu_time(pids)?],
            ("echo", [port, connections, size, milliseconds, pids @ ..]) => client::Load {
                port: *port as u16,
                connections: *connections as usize,
                size: *size as usize,
                milliseconds: *milliseconds,
                pids,
            }
            .echo()?,
            ("connect", [port, connections, size, milliseconds, pids @ ..]) => client::Load {
                port: *port as u16,
                connections: *connections as usize,
                size: *size as usize,
                milliseconds: *milliseconds,
                pids,
            }
            .connect()?,
            _ => return Err(io::Error::other(format!("not understood: {line}"))),
        };
        let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
        println!("{}", text.join(" "));
        io::stdout().flush()?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn serve() -> io::Result<()> {
    server::serve()
}

#[cfg(target_os = "linux")]
fn cpu_time(pids: &[u64]) -> io::Result<u64> {
    pids.iter().map(|pid| clock::of_process(*pid)).sum()
}

#[cfg(not(target_os = "linux"))]
fn serve() -> io::Result<()> {
    Err(io::Error::other("the native floor needs Linux"))
}

#[cfg(not(target_os = "linux"))]
fn cpu_time(_pids: &[u64]) -> io::Result<u64> {
    Err(io::Error::other(
        "the processor time of other processes is known on Linux only",
    ))
}
