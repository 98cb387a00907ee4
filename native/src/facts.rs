//! What is settled when the runtime starts for the first time, and never changes.

use py_core::spin::SpinBudget;
use std::sync::OnceLock;

/// The Python that this library was built for.
pub(crate) const BUILT_FOR: &str = env!("PY_NIF_PYTHON_VERSION");
/// Its installation.
pub(crate) const BUILT_HOME: &str = env!("PY_NIF_PYTHON_HOME");
/// Its program.
pub(crate) const BUILT_EXECUTABLE: &str = env!("PY_NIF_PYTHON_EXECUTABLE");
/// Whether it is a build without a GIL.
pub(crate) const FREE_THREADED: bool = cfg!(Py_GIL_DISABLED);

/// See the module.
pub(crate) struct Facts {
    /// The folder that holds the Python package `erlang`.
    pub(crate) package_path: String,
    /// CPython's version: minor and micro, the major being 3.
    pub(crate) version: (u32, u32),
    pub(crate) spin_budget: SpinBudget,
}

static FACTS: OnceLock<Facts> = OnceLock::new();

/// Settles them; the first call counts.
pub(crate) fn settle(facts: Facts) {
    FACTS.get_or_init(|| facts);
}

/// The facts. Only called where the runtime has been started.
pub(crate) fn facts() -> &'static Facts {
    FACTS.get_or_init(|| Facts {
        package_path: String::new(),
        version: (0, 0),
        spin_budget: SpinBudget::for_cores(1),
    })
}

impl Facts {
    /// Whether ending an interpreter is clean on this version. Before 3.14.1 it leaks, and crashes the
    /// process after some modules of the standard library were used.
    pub(crate) fn interpreters_end(&self) -> bool {
        self.version >= (14, 1)
    }
}
