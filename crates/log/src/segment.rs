//! One file of the log as readers see it: where each record starts, four bytes a record.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use crate::disk::{DiskFile, read_range};
use crate::error::LogError;
use crate::format::{FRAME_BYTES, record};
use crate::queue::unpoisoned;

const SUFFIX: &str = ".segment";

pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    path: PathBuf,
    frames: RwLock<Frames>,
}

/// Offsets of the record frames, and where the last group ends.
#[derive(Default)]
struct Frames {
    starts: Vec<u32>,
    end: u32,
}

/// Neighbouring frames in one read: `starts` are offsets in `bytes`.
#[derive(Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) starts: Vec<u32>,
}

impl Segment {
    pub(crate) fn new(dir: &Path, base: u64, file: Arc<dyn DiskFile>, starts: Vec<u32>, end: u32) -> Self {
        let name = Self::name_of(base);
        Segment { base, path: dir.join(&name), name, file, frames: RwLock::new(Frames { starts, end }) }
    }

    pub(crate) fn name_of(base: u64) -> String {
        format!("{base:020}{SUFFIX}")
    }

    pub(crate) fn base_of(name: &str) -> Option<u64> {
        name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?.parse().ok()
    }

    /// Takes over a group that was written at `offset`.
    pub(crate) fn extend(&self, starts: &[u32], offset: u32, end: u32) {
        let mut frames = unpoisoned(self.frames.write());
        frames.starts.extend(starts.iter().map(|start| start + offset));
        frames.end = end;
    }

    /// Forgets records from `position` on: they are in the next segment.
    pub(crate) fn seal(&self, position: u64) {
        let mut frames = unpoisoned(self.frames.write());
        let kept = usize::try_from(position - self.base).unwrap_or(usize::MAX);
        if let Some(&end) = frames.starts.get(kept) {
            frames.starts.truncate(kept);
            frames.end = end;
        }
    }

    /// Up to `count_max` frames from `position` on, all within `bytes_max` but for the first, which always comes.
    pub(crate) fn block(
        &self,
        position: u64,
        count_max: u64,
        bytes_max: u32,
        into: &mut Block,
    ) -> Result<(), LogError> {
        into.starts.clear();
        let (offset, end) = {
            let frames = unpoisoned(self.frames.read());
            let first = usize::try_from(position - self.base).unwrap_or(usize::MAX);
            let Some(&offset) = frames.starts.get(first) else { return Ok(()) };
            let count = usize::try_from(count_max).unwrap_or(usize::MAX).min(frames.starts.len() - first);
            let end_of = |index: usize| frames.starts.get(index + 1).copied().unwrap_or(frames.end);
            let mut end = offset;
            for index in first..first + count {
                let next = end_of(index);
                if next - offset > bytes_max && !into.starts.is_empty() {
                    break;
                }
                into.starts.push(frames.starts[index] - offset);
                end = next;
            }
            (offset, end)
        };
        read_range(self.file.as_ref(), u64::from(offset), (end - offset) as usize, &mut into.bytes)
            .map_err(|error| LogError::io("read", &self.path, &error))?;
        for (index, &start) in into.starts.iter().enumerate() {
            record(&into.bytes, start as usize).map_err(|reason| {
                LogError::damage(&self.name, u64::from(offset + start), position + index as u64, reason)
            })?;
        }
        Ok(())
    }
}

impl Block {
    /// The body of the frame number `index`, which was verified when the block was read.
    pub(crate) fn body(&self, index: usize) -> Option<&[u8]> {
        let start = *self.starts.get(index)? as usize;
        let length = crate::format::u32_at(&self.bytes, start) as usize;
        self.bytes.get(start + FRAME_BYTES..start + FRAME_BYTES + length)
    }
}
