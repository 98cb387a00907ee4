//! Records which Python this library is built for, so that it finds libpython and the standard
//! library at run time without help from the environment.

use std::process::Command;

/// What the run time has to know about the Python of the build.
const FACTS: &str = "\
import sys, sysconfig
print('%d.%d' % sys.version_info[:2])
print(sys.base_prefix)
print(getattr(sys, '_base_executable', None) or sys.executable)
print(int(bool(sysconfig.get_config_var('Py_ENABLE_SHARED')) or bool(sysconfig.get_config_var('PYTHONFRAMEWORK'))))
";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PYO3_PYTHON");
    pyo3_build_config::use_pyo3_cfgs();
    pyo3_build_config::add_libpython_rpath_link_args();

    let python = std::env::var("PYO3_PYTHON")
        .ok()
        .or_else(|| pyo3_build_config::get().executable().map(str::to_owned))
        .unwrap_or_else(|| "python3".into());
    let output = match Command::new(&python).args(["-c", FACTS]).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => panic!(
            "{python} does not run: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("{python} cannot be started: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let facts: Vec<&str> = text.lines().collect();
    let [version, prefix, executable, shared] = facts[..] else {
        panic!("{python} gave no usable answer about itself: {text}");
    };
    let minor: u32 = version
        .strip_prefix("3.")
        .and_then(|m| m.parse().ok())
        .unwrap_or(0);
    assert!(
        minor >= 12,
        "{python} is Python {version}; this library needs Python 3.12 or newer"
    );
    assert!(
        shared == "1",
        "{python} has no shared libpython; use a Python that was built with --enable-shared"
    );
    println!("cargo:rustc-env=PY_NIF_PYTHON_VERSION={version}");
    println!("cargo:rustc-env=PY_NIF_PYTHON_HOME={prefix}");
    println!("cargo:rustc-env=PY_NIF_PYTHON_EXECUTABLE={executable}");
}
