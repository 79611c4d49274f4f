//! The numbers of a log, checked once.

use crate::error::LogError;
use crate::seal::MasterKeys;

/// Sizes and bounds. `Default` suits a server; tests take smaller ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size of a full-grown segment file, preallocated. 64 MiB.
    pub segment_bytes: u64,
    /// Size of the first segment after each open; each next one is twice as large up to `segment_bytes`, so that a
    /// fresh folder opens at once and no group waits for zeros. 4 MiB.
    pub first_segment_bytes: u64,
    /// The most that one group takes, and so the largest batch. 32 MiB: a turn is full at 4 MiB and may end with one
    /// more record.
    pub group_bytes_max: u64,
    /// The largest body. 16 MiB, as the machine's own bound: a decision on an approval says its edits three times.
    pub record_bytes_max: u64,
    /// The most that may wait for the disk; over it `append` answers `QueueFull`. 64 MiB.
    pub queue_bytes_max: u64,
    /// Segments below the older of the two snapshots are archived, but for so many of the newest of them. 4.
    pub archive_after_segments: u64,
    /// With keys in it, what is written is encrypted. Once it was, it always is.
    pub keys: MasterKeys,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            group_bytes_max: 32 << 20,
            record_bytes_max: 16 << 20,
            queue_bytes_max: 64 << 20,
            archive_after_segments: 4,
            keys: MasterKeys::default(),
        }
    }
}

impl Options {
    /// Offsets within a segment are 32 bits, and framing and sealing make a batch at most six times as large, hence 512 MiB.
    const BYTES_MAX: u64 = 1 << 29;

    pub(crate) fn check(&self) -> Result<(), LogError> {
        let bounds = [
            ("segment_bytes", self.segment_bytes, 4096, Self::BYTES_MAX),
            ("first_segment_bytes", self.first_segment_bytes, 4096, self.segment_bytes),
            ("group_bytes_max", self.group_bytes_max, 64, Self::BYTES_MAX),
            ("record_bytes_max", self.record_bytes_max, 1, self.group_bytes_max),
            ("queue_bytes_max", self.queue_bytes_max, self.group_bytes_max, u64::MAX),
        ];
        for (name, value, low, high) in bounds {
            if value < low || value > high {
                return Err(LogError::Invalid(format!("{name} is {value}, must be within {low} and {high}")));
            }
        }
        Ok(())
    }
}
