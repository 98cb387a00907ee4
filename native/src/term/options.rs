//! How a context converts values where people want different things; see `py_conversion` in Erlang.

/// The defaults are all `false`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Conversion {
    /// Every binary is bytes, not only those that are no UTF-8.
    pub(crate) bytes_only: bool,
    /// Atoms are `erlang.Atom`.
    pub(crate) keep_atoms: bool,
    /// Keys of maps are str where they can be, whatever is said above.
    pub(crate) text_keys: bool,
    /// Keys of dicts that are str are atoms that exist.
    pub(crate) atom_keys: bool,
    /// NumPy arrays are binaries with dtype and shape.
    pub(crate) binary_arrays: bool,
}
