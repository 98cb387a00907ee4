//! What the code that runs on an owner thread finds when it calls Erlang: its context, and the owner's means.

use crate::interp::Context;
use crate::interp::owner::Owner;
use crate::interp::reactor::Reactor;
use crate::py::{Kept, Object, Python};
use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

/// See the module. There is one on the owner thread of a context, as long as it serves.
pub(crate) struct Stage {
    pub(crate) context: Arc<Context>,
    /// Null while the owner is at work itself, as during conversions.
    owner: Cell<*mut Owner>,
    /// The context has an event loop of its own.
    has_loop: Cell<bool>,
    /// How much of its turn the request says to have used, in percent.
    used: Cell<i64>,
    /// What serves connections here, and what makes their protocols.
    reactor: RefCell<Option<Rc<Reactor>>>,
    protocol_factory: RefCell<Option<Kept>>,
}

thread_local! {
    static HERE: RefCell<Option<Rc<Stage>>> = const { RefCell::new(None) };
}

impl Stage {
    /// The calling thread serves a context from now on.
    pub(crate) fn open(context: &Arc<Context>) -> Rc<Self> {
        let stage = Rc::new(Self {
            context: context.clone(),
            owner: Cell::new(std::ptr::null_mut()),
            has_loop: Cell::new(false),
            used: Cell::new(0),
            reactor: RefCell::default(),
            protocol_factory: RefCell::default(),
        });
        HERE.with(|here| *here.borrow_mut() = Some(stage.clone()));
        stage
    }

    /// It does so no longer.
    pub(crate) fn close() {
        HERE.with(|here| *here.borrow_mut() = None);
    }

    /// That of the calling thread; none on threads of Python's own.
    pub(crate) fn here() -> Option<Rc<Self>> {
        HERE.with(|here| here.borrow().clone())
    }

    /// Says whether the context has an event loop of its own, which is driven when nothing else runs.
    pub(crate) fn set_loop(&self, has_loop: bool) {
        self.has_loop.set(has_loop);
        self.context.interrupts.drive_tasks(has_loop);
    }

    pub(crate) fn has_loop(&self) -> bool {
        self.has_loop.get()
    }

    pub(crate) fn reactor(&self) -> Option<Rc<Reactor>> {
        self.reactor.borrow().clone()
    }

    /// Gives what was there before.
    pub(crate) fn set_reactor(&self, reactor: Option<Rc<Reactor>>) -> Option<Rc<Reactor>> {
        self.reactor.replace(reactor)
    }

    pub(crate) fn protocol_factory<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        let factory = self.protocol_factory.borrow();
        factory.as_ref().map(|factory| factory.get(py))
    }

    pub(crate) fn set_protocol_factory(&self, py: Python<'_>, factory: Option<Kept>) {
        let before = self.protocol_factory.replace(factory);
        if let Some(before) = before {
            before.release(py);
        }
    }

    /// A request has its turn now.
    pub(crate) fn begin_turn(&self) {
        self.used.set(0);
    }

    /// The request has used so much more of its turn; says whether that is over, and begins anew then.
    pub(super) fn consume(&self, percent: i64) -> bool {
        let used = self.used.get().saturating_add(percent);
        let over = used >= 100;
        self.used.set(if over { 0 } else { used });
        over
    }

    /// Lends the owner to the code that Python runs in `body`.
    pub(crate) fn lend<T>(&self, owner: &mut Owner, body: impl FnOnce() -> T) -> T {
        struct Lent<'s> {
            stage: &'s Stage,
            before: *mut Owner,
        }
        impl Drop for Lent<'_> {
            fn drop(&mut self) {
                self.stage.owner.set(self.before);
            }
        }
        let _lent = Lent {
            stage: self,
            before: self.owner.replace(owner),
        };
        body()
    }

    /// Takes what is lent, until the guard is dropped; `None` when it is in use.
    pub(crate) fn borrow(&self) -> Option<Borrowed<'_>> {
        let owner = self.owner.replace(std::ptr::null_mut());
        (!owner.is_null()).then_some(Borrowed { stage: self, owner })
    }
}

/// See [`Stage::borrow`].
pub(crate) struct Borrowed<'s> {
    stage: &'s Stage,
    owner: *mut Owner,
}

impl Deref for Borrowed<'_> {
    type Target = Owner;

    fn deref(&self) -> &Owner {
        // SAFETY: the pointer comes from the exclusive reference that `lend` got and that nobody uses before `lend`
        // returns; it is taken out of the cell, so that nobody else on this thread gets it either.
        unsafe { &*self.owner }
    }
}

impl DerefMut for Borrowed<'_> {
    fn deref_mut(&mut self) -> &mut Owner {
        // SAFETY: as above.
        unsafe { &mut *self.owner }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.stage.owner.set(self.owner);
    }
}
