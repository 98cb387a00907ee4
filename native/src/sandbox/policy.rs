//! Policies: what the code of a context is allowed. Checked and put in order in Erlang (`py_sandbox`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What one context is allowed; never changes. Contexts with equal policies may follow one another in an interpreter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Policy {
    pub(crate) network: Network,
    pub(crate) read: Files,
    pub(crate) write: Files,
    pub(crate) subprocess: bool,
    pub(crate) ctypes: bool,
    /// Extension modules that are not the standard library's.
    pub(crate) native: bool,
    pub(crate) imports: Imports,
    pub(crate) threads: bool,
    pub(crate) environment: Environment,
    pub(crate) seccomp: Seccomp,
}

/// Where connections may go to, and sockets be bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Network {
    All,
    /// Hosts and ports; `None` is any.
    Only(Vec<(Option<String>, Option<u16>)>),
}

/// Which files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Files {
    All,
    /// Those in these folders, which are absolute.
    Under(Vec<PathBuf>),
}

/// Which modules, by their names or those of packages that they are in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Imports {
    All,
    Allow(Vec<String>),
    Deny(Vec<String>),
}

/// Which variables of the node's environment `os.environ` begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Environment {
    All,
    Only(Vec<OsString>),
}

/// Whether the kernel refuses system calls to the context's threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seccomp {
    Off,
    BestEffort,
    Required,
}

impl Policy {
    /// What holds where nothing is known of a thread: that of contexts without a policy of their own.
    pub(crate) const DEFAULT: Self = Self {
        network: Network::All,
        read: Files::All,
        write: Files::All,
        subprocess: false,
        ctypes: true,
        native: true,
        imports: Imports::All,
        threads: true,
        environment: Environment::All,
        seccomp: Seccomp::Off,
    };
}

impl Network {
    /// Whether a connection to the host, a name or the text of an address, and port is allowed. `None` for what is
    /// not known yet.
    pub(crate) fn allows(&self, host: Option<&str>, port: Option<u16>) -> bool {
        match self {
            Self::All => true,
            Self::Only(places) => places.iter().any(|(wanted_host, wanted_port)| {
                let host_fits = match (wanted_host, host) {
                    (None, _) | (Some(_), None) => true,
                    (Some(wanted), Some(host)) => wanted.eq_ignore_ascii_case(host),
                };
                let port_fits = match (wanted_port, port) {
                    (None, _) | (Some(_), None) => true,
                    (Some(wanted), Some(port)) => *wanted == port,
                };
                host_fits && port_fits
            }),
        }
    }
}

impl Files {
    /// Whether a file is allowed; the path is absolute and has no links in it.
    pub(crate) fn allows(&self, path: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Under(folders) => folders.iter().any(|folder| path.starts_with(folder)),
        }
    }
}

impl Imports {
    /// Whether the module with this full name is allowed.
    pub(crate) fn allows(&self, module: &str) -> bool {
        let is_in = |names: &[String]| {
            names.iter().any(|name| {
                module
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        match self {
            Self::All => true,
            // Importing a module imports the packages around it first.
            Self::Allow(names) => {
                is_in(names)
                    || names.iter().any(|name| {
                        name.strip_prefix(module)
                            .is_some_and(|rest| rest.starts_with('.'))
                    })
            }
            Self::Deny(names) => !is_in(names),
        }
    }
}
