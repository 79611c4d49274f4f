//! An archive as readers see it: one small read finds the piece, and only that is unpacked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::bytes::{self, Entry, FOOTER_BYTES, HEADER_BYTES, Header};
use super::cache::{Cache, Piece};
use super::opened;
use crate::disk::{DiskFile, read_range};
use crate::error::LogError;
use crate::format::{FRAME_BYTES, HEADER_BYTES as SEGMENT_HEADER_BYTES, length};
use crate::recovery::{ends_elsewhere, header_of};
use crate::seal::{Keyring, Kind};
use crate::segment::Block;
use crate::walk::{Care, Walk};

pub(crate) struct Archive {
    pub(crate) header: Header,
    name: String,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Read when the first record is.
    entries: OnceLock<Vec<Entry>>,
    cache: Arc<Cache>,
}

impl Archive {
    /// Reads the header.
    pub(crate) fn open(dir: &Path, name: String, file: Arc<dyn DiskFile>, cache: Arc<Cache>) -> Result<Self, LogError> {
        let path = dir.join(&name);
        let mut head = Vec::new();
        read_range(file.as_ref(), 0, HEADER_BYTES, &mut head).map_err(|error| LogError::io("read", &path, &error))?;
        let base = super::base_of(name.trim_end_matches(crate::disk::UNFINISHED)).unwrap_or_default();
        let damage = |reason: String| LogError::damage(&name, 0, base, reason);
        let header = Header::decode(&head).map_err(damage)?;
        if header.base != base || header.end <= base {
            return Err(damage(format!("its header says {} to {}", header.base, header.end)));
        }
        Ok(Archive { header, name, path, file, entries: OnceLock::new(), cache })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> Result<u64, LogError> {
        self.file.size().map_err(|error| LogError::io("stat", &self.path, &error))
    }

    /// As [`crate::segment::Segment::block`]: records of one piece.
    pub(crate) fn block(
        &self,
        position: u64,
        count_max: u64,
        bytes_max: u32,
        keyring: &Keyring,
        into: &mut Block,
    ) -> Result<(), LogError> {
        let (first, piece) = self.piece_with(position, keyring)?;
        let from = usize::try_from(position - first).unwrap_or(usize::MAX);
        let count = usize::try_from(count_max).unwrap_or(usize::MAX);
        let starts = piece.starts.get(from..).unwrap_or_default();
        let Some(&offset) = starts.first() else { return Ok(()) };
        let mut end = offset as usize;
        for &start in starts.iter().take(count) {
            let next = frame_end(&piece.bytes, start);
            if next - offset as usize > bytes_max as usize && !into.starts.is_empty() {
                break;
            }
            into.starts.push(start - offset);
            end = next;
        }
        into.bytes.clear();
        into.bytes.extend_from_slice(&piece.bytes[offset as usize..end]);
        Ok(())
    }

    /// Where the frame of a record would be in the segment.
    pub(crate) fn offset_of(&self, position: u64, keyring: &Keyring) -> Result<u64, LogError> {
        let (first, piece) = self.piece_with(position, keyring)?;
        let entries = self.entries()?;
        let before = entries.iter().take_while(|entry| entry.position < first);
        let before: u64 = before.map(|entry| u64::from(entry.bytes)).sum();
        let start = piece.starts.get(usize::try_from(position - first).unwrap_or(usize::MAX)).copied();
        Ok(before + u64::from(start.unwrap_or_default()))
    }

    /// The segment that was archived, up to the end of its last group: every byte is verified.
    pub(crate) fn unpack(&self, keyring: &Keyring) -> Result<Vec<u8>, LogError> {
        let mut out = Vec::with_capacity(usize::try_from(self.header.bytes).unwrap_or_default());
        for entry in self.entries()? {
            out.extend_from_slice(&self.unpack_piece(entry, keyring)?);
        }
        let base = self.header.base;
        let out = opened::close(&out, base, keyring).map_err(|reason| LogError::damage(&self.name, 0, base, reason))?;
        let (header, seed) = header_of(&out, &self.name, base)?;
        let mut walk = Walk::new(base, header.chain, Care::Everything);
        let fault = walk.go(&out, seed, Some(self.header.end));
        if let Some((offset, reason)) = fault {
            return Err(LogError::damage(&self.name, offset as u64, walk.position, format!("unpacked: {reason}")));
        }
        if walk.position != self.header.end {
            let reason = ends_elsewhere(self.header.end, walk.position);
            return Err(LogError::damage(&self.name, 24, walk.position, reason));
        }
        if (header.chain, walk.chain, out.len() as u64)
            != (self.header.chain_before, self.header.chain, self.header.bytes)
        {
            return Err(LogError::damage(&self.name, 32, base, "its header does not fit what it holds"));
        }
        Ok(out)
    }

    /// What its pieces are sealed with: number of the data key, and place.
    pub(crate) fn seals(&self) -> Result<Vec<(u32, u64)>, LogError> {
        Ok(self.entries()?.iter().map(|entry| (entry.key, entry.position)).collect())
    }

    fn entries(&self) -> Result<&[Entry], LogError> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let io = |error| LogError::io("read", &self.path, &error);
        let damage = |at: u64, reason: String| LogError::damage(&self.name, at, self.header.base, reason);
        let size = self.size()?;
        let (mut head, mut footer, mut index) = (Vec::new(), Vec::new(), Vec::new());
        let footer_at = size.saturating_sub(FOOTER_BYTES as u64);
        read_range(self.file.as_ref(), 0, HEADER_BYTES, &mut head).map_err(io)?;
        read_range(self.file.as_ref(), footer_at, FOOTER_BYTES, &mut footer).map_err(io)?;
        let (offset, _) = bytes::decode_footer(&footer, size).map_err(|reason| damage(footer_at, reason))?;
        read_range(self.file.as_ref(), offset, (size - offset) as usize, &mut index).map_err(io)?;
        let entries = bytes::decode_index(&head, &index).map_err(|reason| damage(offset, reason))?;
        Ok(self.entries.get_or_init(|| entries))
    }

