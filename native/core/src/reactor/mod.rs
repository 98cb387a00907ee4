//! What a reactor needs of the system: connections, and when they have been silent for too long.

mod connection;
mod expiry;
#[cfg(test)]
mod tests;

pub use connection::{Connection, Kind, Sender, end, listener, pair, taken};
pub use expiry::Expiry;
