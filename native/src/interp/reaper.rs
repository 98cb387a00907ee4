//! One thread that never runs Python and never waits for a GIL. It answers the queues of contexts that
//! closed, repeats interrupts until they have an effect, declares stuck what ignores them for too long, and
//! tells who waits for a permit.
//! With nothing to do it sleeps without a time limit.

use super::{Closing, Context, Envelope, Request, permit, warm, watch};
use crate::beam::atoms;
use crate::interrupt::Met;
use crate::memory::{self, Holder};
use parking_lot::{Condvar, Mutex};
use py_core::backoff::Backoff;
use py_core::mailbox::Take;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// An interrupt that waits for its effect.
struct Pending {
    context: Arc<Context>,
    request: u64,
    since: Instant,
    due: Instant,
    intervals: Backoff,
    /// Its code was left alone once, after it had taken the interrupt.
    spared: bool,
}

/// How long a queue waits for a replacement before it is answered: far longer than a start takes, but whoever
/// should have moved it may be gone.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// How long code of users that no request asked for may run before it is interrupted.
const UNASKED_FOR: Duration = Duration::from_secs(2);

/// Such code, and when to look whether it still runs.
struct Watched {
    context: Arc<Context>,
    number: u64,
    due: Instant,
}

#[derive(Default)]
struct Work {
    closed: Vec<Arc<Context>>,
    interrupts: Vec<Pending>,
    watched: Vec<Watched>,
    /// Contexts whose queues wait for a replacement, with the end of their patience.
    kept: Vec<(Instant, Arc<Context>)>,
    /// Processes that waited for permits have some, and were not told.
    permits_granted: bool,
    /// Interpreters that should wait for contexts are missing.
    spares_missing: bool,
    /// Interpreters whose code is to be told that it has too much memory.
    greedy: Vec<&'static Holder>,
    /// Contexts whose processes are to be told of interrupts.
    interrupted: Vec<Arc<Context>>,
}

impl Work {
    /// When there is something to do next.
    fn next_due(&self) -> Option<Instant> {
        let interrupts = self.interrupts.iter().map(|pending| pending.due);
        interrupts
            .chain(self.watched.iter().map(|watched| watched.due))
            .chain(self.kept.iter().map(|(due, _)| *due))
            .min()
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Reaper {
    work: Mutex<Work>,
    more: Condvar,
}

/// The reaper of this node.
pub(crate) fn reaper() -> &'static Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(Reaper::default)
}

/// Starts the reaper's thread; later calls do nothing.
pub(crate) fn start_reaper() -> std::io::Result<()> {
    static STARTED: OnceLock<()> = OnceLock::new();
    if STARTED.set(()).is_err() {
        return Ok(());
    }
    memory::tell_through(|holder| reaper().tell_of_memory(holder));
    std::thread::Builder::new()
        .name("py-reaper".into())
        .spawn(|| {
            loop {
                // The panic is told on standard error; whoever still waits must be served all the same.
                let _ended = std::panic::catch_unwind(|| reaper().run());
            }
        })?;
    Ok(())
}

impl Reaper {
    /// Takes over what is left of a context that has just closed.
    pub(crate) fn close(&self, context: &Arc<Context>) {
        self.work.lock().closed.push(context.clone());
        self.more.notify_one();
    }

    /// Interrupts `request` again at growing intervals, as long as it runs in `context`.
    pub(crate) fn repeat_interrupt(&self, context: &Arc<Context>, request: u64) {
        let since = Instant::now();
        let mut work = self.work.lock();
        let known = |pending: &Pending| {
            pending.request == request && pending.context.serial == context.serial
        };
        if work.interrupts.iter().any(known) {
            return;
        }
        context.watch.count_interrupt();
        if watch::tells_of_interrupts() {
            work.interrupted.push(context.clone());
        }
        let mut intervals = Backoff::default();
        let due = since + intervals.next().unwrap_or_default();
        work.interrupts.push(Pending {
            context: context.clone(),
            request,
            since,
            due,
            intervals,
            spared: false,
        });
        drop(work);
        self.more.notify_one();
    }

    /// Somebody who waited for a permit is to be told.
    pub(super) fn permits_granted(&self) {
        self.work.lock().permits_granted = true;
        self.more.notify_one();
    }

    /// Interpreters that should wait for contexts are missing. May be called on any thread.
    pub(super) fn fill_spares(&self) {
        self.work.lock().spares_missing = true;
        self.more.notify_one();
    }

    /// The interpreter has more memory than it may have. May be called wherever memory is asked for.
    fn tell_of_memory(&self, holder: &'static Holder) {
        self.work.lock().greedy.push(holder);
        self.more.notify_one();
    }

