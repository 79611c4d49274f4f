//! The queue to the caller: bounded by count and by bytes, announced by one bell.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

use crate::lock;
use crate::request::Request;
use crate::wake::Wake;

pub(crate) struct Inbox {
    items: Mutex<Vec<Request>>,
    // Requests only; what ends a call is always taken, and there is at most one such item for each open call.
    counted: AtomicUsize,
    // Bodies that are being read and bodies that wait.
    bytes: AtomicUsize,
    items_max: usize,
    bytes_max: usize,
    room: Notify,
    pub(crate) wake: Wake,
}

/// Bytes of a body that count against the queue, from the moment they are read. Given back when it is dropped, or
/// handed over with the request.
pub(crate) struct Hold<'a> {
    inbox: &'a Inbox,
    bytes: usize,
}

/// The queue has no room.
#[derive(Debug)]
pub(crate) struct Full;

impl Inbox {
    pub(crate) fn new(items_max: usize, bytes_max: usize) -> io::Result<Self> {
        Ok(Self {
            items: Mutex::new(Vec::new()),
            counted: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            items_max,
            bytes_max,
            room: Notify::new(),
            wake: Wake::new()?,
        })
    }

    /// A first look, before a body is read.
    pub(crate) fn is_full(&self) -> bool {
        self.counted.load(Relaxed) >= self.items_max || self.bytes.load(Relaxed) >= self.bytes_max
    }

    pub(crate) fn hold(&self) -> Hold<'_> {
        Hold { inbox: self, bytes: 0 }
    }

    /// Queues a request whose bytes are held.
    pub(crate) fn push(&self, request: Request, mut hold: Hold<'_>) -> Result<(), Full> {
        if self.counted.fetch_add(1, Relaxed) >= self.items_max {
            self.counted.fetch_sub(1, Relaxed);
            return Err(Full);
        }
        // A body may have been held with slack; from here on it counts as what it weighs.
        let weight = request.weight();
        self.bytes.fetch_add(weight, Relaxed);
        hold.release();
        lock(&self.items).push(request);
        self.wake.ring();
        Ok(())
    }

    /// Queues a message of a stream, whose reader has waited for room: streams cannot be refused in the middle.
    pub(crate) fn push_message(&self, request: Request) {
        self.counted.fetch_add(1, Relaxed);
        self.bytes.fetch_add(request.weight(), Relaxed);
        lock(&self.items).push(request);
        self.wake.ring();
    }

    /// Queues what ends or moves a call; never refused.
    pub(crate) fn push_control(&self, request: Request) {
        lock(&self.items).push(request);
        self.wake.ring();
    }

    /// Waits until there may be room.
    pub(crate) async fn room(&self) {
        loop {
            let changed = self.room.notified();
            if !self.is_full() {
                return;
            }
            changed.await;
        }
    }

    /// Takes up to `max` in order. If some are left the bell rings again.
    pub(crate) fn take(&self, max: usize) -> Vec<Request> {
        self.wake.arm();
        let mut items = lock(&self.items);
        let taken = if items.len() <= max {
            let capacity = items.len();
            std::mem::replace(&mut *items, Vec::with_capacity(capacity))
        } else {
            items.drain(..max).collect()
        };
        let left = !items.is_empty();
        drop(items);
        if left {
            self.wake.ring();
        }
        let (mut counted, mut bytes) = (0, 0);
        for request in &taken {
            if is_counted(request) {
                counted += 1;
                bytes += request.weight();
            }
        }
        if counted > 0 {
            let was_full = self.is_full();
            self.counted.fetch_sub(counted, Relaxed);
            self.bytes.fetch_sub(bytes, Relaxed);
            if was_full {
                self.room.notify_waiters();
            }
        }
        taken
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.items).len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

fn is_counted(request: &Request) -> bool {
    matches!(
        request,
        Request::Grpc { .. } | Request::GrpcOpen { .. } | Request::GrpcMessage { .. } | Request::Http { .. }
    )
}

impl Hold<'_> {
    /// Counts `bytes` more.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Full> {
        let before = self.inbox.bytes.fetch_add(bytes, Relaxed);
        self.bytes += bytes;
        // One body alone always fits, however small the bound: else it could never be taken.
        if before + bytes > self.inbox.bytes_max && before > self.bytes - bytes { Err(Full) } else { Ok(()) }
    }

    /// Gives `bytes` of it back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        if bytes > 0 {
            self.bytes -= bytes;
            if self.inbox.bytes.fetch_sub(bytes, Relaxed) >= self.inbox.bytes_max {
                self.inbox.room.notify_waiters();
            }
        }
    }

    fn release(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.release();
    }
}
