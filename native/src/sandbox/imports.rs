//! Which modules code loads.

use super::guard::{Guard, current};
use super::guarded::{Call, Kept};
use super::hook::Event;
use super::policy::{Files, Imports};
use super::refusal::Refusal;
use super::replaced::{exact_int, item};
use crate::py::{Object, Python, Raised, Result, ffi};
use std::ffi::CStr;
use std::path::Path;
use std::sync::OnceLock;

/// Modules that make interpreters beside the contexts.
const INTERPRETERS: &[&str] = &[
    "_interpreters",
    "_interpchannels",
    "_interpqueues",
    "_xxsubinterpreters",
    "_xxinterpchannels",
];

/// Modules for CPython's own tests: most of them can crash it.
const INTERNALS: &[&str] = &[
    "_testcapi",
    "_testinternalcapi",
    "_testlimitedcapi",
    "_testmultiphase",
    "_testsinglephase",
    "_testexternalinspection",
    "_remote_debugging",
    "_xxtestfuzz",
];

/// Modules that read or write files natively, without an event.
const FILE_MODULES: &[&str] = &["_dbm", "_gdbm", "_posixshmem", "spwd", "readline"];

/// `import`: name, and the file of an extension module.
pub(super) fn imported(event: &Event<'_, '_>) -> Result<()> {
    let Some(name) = event.argument(0) else {
        return Ok(());
    };
    let Some(name) = name.str_of()? else {
        return Ok(());
    };
    let (py, guard) = (event.py, event.guard);
    may_be_loaded(py, guard, &name)?;
    if !guard.policy.native
        && let Some(file) = event.argument(1)
        && let Some(file) = file.str_of()?
        && !is_of_the_standard_library(&file)
    {
        return Err(guard.refuse(py, Refusal::NativeModule, &name));
    }
    if guard.policy.imports != Imports::All && asked_by_user(py, guard)? {
        allowed(py, guard, &name)?;
    }
    Ok(())
}

/// Whether a module in C may be loaded, by its name. One that the interpreter has loaded before is made again without an
/// event.
pub(super) fn may_be_loaded(py: Python<'_>, guard: &Guard, name: &str) -> Result<()> {
    let policy = &guard.policy;
    // It is found by the last part of its name, whatever stands before it.
    let last = name.rsplit('.').next().unwrap_or_default();
    if INTERPRETERS.contains(&last) {
        return Err(guard.refuse(py, Refusal::Interpreters, ""));
    }
    if INTERNALS.contains(&last) {
        return Err(guard.refuse(py, Refusal::Internals, name));
    }
    if last == "_ctypes" && !policy.ctypes {
        return Err(guard.refuse(py, Refusal::CtypesModule, ""));
    }
    if FILE_MODULES.contains(&last) && (policy.read != Files::All || policy.write != Files::All) {
        return Err(guard.refuse(py, Refusal::FileModule, name));
    }
    Ok(())
}

/// For `builtins.__import__`, which finds modules that are loaded already without an event. Native code asks in the
/// same way, for modules that are nobody else's concern.
fn asked_for(py: Python<'_>, name: &str) -> Result<()> {
    current(|guard| {
        if !name.starts_with('_')
            && guard.policy.imports != Imports::All
            && asked_by_user(py, guard)?
        {
            allowed(py, guard, name)?;
        }
        Ok(())
    })
}

fn allowed(py: Python<'_>, guard: &Guard, name: &str) -> Result<()> {
    if guard.policy.imports.allows(name) {
        Ok(())
    } else {
        Err(guard.refuse(py, Refusal::Imports, name))
    }
}

/// Whether code that is no library's asks: what allowed modules import themselves is theirs.
fn asked_by_user(py: Python<'_>, guard: &Guard) -> Result<bool> {
    // SAFETY: attached; the frames are live objects, each a new reference but the first.
    unsafe {
        let mut frame = Object::owned(py, ffi::PyEval_GetFrame().cast()).inspect(|frame| {
            ffi::Py_INCREF(frame.as_ptr());
        });
        // Erlang asks, or native code on its own behalf.
        while let Some(current) = frame {
            let code = Object::owned(py, ffi::PyFrame_GetCode(current.as_ptr().cast()).cast());
            let file = match code {
                Some(code) => code
                    .getattr_str("co_filename")?
                    .str_of()?
                    .unwrap_or_default(),
                None => String::new(),
            };
            // The import system's own code, and what stands in front of it.
            if !file.starts_with("<frozen importlib") && !file.ends_with("/importlib/__init__.py") {
                return Ok(!is_of_a_library(guard, &file));
            }
            frame = Object::owned(py, ffi::PyFrame_GetBack(current.as_ptr().cast()).cast());
        }
    }
    Ok(true)
}