    /// Interrupts the code with this number when it takes too long.
    pub(crate) fn watch(&self, context: &Arc<Context>, number: u64) {
        self.work.lock().watched.push(Watched {
            context: context.clone(),
            number,
            due: Instant::now() + UNASKED_FOR,
        });
        self.more.notify_one();
    }

    /// Looks whether watched code still runs, and goes on with what runs in its place.
    fn look_at(&self, watched: Watched) {
        let Watched {
            context, number, ..
        } = watched;
        if context.interrupts.running() == number {
            context.interrupt(number);
        }
        if let Some(next) = context.next_unasked(number) {
            self.watch(&context, next);
        }
    }

    /// The context has ended: nothing of it needs to be interrupted any more.
    pub(crate) fn forget(&self, context: &Context) {
        let mut work = self.work.lock();
        work.interrupts
            .retain(|pending| pending.context.serial != context.serial);
        work.watched
            .retain(|watched| watched.context.serial != context.serial);
    }

    fn run(&self) {
        loop {
            let (closed, interrupts, watched) = self.wait();
            permit::tell_server();
            for context in closed {
                answer_what_is_left(&context);
                if let Some(Closing::Keep(_)) = context.closing() {
                    self.work
                        .lock()
                        .kept
                        .push((Instant::now() + KEPT_FOR, context));
                }
            }
            let again = interrupts
                .into_iter()
                .filter_map(pursue)
                .collect::<Vec<_>>();
            self.work.lock().interrupts.extend(again);
            for watched in watched {
                self.look_at(watched);
            }
        }
    }

    /// Sleeps until there is something to do, and takes it.
    fn wait(&self) -> (Vec<Arc<Context>>, Vec<Pending>, Vec<Watched>) {
        let mut work = self.work.lock();
        loop {
            let due = work.next_due();
            if !work.closed.is_empty()
                || work.permits_granted
                || work.spares_missing
                || !work.greedy.is_empty()
                || !work.interrupted.is_empty()
                || due.is_some_and(|due| due <= Instant::now())
            {
                break;
            }
            match due {
                Some(due) => drop(self.more.wait_until(&mut work, due)),
                None => self.more.wait(&mut work),
            }
        }
        let now = Instant::now();
        let given_up = work
            .kept
            .extract_if(.., |(due, _)| *due <= now)
            .collect::<Vec<_>>();
        let due = work
            .interrupts
            .extract_if(.., |pending| pending.due <= now)
            .collect();
        let watched = work
            .watched
            .extract_if(.., |watched| watched.due <= now)
            .collect();
        let closed = std::mem::take(&mut work.closed);
        work.permits_granted = false;
        let spares_missing = std::mem::take(&mut work.spares_missing);
        let greedy = std::mem::take(&mut work.greedy);
        let interrupted = std::mem::take(&mut work.interrupted);
        drop(work);
        for context in interrupted {
            let count = context.watch.take_untold();
            if count > 0 {
                context.tell(|env| env.tuple(&[atoms().interrupted, env.int(count.cast_signed())]));
            }
        }
        for holder in greedy {
            memory::post(holder);
        }
        if spares_missing {
            warm::fill();
        }
        for (_, context) in given_up {
            // No effect on those that were moved or answered meanwhile.
            context.close(Closing::Answer(atoms().stuck));
        }
        (closed, due, watched)
    }
}

/// Answers the queue and the running request of a closed context, unless they are to move.
fn answer_what_is_left(context: &Arc<Context>) {
    let reason = match context.closing() {
        Some(Closing::Answer(reason)) => {
            while let Take::Item(envelope) = context.mailbox.take() {
                if let Envelope::Request(request) = envelope {
                    Request::answer_unstarted(&request, reason);
                }
            }
            reason
        }
        Some(Closing::Keep(reason)) => reason,
        None => return,
    };
    context.abandon_running(reason);
    context.forget_clients();
    context.forget_if_over();
}

/// Interrupts once more; gives the entry back as long as it is needed.
fn pursue(mut pending: Pending) -> Option<Pending> {
    let now = Instant::now();
    if !pending.spared
        && let Some(grace) = pending.context.interrupts.grace(pending.request)
    {
        pending.spared = true;
        let longest = pending.since + pending.context.stuck_after / 2;
        let end = longest.min(now + grace);
        if end > now {
            pending.due = end;
            return Some(pending);
        }
    }
    match pending.context.interrupt_once(pending.request, true) {
        Met::Nothing => return None,
        // It cannot end before others have.
        Met::Later => pending.since = now,
        Met::Code => pending.context.interrupts.wake_blocked(),
    }
    if now.saturating_duration_since(pending.since) >= pending.context.stuck_after {
        pending.context.give_up();
    }
    pending.due = now + pending.intervals.next().unwrap_or_default();
    Some(pending)
}
