//! Counters, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the front door has done since it started, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Requests and stream messages handed to the caller.
    pub requests: u64,
    /// Batches that were drained.
    pub drains: u64,
    /// Writes to the eventfd.
    pub wakes: u64,
    /// Requests in the queue now.
    pub queued: u64,
    /// Bytes of bodies held now, in the queue or while they are read.
    pub queued_bytes: u64,
    /// Calls and streams open now.
    pub calls_open: u64,
    /// Requests refused because the house was full.
    pub refused: u64,
    /// Calls that ended without their answer being taken.
    pub cancelled: u64,
    /// Frames put into viewers' buffers by publications.
    pub deliveries: u64,
    /// Viewers closed because they were too slow.
    pub slow_closed: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) drains: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) slow_closed: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// The counters; what is held now is for others to fill in.
    pub(crate) fn read(&self) -> Stats {
        Stats {
            connections: self.connections.load(Relaxed),
            requests: self.requests.load(Relaxed),
            drains: self.drains.load(Relaxed),
            refused: self.refused.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            deliveries: self.deliveries.load(Relaxed),
            slow_closed: self.slow_closed.load(Relaxed),
            ..Stats::default()
        }
    }
}
