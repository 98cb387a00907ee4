//! The least that a call can do: copy, queue, wake, convert, call, convert back, send.
//!
//! A thread with an interpreter of its own calls `math.sqrt`, and nothing else. It knows no names, time limits,
//! errors, or ends: what a call of the library takes beyond this is what those cost.

use crossbeam_queue::SegQueue;
use pyo3_ffi as ffi;
use rustler::sys as nif;
use rustler::{Env, Term};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::Thread;

struct Request {
    env: *mut nif::ErlNifEnv,
    caller: nif::ErlNifPid,
    tag: nif::ErlNifTerm,
    arguments: nif::ErlNifTerm,
}

// SAFETY: an environment of no process may be used by any one thread at a time, and the queue hands it on.
unsafe impl Send for Request {}

/// A cleared environment.
struct Spare(*mut nif::ErlNifEnv);

// SAFETY: as above.
unsafe impl Send for Spare {}

#[derive(Default)]
struct Bare {
    queue: SegQueue<Request>,
    spares: SegQueue<Spare>,
    sleeps: AtomicBool,
    thread: OnceLock<Thread>,
}

static BARE: OnceLock<Bare> = OnceLock::new();

/// `bare_start() -> boolean()`: starts the thread, once.
#[rustler::nif(schedule = "DirtyIo")]
fn bare_start() -> bool {
    let bare = BARE.get_or_init(Bare::default);
    bare.thread.get().is_some() || start(bare)
}

fn start(bare: &'static Bare) -> bool {
    let (tell, hear) = std::sync::mpsc::channel();
    let started = std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(move || {
            // SAFETY: the application runs, so CPython is initialised; the thread never ends.
            let sqrt = unsafe { interpreter_with_sqrt() };
            let _heard = tell.send(sqrt.is_some());
            if let Some((sqrt, ok)) = sqrt {
                serve(bare, sqrt, ok);
            }
        });
    match started {
        Ok(handle) if hear.recv().unwrap_or(false) => {
            bare.thread.set(handle.thread().clone()).is_ok()
        }
        _ => false,
    }
}

/// A new interpreter, which the calling thread is attached to for good; its `math.sqrt`, and the atom `ok`.
///
/// # Safety
/// CPython is initialised, and the calling thread has nothing to do with it.
unsafe fn interpreter_with_sqrt() -> Option<(*mut ffi::PyObject, nif::ErlNifTerm)> {
    let config = ffi::PyInterpreterConfig {
        use_main_obmalloc: 0,
        allow_fork: 0,
        allow_exec: 0,
        allow_threads: 1,
        allow_daemon_threads: 0,
        check_multi_interp_extensions: 1,
        gil: ffi::PyInterpreterConfig_OWN_GIL,
    };
    let mut state = null_mut();
    // SAFETY: attached to the main interpreter, then to the new one. The environment is ours; atoms outlive it.
    unsafe {
        ffi::PyGILState_Ensure();
        let made = ffi::Py_NewInterpreterFromConfig(&mut state, &config);
        if ffi::PyStatus_Exception(made) != 0 {
            return None;
        }
        let math = ffi::PyImport_ImportModule(c"math".as_ptr());
        if math.is_null() {
            return None;
        }
        let sqrt = ffi::PyObject_GetAttrString(math, c"sqrt".as_ptr());
        let env = nif::enif_alloc_env();
        let ok = nif::enif_make_atom(env, c"ok".as_ptr());
        nif::enif_free_env(env);
        (!sqrt.is_null()).then_some((sqrt, ok))
    }
}

/// `bare_submit(Ref, [Integer]) -> ok`: answered by `{Ref, {ok, Float}}`.
#[rustler::nif]
fn bare_submit<'a>(env: Env<'a>, tag: Term<'a>, arguments: Term<'a>) -> rustler::Atom {
    if let Some(bare) = BARE.get() {
        bare.submit(env, tag.as_c_arg(), arguments.as_c_arg());
    }
    rustler::types::atom::ok()
}

impl Bare {
    #[inline(never)]
    fn submit(&self, env: Env<'_>, tag: nif::ErlNifTerm, arguments: nif::ErlNifTerm) {
        // SAFETY: the environment is nobody else's, and the terms are the caller's, which runs.
        let request = unsafe {
            let own = match self.spares.pop() {
                Some(Spare(env)) => env,
                None => nif::enif_alloc_env(),
            };
            Request {
                env: own,
                caller: *env.pid().as_c_arg(),
                tag: nif::enif_make_copy(own, tag),
                arguments: nif::enif_make_copy(own, arguments),
            }
        };
        self.queue.push(request);
        fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::Relaxed)
            && self.sleeps.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn next(&self) -> Request {
        loop {
            if let Some(request) = self.queue.pop() {
                return request;
            }
            self.sleeps.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.queue.is_empty() {
                while self.sleeps.load(Ordering::Acquire) {
                    std::thread::park();
                }
            }
            self.sleeps.store(false, Ordering::Relaxed);
        }
    }
}

fn serve(bare: &Bare, sqrt: *mut ffi::PyObject, ok: nif::ErlNifTerm) -> ! {
    // SAFETY: no precondition.
    let reply = unsafe { nif::enif_alloc_env() };
    loop {
        let request = bare.next();
        // SAFETY: the thread is attached for good, and both environments are its own.
        unsafe { answer(&request, sqrt, ok, reply) };
        // SAFETY: none of its terms is used again.
        unsafe { nif::enif_clear_env(request.env) };
        bare.spares.push(Spare(request.env));
    }
}

/// # Safety
/// Attached; the environment of the request and `reply` are the calling thread's.
#[inline(never)]
unsafe fn answer(
    request: &Request,
    sqrt: *mut ffi::PyObject,
    ok: nif::ErlNifTerm,
    reply: *mut nif::ErlNifEnv,
) {
    // SAFETY: the caller's promise; references that are made here are given up here.
    unsafe {
        let mut arguments = [null_mut(); 8];
        let mut count = 0;
        let mut rest = request.arguments;
        let (mut head, mut tail) = (nif::ErlNifTerm::default(), nif::ErlNifTerm::default());
        while count < arguments.len()
            && nif::enif_get_list_cell(request.env, rest, &mut head, &mut tail) != 0
        {
            let mut value = 0;
            nif::enif_get_int64(request.env, head, &mut value);
            arguments[count] = ffi::PyLong_FromLongLong(value);
            count += 1;
            rest = tail;
        }
        let root = ffi::PyObject_Vectorcall(sqrt, arguments.as_ptr(), count, null_mut());
        for &argument in &arguments[..count] {
            ffi::Py_DECREF(argument);
        }
        let value = nif::enif_make_double(reply, ffi::PyFloat_AS_DOUBLE(root));
        ffi::Py_DECREF(root);
        let result = nif::enif_make_tuple_from_array(reply, [ok, value].as_ptr(), 2);
        let tag = nif::enif_make_copy(reply, request.tag);
        let message = nif::enif_make_tuple_from_array(reply, [tag, result].as_ptr(), 2);
        nif::enif_send(null_mut(), &request.caller, reply, message);
        nif::enif_clear_env(reply);
    }
}
