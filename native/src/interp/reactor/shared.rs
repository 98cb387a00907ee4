//! What every thread may know and say of the connections of a context.

use crate::beam::{Pid, TermEnv, Word};
use crate::interp::{Context, Envelope, reaper};
use crate::sandbox::descriptors;
use parking_lot::Mutex;
use py_core::reactor::{Connection, Sender, end};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// What a reactor is opened with.
pub(crate) struct Settings {
    pub(crate) max_connections: usize,
    /// How long a connection may be silent when its protocol waits for input.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long a peer may take nothing of what it is sent.
    pub(crate) write_timeout: Option<Duration>,
    /// With so much waiting to be written nothing is read, and the protocol is told; until only so much does.
    pub(crate) high_water: usize,
    pub(crate) low_water: usize,
}

/// Why a connection was not taken.
pub(crate) enum Refused {
    Overloaded { active: usize, most: usize },
    Draining,
    Closed,
    Failed(std::io::Error),
}

/// A connection on its way to its context. Dropped, it is closed, and its place is free.
pub(crate) struct Handoff {
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) info: Info,
    pub(super) peer: Option<Sender>,
}

/// What Erlang says about a connection.
pub(crate) struct Info {
    pub(super) env: TermEnv,
    pub(super) term: Word,
}

impl Info {
    pub(crate) fn new(term: Word) -> Self {
        let env = TermEnv::new();
        let term = env.copy(term);
        Self { env, term }
    }
}

/// Counts one connection for as long as it lives.
pub(super) struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
        if self.0.has_waiters.load(Ordering::SeqCst) {
            self.0.look_up();
        }
    }
}

/// Who is told, and what, when there is a place.
struct Waiter {
    pid: Pid,
    env: TermEnv,
    message: Word,
}

/// See the module.
pub(crate) struct Shared {
    pub(super) settings: Settings,
    context: Weak<Context>,
    active: AtomicUsize,
    total: AtomicU64,
    pub(super) requests: AtomicU64,
    draining: AtomicBool,
    waiters: Mutex<Vec<Waiter>>,
    has_waiters: AtomicBool,
    /// Connections whose protocols have something to write, as other threads say.
    signals: Mutex<Vec<RawFd>>,
    signalled: AtomicBool,
    /// When the thread began to call handlers, in nanoseconds after `begun`; 0: it calls none.
    busy_since: AtomicU64,
    begun: Instant,
}

/// Whose connection has a descriptor.
fn owners() -> &'static Mutex<HashMap<RawFd, Weak<Shared>>> {
    static OWNERS: OnceLock<Mutex<HashMap<RawFd, Weak<Shared>>>> = OnceLock::new();
    OWNERS.get_or_init(Mutex::default)
}

impl Shared {
    pub(crate) const UNBOUNDED: usize = usize::MAX;

    pub(crate) fn new(context: &Arc<Context>, settings: Settings) -> Self {
        Self {
            settings,
            context: Arc::downgrade(context),
            active: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            waiters: Mutex::default(),
            has_waiters: AtomicBool::new(false),
            signals: Mutex::default(),
            signalled: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }

    /// Takes a duplicate of a descriptor. May be called on any thread; never waits.
    pub(crate) fn hand_over(
        self: &Arc<Self>,
        descriptor: RawFd,
        info: Info,
    ) -> Result<(), Refused> {
        let (place, context) = self.place()?;
        let connection = Connection::duplicate(descriptor).map_err(Refused::Failed)?;
        self.push(&context, place, connection, info, None);
        Ok(())
    }

    /// Takes a connection from a listening socket. As that.
    pub(crate) fn accept(self: &Arc<Self>, listener: RawFd, info: Info) -> Result<(), Refused> {
        let (place, context) = self.place()?;
        let (connection, peer) = Connection::accept(listener).map_err(Refused::Failed)?;
        self.push(&context, place, connection, info, Some(peer));
        Ok(())
    }

    /// A place for one connection more, of a context that is there to serve it.
    fn place(self: &Arc<Self>) -> Result<(Place, Arc<Context>), Refused> {
        if self.is_draining() {
            return Err(Refused::Draining);
        }
        let context = self.context.upgrade();
        let open = context.filter(|context| !context.mailbox.is_closed());
        let context = open.ok_or(Refused::Closed)?;
        let most = self.settings.max_connections;
        // Never counted beyond the bound, not even for a moment.
        let one_more = |active: usize| (active < most).then_some(active + 1);
        self.active
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .map_err(|active| Refused::Overloaded { active, most })?;
        Ok((Place(self.clone()), context))
    }

    fn push(
        &self,
        context: &Arc<Context>,
        place: Place,
        connection: Connection,
        info: Info,
        peer: Option<Sender>,
    ) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let handoff = Handoff {
            connection,
            place,
            info,
            peer,
        };
        let envelope = Envelope::Connection(Box::new(handoff));
        if !context.mailbox.push(envelope) {
            // The context has had the connection, which ends with it; whoever emptied the mailbox may not have seen it.
            reaper().close(context);
        }
    }

