//! What Python code prints and logs, on its way to Erlang.
//!
//! ```text
//!   print ──▶ [lines]: whole ones ──message──▶ the context's process ──▶ `py_output` ──▶ a group leader
//!                                                                             │
//!   the answer of a request that has printed waits here ◀── [`Output::accepted`] (NIF)
//! ```
//!
//! So much may be on the way, and code that prints more waits, but not for ever: what nobody takes is dropped, and counted.

mod functions;
pub(crate) mod levels;
mod lines;
mod speaker;

pub(super) use functions::METHODS;
pub(crate) use speaker::speaks_for;

use super::{Context, Request};
use crate::beam::{Env, Shared, TermEnv, Word, atoms};
use crate::interrupt;
use crate::py::{Python, Result};
use crate::sandbox::is_on_scheduler;
use lines::{Lines, Source};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// So many bytes may be on the way.
const WINDOW: usize = 256 << 10;

/// Where the output of a context goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To Erlang, whose `py_output` knows where from there.
    Erlang,
    /// To the descriptors 1 and 2 of the node's process.
    Process,
    Nowhere,
}

/// See the module.
pub(crate) struct Output {
    to: Destination,
    /// How long code waits for room.
    patience: Duration,
    /// Something waits here: a line for its end, or an answer for its output. Requests that print nothing ask for no more.
    active: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Lines,
    /// Bytes.
    on_the_way: usize,
    /// By request, for those that have something on the way.
    requests: HashMap<u64, Pending>,
    /// Nobody has made room for too long: nothing waits until somebody does.
    choked: bool,
    dropped: usize,
    sleepers: usize,
}

#[derive(Default)]
struct Pending {
    items: usize,
    answer: Option<Held>,
}

/// An answer that is complete but for its being sent.
struct Held {
    request: Shared<Request>,
    env: TermEnv,
    message: Word,
}

impl Held {
    /// `caller`: on a scheduler, the environment of the running function.
    fn release(mut self, caller: Option<Env>) {
        if self.request.state.finish() {
            self.request.send_from(caller, &mut self.env, self.message);
        }
    }
}

