//! An archive made of a segment, piece by piece, and read back before it counts.

use std::path::Path;
use std::sync::Arc;

use super::bytes::{self, Entry, HEADER_BYTES, Header};
use super::read::Archive;
use super::{name_of, opened};
use crate::disk::{Disk, UNFINISHED};
use crate::error::LogError;
use crate::recovery::{ends_elsewhere, header_of};
use crate::seal::{Keyring, Kind};
use crate::segment::Segment;
use crate::walk::{Care, Walk};

/// A piece is about this large before it is compressed, so that reading a record unpacks no more.
const PIECE_BYTES: usize = 128 << 10;
const LEVEL: i32 = 3;

/// Writes the archive of a segment that ends at position `end` under an unfinished name, durably, and reads it back.
/// `rest` is called after each piece and says whether to go on. `None` if not.
///
/// # Errors
/// `Damage` if the segment does not verify: it stays as it is. `Io`.
pub(super) fn make(
    disk: &dyn Disk,
    dir: &Path,
    segment: &Segment,
    end: u64,
    keyring: &Keyring,
    rest: &dyn Fn() -> bool,
) -> Result<Option<()>, LogError> {
    write(disk, dir, segment, end, keyring, &|_| false, rest)
}

/// Writes the archive of a segment anew in which the records that `stays` names stay sealed; durable on return, in the place of
/// the one before.
///
/// # Errors
/// As for one that is made of a segment.
pub(crate) fn make_anew(
    disk: &dyn Disk,
    dir: &Path,
    archived: &Segment,
    end: u64,
    keyring: &Keyring,
    stays: &dyn Fn(u64) -> bool,
) -> Result<Archive, LogError> {
    write(disk, dir, archived, end, keyring, stays, &|| true)?;
    let name = name_of(archived.base);
    let path = dir.join(&name);
    let fresh = dir.join(format!("{name}{UNFINISHED}"));
    disk.rename(&fresh, &path).map_err(|error| LogError::io("rename", &path, &error))?;
    disk.sync_dir(dir).map_err(|error| LogError::io("sync", dir, &error))?;
    let file = disk.open_to_read(&path).map_err(|error| LogError::io("open", &path, &error))?;
    Archive::open(dir, name, file, Arc::default())
}

fn write(
    disk: &dyn Disk,
    dir: &Path,
    segment: &Segment,
    end: u64,
    keyring: &Keyring,
    stays: &dyn Fn(u64) -> bool,
    rest: &dyn Fn() -> bool,
) -> Result<Option<()>, LogError> {
    let mut content = segment.content(keyring)?;
    let (head, seed) = header_of(&content, &segment.name, segment.base)?;
    let mut walk = Walk::new(segment.base, head.chain, Care::Everything);
    let fault = walk.go(&content, seed, Some(end));
    if walk.position != end {
        let (offset, reason) = fault.unwrap_or_else(|| (walk.end, ends_elsewhere(end, walk.position)));
        return Err(LogError::damage(&segment.name, offset as u64, walk.position, reason));
    }
    content.truncate(walk.end);

    let opened = opened::open(&content, segment.base, &walk.starts, keyring, stays)
        .map_err(|reason| LogError::damage(&segment.name, 0, segment.base, reason))?;
    let header = Header {
        base: segment.base,
        end,
        chain_before: head.chain,
        chain: walk.chain,
        bytes: content.len() as u64,
        keeps_sealed: opened.keeps_sealed,
    };
    let name = format!("{}{UNFINISHED}", name_of(segment.base));
    let path = dir.join(&name);
    let file = disk.create(&path).map_err(|error| LogError::io("create", &path, &error))?;
    let put = |bytes: &[u8], offset| file.write_at(bytes, offset).map_err(|error| LogError::io("write", &path, &error));
    let head = header.encode();
    put(&head, 0)?;
    let mut offset = HEADER_BYTES as u64;
    let mut entries = Vec::new();
    for (position, piece) in pieces(&opened.bytes, segment.base, &opened.starts) {
        let stored = zstd::bulk::compress(piece, LEVEL).map_err(|error| LogError::io("compress", &path, &error))?;
        let (key, stored) = keyring.seal(Kind::Piece, position, stored)?;
        put(&stored, offset)?;
        let crc = crc32c::crc32c(&stored);
        entries.push(Entry { position, offset, stored: stored.len() as u32, bytes: piece.len() as u32, crc, key });
        offset += stored.len() as u64;
        if !rest() {
            return Ok(None);
        }
    }
    put(&bytes::encode_end(&head, &entries, offset), offset)?;
    file.fdatasync().map_err(|error| LogError::io("fdatasync", &path, &error))?;
    let archive = Archive::open(dir, name.clone(), file, Arc::default())?;
    if archive.unpack(keyring)? != content {
        return Err(LogError::damage(&name, 0, segment.base, "read back, it is not the segment"));
    }
    Ok(Some(()))
}

/// The segment in pieces that begin with the frame of a record, each with the position of its first record.
fn pieces<'a>(content: &'a [u8], base: u64, starts: &[u32]) -> Vec<(u64, &'a [u8])> {
    let mut cuts = vec![(base, 0)];
    for (number, &start) in starts.iter().enumerate() {
        if cuts.last().is_some_and(|&(_, cut)| start as usize - cut >= PIECE_BYTES) {
            cuts.push((base + number as u64, start as usize));
        }
    }
    let ends = cuts.iter().skip(1).map(|&(_, cut)| cut).chain([content.len()]);
    cuts.iter().zip(ends).map(|(&(position, cut), end)| (position, &content[cut..end])).collect()
}
