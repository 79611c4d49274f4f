//! What callers and the log's thread share: the queue in, the durable position, the bell and the poison out.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::bell::Bell;
use crate::error::LogError;

/// How much room the disk has left for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The next segment is prepared, or nothing says that it cannot be.
    Ample,
    /// The next segment could not be prepared. What is left of this one is the reserve: take no new work.
    Low,
    /// The reserve is used up: what was queued waits, `append` answers `NoSpace`. Goes on by itself.
    Out,
}

/// One call of `append`.
pub(crate) struct Pending {
    pub(crate) batch: Vec<u8>,
    pub(crate) count: u32,
}

/// What the thread gets when it asks for work.
pub(crate) enum Taken {
    Batches,
    Tick,
    Closing,
}

struct State {
    batches: VecDeque<Pending>,
    bytes: u64,
    next: u64,
    space: Space,
    is_closing: bool,
    is_idle: bool,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    durable: AtomicU64,
    failure: OnceLock<LogError>,
    /// True when the thread has ended.
    ended: Mutex<bool>,
    news: Condvar,
    pub(crate) bell: Bell,
}

impl Queue {
    pub(crate) fn new(position: u64) -> io::Result<Self> {
        Ok(Queue {
            state: Mutex::new(State {
                batches: VecDeque::new(),
                bytes: 0,
                next: position,
                space: Space::Ample,
                is_closing: false,
                is_idle: false,
            }),
            filled: Condvar::new(),
            durable: AtomicU64::new(position),
            failure: OnceLock::new(),
            ended: Mutex::new(false),
            news: Condvar::new(),
            bell: Bell::new()?,
        })
    }

    pub(crate) fn push(&self, pending: Pending, expected: u64, bytes_max: u64) -> Result<u64, LogError> {
        let mut state = unpoisoned(self.state.lock());
        if let Some(cause) = self.failure.get() {
            return Err(LogError::Poisoned(Box::new(cause.clone())));
        }
        if state.is_closing {
            return Err(LogError::Closed);
        }
        if state.space == Space::Out {
            return Err(LogError::NoSpace);
        }
        if expected != state.next {
            return Err(LogError::Conflict { expected, next: state.next });
        }
        let bytes = state.bytes + pending.batch.len() as u64;
        if bytes > bytes_max {
            return Err(LogError::QueueFull { bytes: state.bytes, bytes_max });
        }
        state.bytes = bytes;
        state.next += u64::from(pending.count);
        state.batches.push_back(pending);
        let end = state.next;
        // The thread looks for itself after each group; only one that sleeps costs a system call.
        let wakes = std::mem::take(&mut state.is_idle);
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        Ok(end)
    }

    /// Moves what waits, up to `bytes_max` and at least one batch, into `out`. Sleeps while there is nothing, at most
    /// for `tick` if one is given.
    pub(crate) fn take(&self, out: &mut Vec<Pending>, bytes_max: u64, tick: Option<Duration>) -> Taken {
        let mut state = unpoisoned(self.state.lock());
        while state.batches.is_empty() {
            if state.is_closing {
                return Taken::Closing;
            }
            state.is_idle = true;
            match tick {
                None => state = unpoisoned(self.filled.wait(state)),
                Some(tick) => {
                    let (back, timeout) = unpoisoned(self.filled.wait_timeout(state, tick));
                    state = back;
                    if timeout.timed_out() && state.batches.is_empty() {
                        state.is_idle = false;
                        return Taken::Tick;
                    }
                }
            }
        }
        state.is_idle = false;
        let mut bytes = 0;
        while let Some(pending) = state.batches.front() {
            bytes += pending.batch.len() as u64;
            if bytes > bytes_max && !out.is_empty() {
                break;
            }
            state.bytes -= pending.batch.len() as u64;
            out.extend(state.batches.pop_front());
        }
        Taken::Batches
    }

    /// Waits until the log is being closed, at most for `timeout`; true if it is.
    pub(crate) fn is_closing_within(&self, timeout: Duration) -> bool {
        let state = unpoisoned(self.state.lock());
        unpoisoned(self.filled.wait_timeout_while(state, timeout, |state| !state.is_closing)).0.is_closing
    }

    pub(crate) fn set_space(&self, space: Space) {
        unpoisoned(self.state.lock()).space = space;
    }

    pub(crate) fn space(&self) -> Space {
        unpoisoned(self.state.lock()).space
    }

    pub(crate) fn waiting_bytes(&self) -> u64 {
        unpoisoned(self.state.lock()).bytes
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// Called by the thread after `fdatasync` returned, and by nothing else.
    pub(crate) fn acknowledge(&self, position: u64) {
        self.durable.store(position, Ordering::SeqCst);
        self.tell();
        self.bell.ring();
    }

    pub(crate) fn poison(&self, cause: LogError) {
        // The first cause is the one to know.
        let _ = self.failure.set(cause);
        let mut state = unpoisoned(self.state.lock());
        state.batches.clear();
        state.bytes = 0;
        drop(state);
        self.tell();
        self.bell.ring_always();
    }

    pub(crate) fn failure(&self) -> Option<&LogError> {
        self.failure.get()
    }

    pub(crate) fn close(&self) {
        unpoisoned(self.state.lock()).is_closing = true;
        self.filled.notify_all();
    }

    pub(crate) fn end(&self) {
        *unpoisoned(self.ended.lock()) = true;
        self.news.notify_all();
    }

    pub(crate) fn wait_durable(&self, position: u64, timeout: Duration) -> Result<u64, LogError> {
        let begun = Instant::now();
        let mut ended = unpoisoned(self.ended.lock());
        loop {
            let durable = self.durable();
            if durable >= position {
                return Ok(durable);
            }
            if let Some(cause) = self.failure.get() {
                return Err(LogError::Poisoned(Box::new(cause.clone())));
            }
            if *ended {
                return Err(LogError::Closed);
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(durable);
            }
            ended = unpoisoned(self.news.wait_timeout(ended, left)).0;
        }
    }

    /// Wakes those who wait. The lock is taken so that nobody is between looking and sleeping.
    fn tell(&self) {
        drop(unpoisoned(self.ended.lock()));
        self.news.notify_all();
    }
}

/// The guard, also after a panic of another holder: every value behind our locks is whole between two statements.
pub(crate) fn unpoisoned<T>(outcome: Result<T, PoisonError<T>>) -> T {
    outcome.unwrap_or_else(PoisonError::into_inner)
}
