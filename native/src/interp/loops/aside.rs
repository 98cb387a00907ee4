//! Code that is served on top of other code finds no running loop, no current task, and context variables of its own.

use crate::interp::owner::Owner;
use crate::interrupt::Interrupts;
use crate::py::{Kept, Object, Python, Raised, Result, ffi};
use std::sync::Arc;

/// asyncio's own functions, in C, once it is loaded. They exist in 3.12 to 3.15.
pub(crate) struct RunningLoop {
    get: Kept,
    set: Kept,
    task: Kept,
    swap_task: Kept,
}

impl RunningLoop {
    fn of_loaded(py: Python<'_>) -> Result<Option<Self>> {
        let name = Object::str(py, "_asyncio")?;
        // SAFETY: attached; a new reference, or null with or without an exception.
        let module = unsafe { Object::owned(py, ffi::PyImport_GetModule(name.as_ptr())) };
        let Some(module) = module else {
            // SAFETY: attached.
            unsafe { ffi::PyErr_Clear() };
            return Ok(None);
        };
        Ok(Some(Self {
            get: module.getattr_str("_get_running_loop")?.keep(),
            set: module.getattr_str("_set_running_loop")?.keep(),
            task: module.getattr_str("current_task")?.keep(),
            swap_task: module.getattr_str("_swap_current_task")?.keep(),
        }))
    }

    pub(in crate::interp) fn release(self, py: Python<'_>) {
        for function in [self.get, self.set, self.task, self.swap_task] {
            function.release(py);
        }
    }
}

/// Until it is dropped, code runs aside of what lies below it.
pub(in crate::interp) struct Aside<'py> {
    py: Python<'py>,
    /// Whose code is no step of a loop, and whether what lies below is in one.
    interrupts: Arc<Interrupts>,
    pumped: bool,
    /// The context that was entered.
    variables: Option<Object<'py>>,
    /// What was running, and the functions to put it back with.
    before: Option<Before<'py>>,
}

struct Before<'py> {
    event_loop: Object<'py>,
    task: Object<'py>,
    set: Object<'py>,
    swap_task: Object<'py>,
}

impl<'py> Aside<'py> {
    /// Never fails: code that could not be taken aside, for lack of memory, runs where it is.
    pub(in crate::interp) fn step(
        py: Python<'py>,
        owner: &mut Owner,
        interrupts: &Arc<Interrupts>,
    ) -> Self {
        let before = stopped(py, owner).unwrap_or_else(|raised| {
            raised.clear(py);
            None
        });
        let variables = entered(py).map_err(|raised| raised.clear(py)).ok();
        Self {
            py,
            interrupts: interrupts.clone(),
            pumped: interrupts.set_pumps(false),
            variables,
            before,
        }
    }
}

/// Takes the running loop and the current task away.
fn stopped<'py>(py: Python<'py>, owner: &mut Owner) -> Result<Option<Before<'py>>> {
    if owner.running_loop.is_none() {
        owner.running_loop = RunningLoop::of_loaded(py)?;
    }
    let Some(functions) = &owner.running_loop else {
        return Ok(None);
    };
    let event_loop = functions.get.get(py).call(&[])?;
    let none = Object::none(py);
    if event_loop.is_none() {
        return Ok(None);
    }
    let (set, swap_task) = (functions.set.get(py), functions.swap_task.get(py));
    // In this order: from 3.14 the task is that of the running loop.
    let mut task = functions.task.get(py).call(&[&event_loop])?;
    if !task.is_none() {
        // 3.12 does not take nothing for nothing.
        task = swap_task.call(&[&event_loop, &none])?;
    }
    set.call(&[&none])?;
    Ok(Some(Before {
        event_loop,
        task,
        set,
        swap_task,
    }))
}

fn entered(py: Python<'_>) -> Result<Object<'_>> {
    // SAFETY: attached; a new context, which is left when this is dropped.
    unsafe {
        let variables = Object::owned_or_raised(py, ffi::PyContext_New())?;
        if ffi::PyContext_Enter(variables.as_ptr()) != 0 {
            return Err(Raised::seen(py));
        }
        Ok(variables)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.interrupts.set_pumps(self.pumped);
        if let Some(variables) = self.variables.take() {
            // SAFETY: attached; it was entered on this thread, and whatever was entered after it was left.
            if unsafe { ffi::PyContext_Exit(variables.as_ptr()) } != 0 {
                Raised::seen(self.py).clear(self.py);
            }
        }
        if let Some(before) = self.before.take() {
            let none = Object::none(self.py);
            let restored = before.set.call(&[&before.event_loop]).and_then(|_| {
                if before.task.is_none() {
                    return Ok(none);
                }
                before.swap_task.call(&[&before.event_loop, &before.task])
            });
            if let Err(raised) = restored {
                raised.clear(self.py);
            }
        }
    }
}
