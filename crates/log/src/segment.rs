//! One file of the log as readers see it: where each record starts, four bytes a record. Of a segment that recovery did
//! not read this is found at the first read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use crate::archive::Archive;
use crate::disk::{DiskFile, read_range};
use crate::error::LogError;
use crate::format::{FRAME_BYTES, is_sealed, length, record};
use crate::queue::unpoisoned;
use crate::recovery::{ends_elsewhere, header_of, read_whole};
use crate::seal::Keyring;
use crate::walk::{Care, Walk};

const SUFFIX: &str = ".segment";

pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    path: PathBuf,
    frames: RwLock<Frames>,
    /// Position after the last record, while its frames are not known yet.
    unread_to: Mutex<Option<u64>>,
    /// In its place, when it was archived.
    archive: Option<Archive>,
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
        let frames = RwLock::new(Frames { starts, end });
        Segment { base, path: dir.join(&name), name, file, frames, unread_to: Mutex::new(None), archive: None }
    }

    /// One that was archived.
    pub(crate) fn archived(dir: &Path, archive: Archive) -> Self {
        let file = Arc::clone(archive.file());
        let segment = Segment::new(dir, archive.header.base, file, Vec::new(), 0);
        let name = archive.name().to_owned();
        Segment { path: dir.join(&name), name, archive: Some(archive), ..segment }
    }

    pub(crate) fn is_archive(&self) -> bool {
        self.archive.is_some()
    }

    /// One that ends at position `next` and of which only the header was read.
    pub(crate) fn unread(dir: &Path, base: u64, next: u64, file: Arc<dyn DiskFile>) -> Self {
        let segment = Segment::new(dir, base, file, Vec::new(), 0);
        *unpoisoned(segment.unread_to.lock()) = Some(next);
        segment
    }

    /// Finds where the records are. The trailers say that the places are right; each body is verified when it is read.
    fn read_places(&self) -> Result<(), LogError> {
        let mut unread_to = unpoisoned(self.unread_to.lock());
        let Some(next) = *unread_to else { return Ok(()) };
        let mut bytes = Vec::new();
        read_whole(self.file.as_ref(), &self.path, &mut bytes)?;
        let (header, seed) = header_of(&bytes, &self.name, self.base)?;
        let mut walk = Walk::new(self.base, header.chain, Care::Places);
        let fault = walk.go(&bytes, seed, Some(next));
        if walk.position != next {
            let (offset, reason) = fault.unwrap_or_else(|| (walk.end, ends_elsewhere(next, walk.position)));
            return Err(LogError::damage(&self.name, offset as u64, walk.position, reason));
        }
        *unpoisoned(self.frames.write()) = Frames { starts: walk.starts, end: walk.end as u32 };
        *unread_to = None;
        Ok(())
    }

    pub(crate) fn name_of(base: u64) -> String {
        format!("{base:020}{SUFFIX}")
    }

    pub(crate) fn base_of(name: &str) -> Option<u64> {
        name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?.parse().ok()
    }

    /// All that is stored of it, as it was written, sealed records sealed.
    pub(crate) fn content(&self, keyring: &Keyring) -> Result<Vec<u8>, LogError> {
        if let Some(archive) = &self.archive {
            return archive.unpack(keyring);
        }
        let mut content = Vec::new();
        read_whole(self.file.as_ref(), &self.path, &mut content)?;
        Ok(content)
    }

    pub(crate) fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// Bytes from the beginning of its file that hold something.
    pub(crate) fn used(&self) -> Result<u64, LogError> {
        if let Some(archive) = &self.archive {
            return archive.size();
        }
        self.read_places()?;
        Ok(u64::from(unpoisoned(self.frames.read()).end))
    }

    /// Where the frame of a record starts, in an archived segment before it was; its end, behind the last.
    pub(crate) fn offset_of(&self, position: u64, keyring: &Keyring) -> Result<u64, LogError> {
        if let Some(archive) = &self.archive {
            return archive.offset_of(position, keyring);
        }
        self.read_places()?;
        let frames = unpoisoned(self.frames.read());
        let index = usize::try_from(position - self.base).unwrap_or(usize::MAX);
        Ok(u64::from(frames.starts.get(index).copied().unwrap_or(frames.end)))
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
        keyring: &Keyring,
        into: &mut Block,
    ) -> Result<(), LogError> {
        into.starts.clear();
        if let Some(archive) = &self.archive {
            return archive.block(position, count_max, bytes_max, keyring, into);
        }
        self.read_places()?;
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
        for (index, start) in into.starts.iter_mut().enumerate() {
            let (at, position) = (*start, position + index as u64);
            let damage = |reason: String| LogError::damage(&self.name, u64::from(offset + at), position, reason);
            record(&into.bytes, at as usize).map_err(|reason| damage(reason.to_owned()))?;
            if is_sealed(&into.bytes, at as usize) {
                *start = open_frame(&mut into.bytes, at, position, keyring).map_err(damage)?;
            }
        }
        Ok(())
    }
}

/// Opens the sealed frame at `start` of `bytes` where it is: the plain frame begins a little later. One that was erased
/// has an empty body, which no record has.
fn open_frame(bytes: &mut [u8], start: u32, position: u64, keyring: &Keyring) -> Result<u32, String> {
    let at = start as usize;
    let end = at + FRAME_BYTES + length(bytes, at)?;
    let Some(opened) = keyring.open_record(position, &mut bytes[at + FRAME_BYTES..end])? else {
        bytes[at..at + 4].fill(0);
        return Ok(start);
    };
    // Behind the number of the key; a checksum is not needed any more.
    bytes[at + 4..at + FRAME_BYTES].copy_from_slice(&(opened as u32).to_le_bytes());
    Ok(start + 4)
}

impl Block {
    /// The body of the frame number `index`, which was verified when the block was read; empty where it was erased.
    pub(crate) fn body(&self, index: usize) -> Option<&[u8]> {
        let start = *self.starts.get(index)? as usize;
        let length = crate::format::u32_at(&self.bytes, start) as usize;
        self.bytes.get(start + FRAME_BYTES..start + FRAME_BYTES + length)
    }
}
