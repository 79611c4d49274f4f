//! The two numbers that are true of the whole folder: who owns it (`term`) and where it begins (`start`).

use std::io;
use std::path::Path;

use crate::disk::{Disk, read_range, replace_file};
use crate::error::LogError;
use crate::format::{VERSION, u32_at, u64_at};

pub(crate) const NAME: &str = "meta";
const MAGIC: [u8; 8] = *b"apexmeta";
const BYTES: usize = 36;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Raised by one at each open, durably, before anything else is written.
    pub(crate) term: u64,
    /// The first position that must be there; raised before segments are removed.
    pub(crate) start: u64,
}

impl Meta {
    /// `None` in a folder that never held a log.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(NAME);
        let file = match disk.open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome.map_err(|error| LogError::io("open", &path, &error))?,
        };
        let mut bytes = Vec::new();
        read_range(file.as_ref(), 0, BYTES + 1, &mut bytes).map_err(|error| LogError::io("read", &path, &error))?;
        if bytes.len() != BYTES || bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..32]) != u32_at(&bytes, 32) {
            return Err(LogError::damage(NAME, 0, 0, "its size, magic or checksum does not match"));
        }
        let version = u32_at(&bytes, 8);
        if version != VERSION {
            return Err(LogError::damage(NAME, 8, 0, format!("format version {version} is not known to this program")));
        }
        Ok(Some(Meta { term: u64_at(&bytes, 16), start: u64_at(&bytes, 24) }))
    }

    pub(crate) fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.term.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        replace_file(disk, dir, NAME, &[&bytes])
    }
}