impl Output {
    pub(crate) fn new(to: Destination, patience: Duration) -> Self {
        Self {
            to,
            patience,
            active: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    fn settle(&self, state: &State) {
        let active = !state.lines.is_empty() || !state.requests.is_empty();
        self.active.store(active, Ordering::Relaxed);
    }

    fn has_room(&self) -> bool {
        self.state.lock().on_the_way < WINDOW
    }

    /// So many items of a request, and bytes, were accepted, or given up. `caller` is the calling NIF's.
    pub(crate) fn accepted(&self, caller: Env, request: u64, items: usize, bytes: usize) -> Woken {
        let mut state = self.state.lock();
        state.on_the_way = state.on_the_way.saturating_sub(bytes);
        let mut answer = None;
        if let Some(pending) = state.requests.get_mut(&request) {
            pending.items = pending.items.saturating_sub(items);
            if pending.items == 0 {
                answer = state
                    .requests
                    .remove(&request)
                    .and_then(|pending| pending.answer);
            }
        }
        self.settle(&state);
        let woken = Woken(state.sleepers > 0);
        drop(state);
        if let Some(held) = answer {
            held.release(Some(caller));
        }
        woken
    }

    /// Nobody knows any more what is on the way. `caller`: as for [`Held::release`].
    fn forget_all(&self, caller: Option<Env>) -> Woken {
        let mut state = self.state.lock();
        state.on_the_way = 0;
        let requests = std::mem::take(&mut state.requests);
        self.settle(&state);
        let woken = Woken(state.sleepers > 0);
        drop(state);
        for held in requests.into_values().filter_map(|pending| pending.answer) {
            held.release(caller);
        }
        woken
    }
}

/// Whether somebody waits for room, and is to be woken.
#[must_use]
pub(crate) struct Woken(bool);

impl Context {
    /// See [`Output::accepted`].
    pub(crate) fn output_accepted(&self, caller: Env, request: u64, items: usize, bytes: usize) {
        let woken = self.output.accepted(caller, request, items, bytes);
        self.wake_printers(woken);
    }

    /// What hands output on has ended, and what it had is lost.
    pub(crate) fn output_lost(&self, caller: Env) {
        let woken = self.output.forget_all(Some(caller));
        self.wake_printers(woken);
    }

    /// The context closes: no answer waits any longer. Not for schedulers.
    pub(super) fn release_answers(&self) {
        let woken = self.output.forget_all(None);
        self.wake_printers(woken);
    }

    fn wake_printers(&self, Woken(any): Woken) {
        if any {
            self.interrupts.look_again();
        }
    }

    /// Whether answers may have to wait for output.
    pub(super) fn may_hold_answers(&self) -> bool {
        self.output.active.load(Ordering::Relaxed)
    }

    /// The code of a request has ended, and its answer is complete: it waits here while output of it is on the way.
    /// `false`: it does not.
    pub(super) fn hold_answer(
        &self,
        request: &Shared<Request>,
        env: &mut TermEnv,
        message: Option<Word>,
    ) -> bool {
        if !self.output.active.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.output.state.lock();
        self.end_lines(&mut state, request);
        let (Some(message), None) = (message, self.closing()) else {
            return false;
        };
        let Some(pending) = state.requests.get_mut(&request.id) else {
            return false;
        };
        // First: whoever reads the answer may submit at once.
        request.code_ended();
        pending.answer = Some(Held {
            request: request.clone(),
            env: std::mem::replace(env, self.envs.take()),
            message,
        });
        true
    }

    /// The code of a request has ended, and an Erlang function goes on in its place.
    pub(super) fn flush_output(&self, request: &Shared<Request>) {
        if self.output.active.load(Ordering::Relaxed) {
            self.end_lines(&mut self.output.state.lock(), request);
        }
    }

    /// A scheduler leaves: the next one who comes with it goes on with no line of this one.
    pub(super) fn end_lines_of_visit(&self) {
        if !self.output.active.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.output.state.lock();
        let left = state.lines.take_of(0, speaker::calling_thread());
        self.output.settle(&state);
        drop(state);
        for (error, text) in left {
            if self.take_room(self.output.state.lock(), text.len()) {
                let printed = Printed {
                    request: None,
                    error,
                    text: &text,
                };
                self.begin(&mut self.output.state.lock(), &printed);
            }
        }
    }

    fn end_lines(&self, state: &mut State, request: &Shared<Request>) {
        for (error, text) in state.lines.take_of(request.id, 0) {
            self.begin(state, &Printed::of(request, error, &text));
        }
        self.output.settle(state);
    }

    /// The owner thread is done with the context: unfinished lines go on as they are.
    pub(super) fn finish_output(&self) {
        let mut state = self.output.state.lock();
        for (error, text) in state.lines.take_all() {
            let printed = Printed {
                request: None,
                error,
                text: &text,
            };
            self.begin(&mut state, &printed);
        }
        self.output.settle(&state);
        drop(state);
        self.release_answers();
    }

    /// Sends a piece of text; whoever calls has seen to the room for it.
    fn begin(&self, state: &mut State, printed: &Printed<'_>) {
        let known = atoms();
        let size = printed.text.len();
        self.on_its_way(state, printed.request, size);
        let (id, client) = named(printed.request);
        let stream = if printed.error {
            known.stderr
        } else {
            known.stdout
        };
        self.tell(|env| {
            let text = env.binary(String::from_utf8_lossy(printed.text).as_bytes());
            let (id, size) = (env.int(id), env.int(size.cast_signed() as i64));
            env.tuple(&[known.output, id, client, stream, text, size])
        });
    }

    fn on_its_way(&self, state: &mut State, request: Option<&Shared<Request>>, size: usize) {
        state.on_the_way += size;
        // Nobody waits for the answer of a cast.
        if let Some(request) = request.filter(|request| !request.kind.is_cast()) {
            state.requests.entry(request.id).or_default().items += 1;
            self.output.active.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until something of this size may be sent, and says whether it may; code that is interrupted meanwhile
    /// raises. On a scheduler nothing waits.
    fn wait_for_room(&self, py: Python<'_>, size: usize) -> Result<bool> {
        if is_on_scheduler() {
            return Ok(self.take_room(self.output.state.lock(), size));
        }
        let mut state = self.output.state.lock();
        if state.on_the_way >= WINDOW && !state.choked {
            state.sleepers += 1;
            drop(state);
            let deadline = Instant::now() + self.output.patience;
            let waited = interrupt::sleep_while(py, deadline, || !self.output.has_room());
            state = self.output.state.lock();
            state.sleepers -= 1;
            waited?;
        }
        state.choked = state.on_the_way >= WINDOW;
        Ok(self.take_room(state, size))
    }

    /// Whether something of this size may be sent now; what may not is counted.
    fn take_room(&self, mut state: MutexGuard<'_, State>, size: usize) -> bool {
        let room = state.on_the_way < WINDOW;
        if room {
            state.choked = false;
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                let known = atoms();
                self.tell(|env| {
                    env.tuple(&[known.output_dropped, env.int(dropped.cast_signed() as i64)])
                });
            }
        } else {
            state.dropped += size;
        }
        room
    }

    /// Sends a whole number of lines, or a long piece of one.
    fn print(self: &Arc<Self>, py: Python<'_>, printed: &Printed<'_>) -> Result<()> {
        for piece in lines::pieces(printed.text) {
            if self.wait_for_room(py, piece.len())? {
                let mut state = self.output.state.lock();
                let printed = Printed {
                    text: piece,
                    ..*printed
                };
                self.begin(&mut state, &printed);
            }
        }
        Ok(())
    }

    /// Sends a record of a log; `make` makes what it says.
    fn send_record(
        &self,
        request: Option<&Shared<Request>>,
        size: usize,
        record: impl FnOnce(&TermEnv) -> Word,
    ) {
        let (id, client) = named(request);
        let mut state = self.output.state.lock();
        self.on_its_way(&mut state, request, size);
        self.tell(|env| {
            let (id, size) = (env.int(id), env.int(size.cast_signed() as i64));
            let record = record(env);
            env.tuple(&[atoms().log, id, client, record, size])
        });
    }
}

/// A request's number, 0 for none, and the process that made it.
fn named(request: Option<&Shared<Request>>) -> (i64, Word) {
    request.map_or((0, atoms().none), |request| {
        (request.id.cast_signed(), request.client.pid.word())
    })
}

/// Text of a request, or of none.
#[derive(Clone, Copy)]
struct Printed<'a> {
    request: Option<&'a Shared<Request>>,
    error: bool,
    text: &'a [u8],
}

impl<'a> Printed<'a> {
    fn of(request: &'a Shared<Request>, error: bool, text: &'a [u8]) -> Self {
        Self {
            request: Some(request),
            error,
            text,
        }
    }
}
