//! Where the items of a stream go, and how many more are wanted.

use crate::beam::{Pid, TermEnv, Word, atoms};
use parking_lot::Mutex;

/// Whether the next item is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    NotYet,
    /// Nor will it be.
    NoMore,
}

/// See the module. Present in the requests that are streams.
#[derive(Default)]
pub(crate) struct Flow(Mutex<Gate>);

/// Sending and ending exclude each other, so that nothing comes after an end.
#[derive(Default)]
struct Gate {
    target: Option<Target>,
    /// `u64::MAX`: all there are.
    wanted: u64,
    /// Nothing goes on before more is wanted.
    parked: bool,
    over: bool,
}

/// Who gets `{py_stream, Tag, {data, Item}}`.
pub(super) struct Target {
    owner: Pid,
    tag: Word,
    /// Where the tag lies.
    _env: TermEnv,
}

impl Target {
    pub(super) fn new(owner: Pid, tag: Word) -> Self {
        let env = TermEnv::new();
        Self {
            owner,
            tag: env.copy(tag),
            _env: env,
        }
    }
}

impl Gate {
    fn next(&self) -> Wanted {
        match self {
            Self { over: true, .. } => Wanted::NoMore,
            Self { wanted: 0, .. } => Wanted::NotYet,
            _ => Wanted::Yes,
        }
    }

    fn more(&mut self, items: u64) {
        self.wanted = self.wanted.saturating_add(items);
    }
}

impl Flow {
    /// What comes goes there, and at first so much.
    pub(super) fn open(&self, target: Target, wanted: u64) {
        let mut gate = self.0.lock();
        gate.target = Some(target);
        gate.more(wanted);
    }

    /// So many more are wanted. `true`: somebody has to see that the stream goes on.
    pub(crate) fn want(&self, items: u64) -> bool {
        let mut gate = self.0.lock();
        gate.more(items);
        std::mem::take(&mut gate.parked)
    }

    /// Nothing is sent any more. Whoever says so ends the request as well, if it has not ended.
    pub(crate) fn end(&self) {
        self.0.lock().over = true;
    }

    /// It is woken to see that the request has ended. `true`: as above.
    pub(super) fn unpark(&self) -> bool {
        std::mem::take(&mut self.0.lock().parked)
    }

    /// Nobody goes on with it before it is woken; `false`: something is wanted, or the end has come.
    pub(super) fn park(&self) -> bool {
        let mut gate = self.0.lock();
        gate.parked = gate.next() == Wanted::NotYet;
        gate.parked
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.0.lock().next()
    }

    /// Sends an item that was made in the environment, which is empty afterwards.
    pub(super) fn send(&self, env: &mut TermEnv, item: Word) -> Wanted {
        let mut gate = self.0.lock();
        let Some(target) = gate.target.as_ref().filter(|_| !gate.over) else {
            env.clear();
            return Wanted::NoMore;
        };
        let data = env.tuple(&[atoms().data, item]);
        let message = env.tuple(&[atoms().py_stream, env.copy(target.tag), data]);
        if !env.try_send(&target.owner, message) {
            // The stream's process is being told of that, and ends it.
            gate.wanted = 0;
        } else if gate.wanted != u64::MAX {
            gate.wanted -= 1;
        }
        gate.next()
    }
}
