//! Native functions whose arguments are taken as they lie. rustler's attribute collects those of every call in a vector,
//! which costs more than the rest of the way in.

use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_make_atom, enif_raise_exception};
use rustler::{Env, Term};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Makes a function, which takes so many terms as an array, known to the emulator under a name.
macro_rules! plain_nif {
    ($name:literal, $arity:literal, $function:path) => {
        const _: () = {
            unsafe extern "C" fn called(
                env: *mut rustler::sys::ErlNifEnv,
                _arity: std::ffi::c_int,
                arguments: *const rustler::sys::ErlNifTerm,
            ) -> rustler::sys::ErlNifTerm {
                // SAFETY: the emulator calls it, with as many terms as the arity says.
                unsafe { crate::nif::plain::called::<$arity>(env, arguments, $function) }
            }
            rustler::codegen_runtime::inventory::submit!(rustler::Nif {
                name: concat!($name, "\0").as_ptr().cast(),
                arity: $arity,
                flags: 0,
                raw_func: called,
            });
        };
    };
}

/// # Safety
/// The emulator's environment, and so many terms of it.
pub(super) unsafe fn called<const ARITY: usize>(
    env: *mut ErlNifEnv,
    arguments: *const ErlNifTerm,
    function: for<'a> fn(Env<'a>, [Term<'a>; ARITY]) -> Term<'a>,
) -> ErlNifTerm {
    let lifetime = ();
    // SAFETY: the caller's promise; nothing that is made of them outlives the call.
    let (env, terms) = unsafe {
        let env = Env::new(&lifetime, env);
        let terms = std::array::from_fn(|place| Term::new(env, *arguments.add(place)));
        (env, terms)
    };
    // As rustler does: a panic is an exception of the caller's.
    match catch_unwind(AssertUnwindSafe(|| function(env, terms))) {
        Ok(result) => result.as_c_arg(),
        // SAFETY: the environment of the function that is being called.
        Err(_told) => unsafe {
            let reason = enif_make_atom(env.as_c_arg(), c"nif_panicked".as_ptr());
            enif_raise_exception(env.as_c_arg(), reason)
        },
    }
}
