//! Small logs, random bodies, folders that clean up after themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apex_log::disk::FaultyDisk;
use apex_log::{Log, LogError, MasterKeys, Options, Recovered, push_body};

/// Long enough that only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn small() -> Options {
    Options {
        segment_bytes: 8192,
        first_segment_bytes: 4096,
        group_bytes_max: 4096,
        record_bytes_max: 2048,
        queue_bytes_max: 1 << 20,
        archive_after_segments: u64::MAX,
        keys: MasterKeys::default(),
    }
}

pub(crate) fn folder() -> &'static Path {
    Path::new("/log")
}

pub(crate) fn open(disk: &FaultyDisk, options: &Options) -> Result<(Log, Recovered), LogError> {
    Log::open(folder(), Arc::new(disk.clone()), options.clone())
}

pub(crate) fn batch(bodies: &[Vec<u8>]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::new();
    for body in bodies {
        push_body(&mut bytes, body);
    }
    (bytes, bodies.len() as u32)
}

/// Appends one batch as a group of its own and waits for it.
pub(crate) fn commit(log: &Log, bodies: &[Vec<u8>]) -> Result<u64, LogError> {
    let (bytes, count) = batch(bodies);
    let end = log.append(bytes, count, log.durable())?;
    assert_eq!(log.wait_durable(end, PATIENCE)?, end);
    Ok(end)
}

/// Every readable record, by scan and by single reads, which must agree.
pub(crate) fn contents(log: &Log, from: u64) -> Vec<Vec<u8>> {
    let records: Vec<(u64, Vec<u8>)> = log.scan(from).map(Result::unwrap).collect();
    assert!(records.iter().enumerate().all(|(index, (position, _))| *position == from + index as u64));
    for (position, body) in &records {
        assert_eq!(log.read(*position).unwrap().as_ref(), Some(body));
    }
    assert_eq!(log.read(from + records.len() as u64).unwrap(), None);
    records.into_iter().map(|(_, body)| body).collect()
}

/// A folder on the real disk, removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("{}/{name}-{}-{number}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        Folder(PathBuf::from(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// SplitMix64: a test that fails prints its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    pub(crate) fn body(&mut self, bytes_max: u64) -> Vec<u8> {
        let length = 1 + self.below(bytes_max);
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    pub(crate) fn bodies(&mut self, count_max: u64, bytes_max: u64) -> Vec<Vec<u8>> {
        let count = 1 + self.below(count_max);
        (0..count).map(|_| self.body(bytes_max)).collect()
    }
}
