//! What the code of a context may do to the node and to the world around it.
//!
//! | module | role |
//! |---|---|
//! | [`policy`] | what one context is allowed |
//! | [`guard`] | a context's policy and what was refused under it, found by threads |
//! | [`refusal`] | everything that may be refused, and the words for it |
//! | [`hook`] | the audit hook: CPython's events |
//! | [`files`], [`imports`], [`network`] | what events about those mean to a policy |
//! | [`descriptors`] | whose descriptors are |
//! | [`replaced`] | functions without an event, and what stands in their place |
//! | [`methods`] | methods of types without an event |
//! | [`anew`], [`copies`] | what else would bring the originals back |
//! | [`guarded`] | the objects that stand there |
//! | [`scheduler`] | what waits, and is not for schedulers of Erlang |
//! | [`seccomp`] | what the kernel refuses, whatever code runs |

mod anew;
mod copies;
pub(crate) mod descriptors;
mod files;
mod guard;
mod guarded;
mod hook;
mod imports;
mod methods;
mod network;
mod policy;
mod refusal;
mod replaced;
mod scheduler;
pub(crate) mod seccomp;

pub(crate) use files::{remember_modules_of_main, trust_modules};
pub(crate) use guard::{Guard, GuardedInterpreter, Guarding, Listener, refused};
pub(crate) use hook::install;
pub(crate) use methods::restore as restore_methods;
pub(crate) use policy::{Environment, Files, Imports, Network, Policy, Seccomp};
pub(crate) use refusal::names as refusal_names;
pub(crate) use replaced::{replace_all, replace_for_schedulers, replace_imports};
pub(crate) use scheduler::{OnScheduler, is_on_scheduler, refuse_to_wait};
