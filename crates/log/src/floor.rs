//! A witness beside the segments: "everything before this position was durable".
//!
//! It is written without a sync before each group, so it costs no latency and lags after a power loss, but it is never
//! ahead of the truth. With it, records lost behind the last group (a file cut or zeroed) are told from a torn tail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, read_range};
use crate::error::LogError;
use crate::format::{u32_at, u64_at};

const NAME: &str = "floor";
/// Position, its CRC-32C, four zero bytes.
const SLOT_BYTES: usize = 16;

pub(crate) struct Floor {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Two slots in turn: a torn one leaves the other.
    slot: usize,
    pub(crate) position: u64,
}

impl Floor {
    pub(crate) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(NAME);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(&path),
            outcome => outcome,
        }
        .map_err(|error| LogError::io("open", &path, &error))?;
        let (position, slot) = higher_slot(file.as_ref(), &path)?;
        Ok(Floor { file, path, slot, position })
    }

    /// What it says, 0 where there is none; nothing is made.
    pub(crate) fn look(disk: &dyn Disk, dir: &Path) -> Result<u64, LogError> {
        let path = dir.join(NAME);
        match disk.open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(LogError::io("open", &path, &error)),
            Ok(file) => higher_slot(file.as_ref(), &path).map(|(position, _)| position),
        }
    }

    /// Notes that everything before `position` is durable, which the caller knows.
    pub(crate) fn raise(&mut self, position: u64) -> Result<(), LogError> {
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(&position.to_le_bytes());
        slot[8..12].copy_from_slice(&crc32c::crc32c(&position.to_le_bytes()).to_le_bytes());
        self.slot = 1 - self.slot;
        self.position = position;
        self.file
            .write_at(&slot, (self.slot * SLOT_BYTES) as u64)
            .map_err(|error| LogError::io("write", &self.path, &error))
    }

    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.file.fdatasync().map_err(|error| LogError::io("fdatasync", &self.path, &error))
    }
}

/// The higher position that verifies, and which slot has it.
fn higher_slot(file: &dyn DiskFile, path: &Path) -> Result<(u64, usize), LogError> {
    let mut bytes = Vec::new();
    read_range(file, 0, 2 * SLOT_BYTES, &mut bytes).map_err(|error| LogError::io("read", path, &error))?;
    let mut higher = (0, 0);
    for (slot, bytes) in bytes.chunks_exact(SLOT_BYTES).enumerate() {
        let position = u64_at(bytes, 0);
        if crc32c::crc32c(&bytes[..8]) == u32_at(bytes, 8) && position >= higher.0 {
            higher = (position, slot);
        }
    }
    Ok(higher)
}
