//! What an operator may ask of a context at any time: numbers that are written where things happen and read without
//! waiting for anybody. What takes a clock to know is measured only while somebody listens.

use super::{Context, Kind, Request};
use crate::beam::Shared;
use crate::py::{TakenAttached, observe_attaching};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Somebody listens to samples: waits for GILs, and the turns of event loops, are measured.
static MEASURING: AtomicBool = AtomicBool::new(false);

/// Somebody listens to interrupts.
static TELLING: AtomicBool = AtomicBool::new(false);

/// Says whether to measure; gives what was so before.
pub(crate) fn measure(on: bool) -> bool {
    observe_attaching(on);
    MEASURING.swap(on, Ordering::Relaxed)
}

/// Says whether contexts tell of interrupts; gives what was so before.
pub(crate) fn tell_of_interrupts(on: bool) -> bool {
    TELLING.swap(on, Ordering::Relaxed)
}

pub(super) fn tells_of_interrupts() -> bool {
    TELLING.load(Ordering::Relaxed)
}

/// Milliseconds of a clock that is cheap to read, and some milliseconds behind.
pub(super) fn coarse_now() -> u64 {
    #[cfg(target_os = "linux")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    clock(CLOCK).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn clock(id: libc::clockid_t) -> Option<Duration> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to the place that it is given.
    if unsafe { libc::clock_gettime(id, &raw mut now) } != 0 {
        return None;
    }
    let seconds = u64::try_from(now.tv_sec).ok()?;
    Some(Duration::new(seconds, u32::try_from(now.tv_nsec).ok()?))
}

/// How often something took time, how much in all, and at most; in nanoseconds.
#[derive(Default)]
pub(crate) struct Spans {
    count: AtomicU64,
    total: AtomicU64,
    most: AtomicU64,
}

impl Spans {
    fn add(&self, count: u64, total: Duration, most: Duration) {
        self.count.fetch_add(count, Ordering::Relaxed);
        self.total.fetch_add(nanoseconds(total), Ordering::Relaxed);
        self.most.fetch_max(nanoseconds(most), Ordering::Relaxed);
    }

    /// What there was since this was called last.
    pub(crate) fn take(&self) -> (u64, u64, u64) {
        (
            self.count.swap(0, Ordering::Relaxed),
            self.total.swap(0, Ordering::Relaxed),
            self.most.swap(0, Ordering::Relaxed),
        )
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// See the module.
pub(crate) struct Watch {
    /// How often code was interrupted from outside.
    interrupted: AtomicU64,
    /// Those that the process of the context was not told of.
    untold: AtomicU64,
    /// Waiting for the GIL.
    pub(crate) gil: Spans,
    /// The event loop being busy: so long did what became ready have to wait.
    pub(crate) turns: Spans,
    /// The clock of the thread's processor time; -1 where there is none.
    cpu_clock: AtomicI64,
    /// What that said when the context began: the thread may have served others.
    cpu_before: AtomicU64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            interrupted: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            gil: Spans::default(),
            turns: Spans::default(),
            cpu_clock: AtomicI64::new(-1),
            cpu_before: AtomicU64::new(0),
        }
    }
}

impl Watch {
    /// The owner thread begins to serve.
    pub(super) fn begin(&self) {
        #[cfg(target_os = "linux")]
        {
            let mut id: libc::clockid_t = 0;
            // SAFETY: the calling thread is alive; writes to the place that it is given.
            if unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut id) } == 0 {
                let before = clock(id).map_or(0, nanoseconds);
                self.cpu_before.store(before, Ordering::Relaxed);
                self.cpu_clock.store(i64::from(id), Ordering::Relaxed);
            }
        }
    }

    /// It serves no more; another thread may get its number.
    pub(super) fn end(&self) {
        self.cpu_clock.store(-1, Ordering::Relaxed);
    }

    /// The processor time that the context has used, in nanoseconds; unknown before it begins and after it has ended.
    pub(crate) fn cpu_time(&self) -> Option<u64> {
        let id = libc::clockid_t::try_from(self.cpu_clock.load(Ordering::Relaxed)).ok()?;
        if id == -1 {
            return None;
        }
        let now = nanoseconds(clock(id)?);
        Some(now.saturating_sub(self.cpu_before.load(Ordering::Relaxed)))
    }

    pub(crate) fn interrupted(&self) -> u64 {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub(super) fn count_interrupt(&self) {
        self.interrupted.fetch_add(1, Ordering::Relaxed);
        self.untold.fetch_add(1, Ordering::Relaxed);
    }

    /// How many interrupts there were since this was called last.
    pub(super) fn take_untold(&self) -> u64 {
        self.untold.swap(0, Ordering::Relaxed)
    }

    /// The owner thread has the GIL, and looks how long that took.
    pub(super) fn note_attaching(&self) {
        if MEASURING.load(Ordering::Relaxed)
            && let Some(TakenAttached { count, total, most }) = TakenAttached::take()
        {
            self.gil.add(count, total, most);
        }
    }
}

thread_local! {
    /// Since when the event loop of the thread has been busy.
    static BUSY_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Watch {
    /// The event loop of the calling thread has come to where it waits, or is about to sleep.
    pub(super) fn turn_ends(&self) {
        if !MEASURING.load(Ordering::Relaxed) {
            return;
        }
        if let Some(since) = BUSY_SINCE.take() {
            let busy = since.elapsed();
            self.turns.add(1, busy, busy);
        }
    }

    /// It goes on.
    pub(super) fn turn_begins(&self) {
        if MEASURING.load(Ordering::Relaxed) {
            BUSY_SINCE.set(Some(Instant::now()));
        }
    }
}

/// What the owner thread is at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Starting,
    Nothing,
    Running,
    /// Code waits for an Erlang function, or in an event loop of its own.
    Waiting,
    Closing,
    Stuck,
}

/// A request that was started and has not ended.
pub(crate) struct Started {
    pub(crate) request: Shared<Request>,
    /// So many milliseconds ago.
    pub(crate) age: u64,
}

/// What can be told of a context.
pub(crate) struct Seen {
    pub(crate) doing: Doing,
    /// Outermost first.
    pub(crate) running: Vec<Started>,
    pub(crate) tasks: usize,
    /// Of the task that began first.
    pub(crate) oldest_task: Option<u64>,
    pub(crate) requests: u64,
}

impl Context {
    /// What it does now. Never waits for its thread.
    pub(crate) fn seen(&self) -> Seen {
        let now = coarse_now();
        let (running, tasks, waits) = self.glance();
        let age = |request: &Request| now.saturating_sub(request.started_at());
        let doing = if self.is_stuck() {
            Doing::Stuck
        } else if self.closing().is_some() {
            Doing::Closing
        } else if self.interpreter_id.load(Ordering::Relaxed) < 0 {
            Doing::Starting
        } else if self
            .inline
            .as_ref()
            .is_some_and(|inline| inline.is_visited())
        {
            Doing::Running
        } else if running.is_empty() {
            Doing::Nothing
        } else if waits {
            Doing::Waiting
        } else {
            Doing::Running
        };
        Seen {
            doing,
            oldest_task: tasks.iter().map(|task| age(task)).max(),
            tasks: tasks.len(),
            running: running
                .into_iter()
                .map(|request| Started {
                    age: age(&request),
                    request,
                })
                .collect(),
            requests: self.request_count(),
        }
    }
}

impl Kind {
    /// How people name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Call | Self::Forward => "call",
            Self::Spawn => "spawn",
            Self::Task | Self::TaskForward => "task",
            Self::Cast | Self::TaskCast => "cast",
        }
    }
}
