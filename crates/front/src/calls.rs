//! Calls that are open: from a token to whoever waits for its answer.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{Notify, oneshot};

use crate::details::GrpcStatus;
use crate::lock;
use crate::outgoing::Outgoing;

/// What a waiting call is given.
pub(crate) enum Answer {
    Message(Bytes),
    Status(GrpcStatus),
    Http { status: u16, headers: Vec<(String, String)>, body: Bytes },
    Stream { headers: Vec<(String, String)>, outgoing: Arc<Outgoing> },
}

/// What kind of answer fits a call.
#[derive(Clone)]
pub(crate) enum Expects {
    Message,
    GrpcStream,
    /// With the switch of its connection, if the connection carries one call at a time.
    Http(Option<Arc<Notify>>),
}

pub(crate) enum Call {
    Waiting(oneshot::Sender<Answer>, Expects),
    Streaming(Arc<Outgoing>),
}

pub(crate) struct Calls {
    calls: Mutex<Table>,
    calls_max: usize,
}

#[derive(Default)]
struct Table {
    slots: Slab<(u32, Call)>,
    // Counts up with each call, so that a token names one call even when its slot is used again.
    generation: u32,
}

impl Calls {
    pub(crate) fn new(calls_max: usize) -> Self {
        Self { calls: Mutex::default(), calls_max }
    }

    /// Opens a call; gives its token, or `None` if there are too many.
    pub(crate) fn open(&self, call: impl FnOnce(u64) -> Call) -> Option<u64> {
        let mut table = lock(&self.calls);
        if table.slots.len() >= self.calls_max {
            return None;
        }
        table.generation = table.generation.wrapping_add(1);
        let generation = table.generation;
        let entry = table.slots.vacant_entry();
        let token = u64::from(generation) << 32 | entry.key() as u64;
        entry.insert((generation, call(token)));
        Some(token)
    }

    /// Closes a call; `None` if it is closed already.
    pub(crate) fn take(&self, token: u64) -> Option<Call> {
        let mut table = lock(&self.calls);
        let key = table.find(token)?;
        Some(table.slots.remove(key).1)
    }

    /// Runs with the call while it cannot be closed.
    pub(crate) fn with<T>(&self, token: u64, f: impl FnOnce(&mut Call) -> T) -> Option<T> {
        let mut table = lock(&self.calls);
        let key = table.find(token)?;
        table.slots.get_mut(key).map(|(_, call)| f(call))
    }

    /// All streams that are open.
    pub(crate) fn streams(&self) -> Vec<Arc<Outgoing>> {
        let table = lock(&self.calls);
        table
            .slots
            .iter()
            .filter_map(|(_, (_, call))| match call {
                Call::Streaming(outgoing) => Some(Arc::clone(outgoing)),
                Call::Waiting(..) => None,
            })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.calls).slots.len()
    }
}

impl Table {
    fn find(&self, token: u64) -> Option<usize> {
        let key = usize::try_from(token & u64::from(u32::MAX)).ok()?;
        let (generation, _) = self.slots.get(key)?;
        (u64::from(*generation) == token >> 32).then_some(key)
    }
}
