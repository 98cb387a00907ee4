//! The fence around the BEAM's C API: what rustler lacks or does too slowly for the hot path.
//!
//! Terms are plain words here ([`Word`]). A word is used only with the environment that it lives in,
//! and not after that environment was cleared; immediates (atoms, small integers, local pids) live
//! everywhere. [`TermEnv`]'s methods rely on that.

mod atoms;
mod env;
mod hash;
mod pid;
mod select;
mod shared;
mod words;

pub(crate) use atoms::{
    Interned, atoms, atoms_created, bound_atoms, existing_atom, intern, named_atom,
};
pub(crate) use env::{CallerEnv, CallingNif, EnvPool, TermEnv};
pub(crate) use hash::{WordMap, place_of};
pub(crate) use pid::Pid;
pub(crate) use select::{Watched, open_kind as open_watched};
pub(crate) use shared::{Kind, Share, Shared};
pub(crate) use words::{ListCells, MapPairs, TermType, allow_large_maps, identical};

/// The environment of a NIF that is being called.
pub(crate) use rustler::Env;

/// An Erlang term as the C API passes it.
pub(crate) type Word = rustler::sys::ErlNifTerm;
