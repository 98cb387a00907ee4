//! Connections that are all used at once, by one thread.

use crate::cpu_time;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// Round trips that are timed one by one.
const SINGLES: usize = 300;

/// A server that answers no more is an error, and no hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Load<'a> {
    pub port: u16,
    pub connections: usize,
    pub size: usize,
    pub milliseconds: u64,
    /// Whose processor time counts.
    pub pids: &'a [u64],
}

impl Load<'_> {
    /// Messages on connections that stay.
    pub fn echo(&self) -> io::Result<Vec<u64>> {
        let mut streams = self.open()?;
        let message = vec![b'x'; self.size];
        let mut buffer = vec![0; self.size];
        let mut figures = self.repeated(|| exchange(&mut streams, &message, &mut buffer))?;
        let one = &mut streams[..1];
        self.singles(&mut figures, || exchange(one, &message, &mut buffer))?;
        Ok(figures)
    }

    /// Connections for one message each.
    pub fn connect(&self) -> io::Result<Vec<u64>> {
        let message = vec![b'x'; self.size];
        let mut buffer = vec![0; self.size];
        let mut figures = self.repeated(|| {
            let mut streams = self.open()?;
            exchange(&mut streams, &message, &mut buffer)
        })?;
        let one = Load {
            connections: 1,
            ..*self
        };
        self.singles(&mut figures, || {
            exchange(&mut one.open()?, &message, &mut buffer)
        })?;
        Ok(figures)
    }

    fn open(&self) -> io::Result<Vec<TcpStream>> {
        (0..self.connections)
            .map(|_| {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(stream)
            })
            .collect()
    }

    /// A quarter of the time to warm up; the rest counts.
    fn repeated(&self, mut round: impl FnMut() -> io::Result<()>) -> io::Result<Vec<u64>> {
        let all = Duration::from_millis(self.milliseconds);
        repeat(all / 4, &mut round)?;
        let before = cpu_time(self.pids)?;
        let start = Instant::now();
        let rounds = repeat(all * 3 / 4, &mut round)?;
        let took = start.elapsed().as_nanos() as u64;
        let used = cpu_time(self.pids)? - before;
        Ok(vec![rounds * self.connections as u64, took, used])
    }

    fn singles(
        &self,
        figures: &mut Vec<u64>,
        mut round: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..SINGLES {
            let start = Instant::now();
            round()?;
            figures.push(start.elapsed().as_nanos() as u64);
        }
        Ok(())
    }
}

fn repeat(duration: Duration, round: &mut impl FnMut() -> io::Result<()>) -> io::Result<u64> {
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < duration {
        round()?;
        rounds += 1;
    }
    Ok(rounds)
}

fn exchange(streams: &mut [TcpStream], message: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    for stream in streams.iter_mut() {
        stream.write_all(message)?;
    }
    for stream in streams.iter_mut() {
        stream.read_exact(buffer)?;
    }
    Ok(())
}
