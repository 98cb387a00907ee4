//! What the dynamic linker has to know.

use std::ffi::{CStr, c_void};

/// Makes libpython's symbols visible to extension modules, which are not linked with it: the BEAM loads a
/// NIF, and whatever it needs, with local symbols.
pub(super) fn publish_libpython() -> Result<(), String> {
    let path = file_of(pyo3_ffi::Py_GetVersion as *const c_void)
        .ok_or("the file of libpython cannot be found")?;
    reopen(path, libc::RTLD_NOW | libc::RTLD_GLOBAL | libc::RTLD_NOLOAD)
        .or_else(|_| reopen(path, libc::RTLD_NOW | libc::RTLD_GLOBAL))
}

/// Keeps this library loaded for ever: threads, hooks and pending calls point into it, and what Erlang has references
/// to outlives the Erlang module.
pub(crate) fn pin_this_library() -> Result<(), String> {
    let path = file_of(pin_this_library as *const c_void)
        .ok_or("the file of this library cannot be found")?;
    reopen(
        path,
        libc::RTLD_NOW | libc::RTLD_NODELETE | libc::RTLD_NOLOAD,
    )
}

/// The file that an address was loaded from.
fn file_of(address: *const c_void) -> Option<&'static CStr> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: fills the struct or returns 0; the name belongs to the linker, which keeps it as long as the
    // library, and both libraries stay.
    unsafe {
        if libc::dladdr(address, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = info.assume_init().dli_fname;
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }
}

fn reopen(path: &CStr, flags: i32) -> Result<(), String> {
    // SAFETY: a path that ends with a zero. The handle is kept for ever, on purpose.
    let handle = unsafe { libc::dlopen(path.as_ptr(), flags) };
    if handle.is_null() {
        return Err(format!(
            "{} cannot be opened with the needed flags",
            path.to_string_lossy()
        ));
    }
    Ok(())
}
