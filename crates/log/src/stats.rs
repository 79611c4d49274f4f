//! What the log did since it was opened.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::queue::unpoisoned;

/// Counters since open; times are of the last 1,024 syncs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups made durable.
    pub groups: u64,
    /// Calls of `fdatasync` on segments.
    pub syncs: u64,
    /// Bytes of groups made durable, framing included.
    pub bytes: u64,
    /// Records made durable.
    pub records: u64,
    /// Segment files kept.
    pub segments: u64,
    /// Of those, archives.
    pub archives: u64,
    /// Times that an archive could not be made; each is tried again after the next snapshot.
    pub archive_failures: u64,
    /// Bytes that wait in the queue.
    pub queue_bytes: u64,
    /// Median of a sync; 0 before the first.
    pub fsync_p50_ns: u64,
    /// 99th percentile of a sync; 0 before the first.
    pub fsync_p99_ns: u64,
}

const SYNCS_KEPT: usize = 1024;

#[derive(Default)]
pub(crate) struct Meter {
    groups: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
    records: AtomicU64,
    sync_ns: Mutex<Vec<u64>>,
}

impl Meter {
    pub(crate) fn synced(&self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = self.syncs.fetch_add(1, Ordering::Relaxed) as usize % SYNCS_KEPT;
        let mut sync_ns = unpoisoned(self.sync_ns.lock());
        if at < sync_ns.len() {
            sync_ns[at] = took_ns;
        } else {
            sync_ns.push(took_ns);
        }
    }

    pub(crate) fn committed(&self, records: u64, bytes: u64) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, segments: u64, archives: u64, archive_failures: u64, queue_bytes: u64) -> Stats {
        let mut sync_ns = unpoisoned(self.sync_ns.lock()).clone();
        sync_ns.sort_unstable();
        let quantile = |percent: usize| sync_ns.get(sync_ns.len() * percent / 100).copied().unwrap_or(0);
        Stats {
            groups: self.groups.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            segments,
            archives,
            archive_failures,
            queue_bytes,
            fsync_p50_ns: quantile(50),
            fsync_p99_ns: quantile(99),
        }
    }
}