    /// The piece that holds a record, and the position of the first one in it.
    fn piece_with(&self, position: u64, keyring: &Keyring) -> Result<(u64, Arc<Piece>), LogError> {
        let entries = self.entries()?;
        let number = entries.partition_point(|entry| entry.position <= position).saturating_sub(1);
        let entry = &entries[number];
        let base = self.header.base;
        if let Some(piece) = self.cache.get(base, number) {
            return Ok((entry.position, piece));
        }
        let mut bytes = self.unpack_piece(entry, keyring)?;
        let begin = if number == 0 { SEGMENT_HEADER_BYTES } else { 0 };
        let starts = opened::plain_starts(&mut bytes, begin).ok_or_else(|| {
            LogError::damage(&self.name, entry.offset, entry.position, "a piece holds a broken frame")
        })?;
        let piece = Arc::new(Piece { bytes, starts });
        self.cache.put(base, number, &piece);
        Ok((entry.position, piece))
    }

    fn unpack_piece(&self, entry: &Entry, keyring: &Keyring) -> Result<Vec<u8>, LogError> {
        let damage = |reason: String| LogError::damage(&self.name, entry.offset, entry.position, reason);
        let mut stored = Vec::new();
        read_range(self.file.as_ref(), entry.offset, entry.stored as usize, &mut stored)
            .map_err(|error| LogError::io("read", &self.path, &error))?;
        if stored.len() != entry.stored as usize || crc32c::crc32c(&stored) != entry.crc {
            return Err(damage("the checksum of a piece does not match".into()));
        }
        let stored = keyring.open(Kind::Piece, entry.position, entry.key, stored).map_err(&damage)?;
        let bytes = zstd::bulk::decompress(&stored, entry.bytes as usize).map_err(|error| damage(error.to_string()))?;
        if bytes.len() != entry.bytes as usize {
            return Err(damage(format!("a piece has {} bytes, not {}", bytes.len(), entry.bytes)));
        }
        Ok(bytes)
    }
}

fn frame_end(bytes: &[u8], start: u32) -> usize {
    start as usize + FRAME_BYTES + length(bytes, start as usize).unwrap_or_default()
}
