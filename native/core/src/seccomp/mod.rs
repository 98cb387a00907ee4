//! A filter on the system calls of one thread and of the threads that it starts, which the kernel keeps up whatever
//! code they run. What it refuses fails with an error and ends nobody; threads that do not descend from one that has
//! [`confined`](confine_thread) itself are untouched.
//!
//! It lists what is refused, not what is allowed: an interpreter with all its libraries needs most of what there is.

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod calls;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod filter;
#[cfg(all(
    test,
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod tests;

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use filter::{confine_thread, is_confined};

/// Why a thread cannot be confined.
pub type Unavailable = String;

/// Confines the calling thread for the rest of its life.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub fn confine_thread() -> Result<(), Unavailable> {
    Err(format!(
        "seccomp is supported on Linux on x86_64 and aarch64, not on {} on {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    ))
}

/// Whether the calling thread has confined itself.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub fn is_confined() -> bool {
    false
}