    /// The process gets the message once there is a place; never, if there will be none.
    pub(crate) fn tell_when_free(&self, pid: Pid, message: Word) {
        let env = TermEnv::new();
        let message = env.copy(message);
        self.waiters.lock().push(Waiter { pid, env, message });
        self.has_waiters.store(true, Ordering::SeqCst);
        // It may have come in between.
        self.look_up();
    }

    /// For the owner thread: tells who waits for a place, if there is one.
    pub(crate) fn tell_waiters(&self) {
        if self.is_draining() {
            // There never will be one.
            self.has_waiters.store(false, Ordering::SeqCst);
            self.waiters.lock().clear();
        }
        let free = self.active() < self.most();
        if !free || !self.has_waiters.swap(false, Ordering::SeqCst) {
            return;
        }
        let waiters = std::mem::take(&mut *self.waiters.lock());
        for mut waiter in waiters {
            waiter.env.send(&waiter.pid, waiter.message);
        }
    }

    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn most(&self) -> usize {
        self.settings.max_connections
    }

    /// For how long the thread has called handlers, without looking at anything else.
    pub(crate) fn busy(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self
                .begun
                .elapsed()
                .saturating_sub(Duration::from_nanos(since)),
        }
    }

    /// The thread begins to call handlers, or has ended that.
    pub(super) fn set_busy(&self, since: Option<Instant>) {
        let nanos = since.map_or(0, |since| {
            let nanos = since.saturating_duration_since(self.begun).as_nanos();
            u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
        });
        self.busy_since.store(nanos, Ordering::Relaxed);
    }

    /// Takes no more connections from now on; those that wait for input are closed.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.look_up();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// For the owner thread: there is something for its next turn.
    pub(super) fn has_more(&self) {
        self.signalled.store(true, Ordering::SeqCst);
    }

    /// The owner thread looks at what is new here.
    fn look_up(&self) {
        self.has_more();
        if let Some(context) = self.context.upgrade() {
            context.nudge();
        }
    }

    /// From now on the connection with this descriptor is found from every thread.
    pub(super) fn announce(self: &Arc<Self>, connection: &Connection) {
        let mut owners = owners().lock();
        owners.insert(connection.as_raw_fd(), Arc::downgrade(self));
    }

    pub(super) fn forget(&self, descriptor: RawFd) {
        descriptors::forget(descriptor);
        owners().lock().remove(&descriptor);
    }

    /// The thread of the context does not come back: peers shall not wait for it. May be called on any thread.
    pub(crate) fn cut_off(self: &Arc<Self>) {
        let owners = owners().lock();
        let own = |shared: &Weak<Self>| std::ptr::eq(shared.as_ptr(), Arc::as_ptr(self));
        for (&descriptor, _) in owners.iter().filter(|(_, shared)| own(shared)) {
            // Open as long as it is in the list.
            end(descriptor);
        }
    }

    /// The protocol of a connection has something to write. For threads other than its own; `false`: there is none.
    pub(super) fn signal(descriptor: RawFd) -> bool {
        let owner = owners().lock().get(&descriptor).and_then(Weak::upgrade);
        let Some(shared) = owner else {
            return false;
        };
        shared.signals.lock().push(descriptor);
        shared.look_up();
        true
    }

    pub(super) fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }

    pub(super) fn take_signals(&self) -> Vec<RawFd> {
        if !self.signalled.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        std::mem::take(&mut self.signals.lock())
    }
}
