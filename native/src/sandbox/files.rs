//! Which files code reads and writes.
//!
//! A policy names folders; what counts is where a path leads to when it is looked at: links and `..` are followed. The
//! system looks once more afterwards, so code that exchanges a link in that moment gets by.

use super::guard::{Guard, current};
use super::hook::Event;
use super::policy::{Files, Imports};
use super::refusal::Refusal;
use crate::py::{Object, Python, Raised, Result, ffi};
use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString};
#[cfg(not(target_os = "linux"))]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Stands for an argument that an event does not have.
pub(super) const NONE: usize = usize::MAX;

thread_local! {
    /// The folder of the `os.open` that is under way, whose event does not tell.
    static FOLDER: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Runs `body`, an `os.open` relative to a folder.
pub(super) fn relative_to<T>(folder: Option<i32>, body: impl FnOnce() -> T) -> T {
    let before = FOLDER.replace(folder);
    let result = body();
    FOLDER.set(before);
    result
}

/// `open`: path, mode, flags. The path of `open(3)` is a descriptor, which was allowed when it was made.
pub(super) fn opened(event: &Event<'_, '_>) -> Result<()> {
    let policy = &event.guard.policy;
    if policy.read == Files::All && policy.write == Files::All {
        return Ok(());
    }
    let Some(path) = event.argument(0) else {
        return Ok(());
    };
    if is_int(&path) {
        return Ok(());
    }
    let flags = event
        .argument(2)
        .map_or(Ok(0), |flags| flags.as_int())?
        .try_into()
        .unwrap_or(libc::O_RDWR);
    let mode = match event.argument(1) {
        Some(mode) => mode.str_of()?.unwrap_or_default(),
        None => String::new(),
    };
    let changes = flags & (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) != 0
        || mode.contains(['w', 'a', 'x', '+']);
    let reads = flags & libc::O_WRONLY == 0;
    let named = name(event.py, &path)?;
    let Some(found) = resolved(&named, FOLDER.get(), true) else {
        return Err(refuse(event, Refusal::Read, &named));
    };
    if changes && !policy.write.allows(&found) {
        return Err(refuse(event, Refusal::Write, &named));
    }
    if reads && !changes && !may_read(event.guard, &found) {
        return Err(refuse(event, Refusal::Read, &named));
    }
    if reads && changes && !may_read(event.guard, &found) && !policy.write.allows(&found) {
        return Err(refuse(event, Refusal::Read, &named));
    }
    Ok(())
}

/// Events with a path, or nothing for the working directory, or a descriptor of a folder.
pub(super) fn listed(event: &Event<'_, '_>) -> Result<()> {
    if event.guard.policy.read == Files::All {
        return Ok(());
    }
    let (named, found) = match event.argument(0) {
        Some(path) if is_int(&path) => (OsString::from("a descriptor"), folder_of(&path)?),
        // SAFETY: the address of an immortal object.
        Some(path) if path.as_ptr() != unsafe { ffi::Py_None() } => {
            let named = name(event.py, &path)?;
            let found = resolved(&named, None, true);
            (named, found)
        }
        _ => (OsString::from("."), resolved(OsStr::new("."), None, true)),
    };
    match found {
        Some(found) if may_read(event.guard, &found) => Ok(()),
        _ => Err(refuse(event, Refusal::List, &named)),
    }
}

/// Events that change what is at a path; `places` are the arguments with the paths, and with the folders that they
/// are relative to.
pub(super) fn changed(event: &Event<'_, '_>, places: &[(usize, usize)]) -> Result<()> {
    let policy = &event.guard.policy;
    if policy.write == Files::All {
        return Ok(());
    }
    for &(path, folder) in places {
        let Some(path) = event.argument(path) else {
            continue;
        };
        let folder = match event.argument(folder) {
            Some(folder) if is_int(&folder) => Some(folder.as_int()?).filter(|&fd| fd >= 0),
            _ => None,
        };
        let (named, found) = if is_int(&path) {
            (OsString::from("a descriptor"), folder_of(&path)?)
        } else {
            let named = name(event.py, &path)?;
            // Neither the place itself nor what a link there leads to may lie outside.
            let place = resolved(&named, folder.and_then(|fd| fd.try_into().ok()), false);
            (named, place)
        };
        match found {
            Some(found) if policy.write.allows(&found) && leads_inside(&policy.write, &found) => {}
            _ => return Err(refuse(event, Refusal::Change, &named)),
        }
    }
    Ok(())
}

/// `sqlite3.connect`: SQLite opens files itself, and whatever others it is told in SQL, from a database in memory, too.
pub(super) fn database_opened(event: &Event<'_, '_>) -> Result<()> {
    let policy = &event.guard.policy;
    if policy.read == Files::All && policy.write == Files::All {
        return Ok(());
    }
    Err(event.guard.refuse(event.py, Refusal::Database, ""))
}

/// Whether a path that functions without an event are to read may be read.
pub(super) fn may_be_read(py: Python<'_>, path: &Object<'_>) -> Result<()> {
    current(|guard| {
        if guard.policy.read == Files::All {
            return Ok(());
        }
        // SAFETY: attached; reads the type of a live object.
        let is_plain = unsafe {
            ffi::PyUnicode_Check(path.as_ptr()) != 0 || ffi::PyBytes_Check(path.as_ptr()) != 0
        };
        let named = if is_plain {
            name(py, path)?
        } else {
            OsString::new()
        };
        match resolved(&named, None, true) {
            Some(found) if may_read(guard, &found) => Ok(()),
            _ => Err(guard.refuse(py, Refusal::Read, &named.to_string_lossy())),
        }
    })
}

/// Whether a path that functions without an event are to make may be made.
pub(super) fn may_make(
    py: Python<'_>,
    guard: &Guard,
    path: &Object<'_>,
    folder: Option<i32>,
) -> Result<()> {
    if guard.policy.write == Files::All {
        return Ok(());
    }
    let named = name(py, path)?;
    match resolved(&named, folder, false) {
        Some(found) if guard.policy.write.allows(&found) => Ok(()),
        _ => Err(guard.refuse(py, Refusal::Change, &named.to_string_lossy())),
    }
}

/// The folders that modules of the main interpreter come from, as they were before any code of users.
static OF_MAIN: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Notes where modules of the main interpreter come from. Called once, when it is prepared: code of one context may
/// change its `sys.path` for all others.
pub(crate) fn remember_modules_of_main(py: Python<'_>) -> Result<()> {
    let _known = OF_MAIN.set(module_folders(py)?);
    Ok(())
}

/// The folders that modules come from, which may be read under every policy, and whose code is no user's: those on
/// `sys.path` before the context's own code.
pub(crate) fn trust_modules(py: Python<'_>, guard: &Guard) -> Result<()> {
    let limited = guard.policy.read != Files::All || guard.policy.imports != Imports::All;
    if !limited || guard.modules.get().is_some() {
        return Ok(());
    }
    let folders = match OF_MAIN.get() {
        Some(folders) if py.interpreter_id() == 0 => folders.clone(),
        _ => module_folders(py)?,
    };
    let _known = guard.modules.set(folders);
    Ok(())
}

/// The folders on `sys.path`, without links.
fn module_folders(py: Python<'_>) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    // SAFETY: attached; `sys.path` is borrowed, and a list unless someone has replaced it; its items are borrowed.
    unsafe {
        let path = ffi::PySys_GetObject(c"path".as_ptr());
        if !path.is_null() && ffi::PyList_Check(path) != 0 {
            for index in 0..ffi::PyList_GET_SIZE(path) {
                let entry = Object::borrowed(py, ffi::PyList_GET_ITEM(path, index));
                if let Some(entry) = entry.str_of()?
                    && Path::new(&entry).is_absolute()
                    && let Ok(found) = std::fs::canonicalize(&entry)
                {
                    folders.push(found);
                }
            }
        }
    }
    Ok(folders)
}

fn may_read(guard: &Guard, path: &Path) -> bool {
    guard.policy.read.allows(path) || guard.is_of_modules(path)
}

/// What is at an allowed place may be a link that leads elsewhere.
fn leads_inside(files: &Files, place: &Path) -> bool {
    match std::fs::canonicalize(place) {
        Ok(target) => files.allows(&target),
        // There is nothing, or a link to nothing: changing that changes the link.
        Err(_) => true,
    }
}

/// Where a path leads to; `None` for what cannot be told. With `follow` a link at its end is followed; a file that is
/// not there yet is told by its folder.
fn resolved(path: &OsStr, folder: Option<i32>, follow: bool) -> Option<PathBuf> {
    let path = match folder {
        Some(folder) if Path::new(path).is_relative() => descriptor(folder)?.join(path),
        _ => PathBuf::from(path),
    };
    if follow {
        match std::fs::canonicalize(&path) {
            Ok(found) => return Some(found),
            // A link to nothing would be followed by what makes the file.
            Err(_) if std::fs::symlink_metadata(&path).is_ok() => return None,
            Err(_) => {}
        }
    }
    let last = path.file_name()?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Some(std::fs::canonicalize(parent).ok()?.join(last))
}

/// The path of what a descriptor is of.
fn descriptor(number: i32) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    let found = std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    #[cfg(not(target_os = "linux"))]
    let found = {
        let mut buffer = vec![0_u8; libc::PATH_MAX as usize];
        // SAFETY: the buffer is as long as the system asks for; it writes a text with a zero at its end.
        let failed = unsafe { libc::fcntl(number, libc::F_GETPATH, buffer.as_mut_ptr()) } == -1;
        (!failed).then(|| {
            let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(0);
            PathBuf::from(OsStr::from_bytes(&buffer[..end]))
        })
    };
    // A socket has a name as well, but none that begins with a slash.
    found.filter(|path| path.is_absolute())
}

