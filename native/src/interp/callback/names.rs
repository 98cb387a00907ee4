//! The names under which Erlang functions are registered, for `erlang.<name>`. The functions are looked up in Erlang
//! when they are called.

use parking_lot::RwLock;
use std::collections::HashSet;
use std::sync::OnceLock;

fn names() -> &'static RwLock<HashSet<Box<str>>> {
    static NAMES: OnceLock<RwLock<HashSet<Box<str>>>> = OnceLock::new();
    NAMES.get_or_init(RwLock::default)
}

/// A name is registered from now on, or no longer.
pub(crate) fn set_known(name: &str, known: bool) {
    let mut names = names().write();
    if known {
        names.insert(name.into());
    } else {
        names.remove(name);
    }
}

pub(super) fn is_known(name: &str) -> bool {
    names().read().contains(name)
}
