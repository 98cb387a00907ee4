//! What the code of a context may do to the node and to the world around it.

mod policy;

pub(crate) use policy::{Environment, Files, Imports, Network, Policy, Seccomp};