fn folder_of(number: &Object<'_>) -> Result<Option<PathBuf>> {
    Ok(i32::try_from(number.as_int()?).ok().and_then(descriptor))
}

fn is_int(object: &Object<'_>) -> bool {
    // SAFETY: attached; reads the type of a live object.
    unsafe { ffi::PyLong_Check(object.as_ptr()) != 0 }
}

/// The bytes of a path, as the system will get them. Objects that are asked for their path might answer otherwise when
/// the system asks.
fn name(py: Python<'_>, path: &Object<'_>) -> Result<OsString> {
    // SAFETY: attached; reads the type of a live object.
    let is_path = unsafe {
        ffi::PyUnicode_Check(path.as_ptr()) != 0 || ffi::PyBytes_Check(path.as_ptr()) != 0
    };
    if !is_path {
        return Err(Raised::type_error(
            py,
            &format!(
                "the context's sandbox limits files, so a path is a str or bytes, not {}: use os.fspath",
                path.type_name()
            ),
        ));
    }
    let mut bytes: *mut ffi::PyObject = std::ptr::null_mut();
    // SAFETY: attached; the converter gives a new bytes object, or sets an exception.
    unsafe {
        if ffi::PyUnicode_FSConverter(path.as_ptr(), (&raw mut bytes).cast()) == 0 {
            return Err(Raised::seen(py));
        }
        let bytes = Object::owned_or_raised(py, bytes)?;
        let start = ffi::PyBytes_AsString(bytes.as_ptr());
        let text = std::ffi::CStr::from_ptr(start);
        Ok(OsString::from_vec(CString::from(text).into_bytes()))
    }
}

fn refuse(event: &Event<'_, '_>, what: Refusal, path: &OsStr) -> Raised {
    event.guard.refuse(event.py, what, &path.to_string_lossy())
}