/// Whether code comes from a file of an installation. Code that was compiled from a text under the name of such a file
/// passes for it.
fn is_of_a_library(guard: &Guard, file: &str) -> bool {
    let inside = |path: &Path| {
        standard_library().is_some_and(|folder| path.starts_with(folder))
            || guard.is_of_modules(path)
    };
    let path = Path::new(file);
    if file.starts_with("<frozen ") {
        // Modules of the standard library that are part of the interpreter.
        return true;
    }
    // The folders are known without links, the file as it was found.
    path.is_absolute()
        && (inside(path) || std::fs::canonicalize(path).is_ok_and(|path| inside(&path)))
}

fn is_of_the_standard_library(file: &str) -> bool {
    let path = Path::new(file);
    let inside = |path: &Path| {
        standard_library().is_some_and(|folder| {
            path.starts_with(folder) && !path.starts_with(folder.join("site-packages"))
        })
    };
    inside(path) && std::fs::canonicalize(path).is_ok_and(|path| inside(&path))
}

/// The folder of the standard library, without links.
fn standard_library() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            // SAFETY: attached, as all checks are; `sys._stdlib_dir` is borrowed, a str or None.
            let folder = unsafe {
                let object = ffi::PySys_GetObject(c"_stdlib_dir".as_ptr());
                if object.is_null() || ffi::PyUnicode_Check(object) == 0 {
                    return None;
                }
                let text = ffi::PyUnicode_AsUTF8AndSize(object, std::ptr::null_mut());
                if text.is_null() {
                    ffi::PyErr_Clear();
                    return None;
                }
                CStr::from_ptr(text).to_string_lossy().into_owned()
            };
            std::fs::canonicalize(folder).ok()
        })
        .as_deref()
}

/// `__import__(name, globals, locals, fromlist, level)`: what a relative name is relative to, the namespace says.
pub(super) fn import(call: &Call<'_, '_>) -> Result<Kept> {
    let mut packages = Vec::new();
    let level = exact_int(call, 4, "level")?.unwrap_or(0);
    if level > 0
        && let Some(globals) = call.argument(1, "globals")
    {
        // SAFETY: attached; reads the type of a live object.
        if unsafe { ffi::PyDict_Check(globals.as_ptr()) } == 0 {
            return Err(Raised::type_error(call.py, "globals must be a dict"));
        }
        // Which of them counts, versions see differently.
        if let Some(package) = item(&globals, "__package__")? {
            packages.extend(package.str_of()?);
        }
        if let Some(spec) = item(&globals, "__spec__")?
            && let Some(parent) = spec.getattr_optional(&Object::str(call.py, "parent")?)?
        {
            packages.extend(parent.str_of()?);
        }
        if let Some(name) = item(&globals, "__name__")?
            && let Some(name) = name.str_of()?
        {
            packages.extend(name.rsplit_once('.').map(|(parent, _)| parent.to_owned()));
        }
    }
    imported_by(call, level, &packages)
}

/// `_gcd_import(name, package=None, level=0)`.
pub(super) fn import_module(call: &Call<'_, '_>) -> Result<Kept> {
    let level = exact_int(call, 2, "level")?.unwrap_or(0);
    let package = match call.argument(1, "package") {
        Some(package) => package.str_of()?,
        None => None,
    };
    imported_by(call, level, package.as_slice())
}

fn imported_by(call: &Call<'_, '_>, level: i64, packages: &[String]) -> Result<Kept> {
    if let Some(name) = call.argument(0, "name")
        && let Some(name) = name.str_of()?
    {
        if level == 0 && !name.is_empty() {
            asked_for(call.py, &name)?;
        }
        for package in packages.iter().filter(|_| level > 0) {
            let mut parts: Vec<&str> = package.split('.').collect();
            let above = usize::try_from(level - 1).unwrap_or(usize::MAX);
            parts.truncate(parts.len().saturating_sub(above));
            parts.extend((!name.is_empty()).then_some(name.as_str()));
            asked_for(call.py, &parts.join("."))?;
        }
    }
    Ok(call.proceed()?.into_ptr())
}
