//! From files to what is believed: a torn last group is cut, anything else that does not verify is damage and stops the
//! log. Where a snapshot stands for the records of a segment, only its header is looked at: its places are found at the
//! first read (`segment.rs`), and `View::verify` looks at every byte.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::archive::{self, Archive, Cache};
use crate::disk::{Disk, DiskFile, read_range};
use crate::error::LogError;
use crate::format::{GENESIS, HEADER_BYTES, Hash, Header, TRAILER_BYTES, Trailer};
use crate::group::Group;
use crate::seal::Keyring;
use crate::segment::Segment;
use crate::walk::{Care, Mark, Walk};

/// How often the last segment of a log that is being written is read again before what does not verify in it counts: a
/// reader may see a later write and not yet an earlier one.
const LIVE_READS_MAX: u32 = 20;

const CHAIN_BROKEN: &str = "it does not continue the chain of the segment before";

/// What was cut off the end: a group that was being written when the machine or the process stopped. None of it had
/// been acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// File name within the folder of the log.
    pub segment: String,
    /// Where the cut group begins.
    pub offset: u64,
    /// Bytes from there to the last one that is not zero.
    pub bytes: u64,
}

/// What is believed.
pub(crate) struct Found {
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Position after the last record.
    pub(crate) position: u64,
    /// Hash of the last group.
    pub(crate) chain: Hash,
    pub(crate) cut: Option<Cut>,
    /// The groups that may be in the page cache only, where they begin, and the chain before them.
    pub(crate) tail: Vec<Group>,
    pub(crate) tail_position: u64,
    pub(crate) tail_chain: Hash,
    /// Where in the last segment the tail begins.
    pub(crate) tail_offset: u64,
}

/// Which records there must be, and which of them have to verify.
pub(crate) struct Scope<'a> {
    /// The first position that must be there.
    pub(crate) start: u64,
    /// Segments of which every record is below this are taken as they are.
    pub(crate) verify_from: u64,
    /// Somebody may be writing.
    pub(crate) is_live: bool,
    /// For pieces of archives.
    pub(crate) cache: Arc<Cache>,
    pub(crate) keyring: &'a Keyring,
}

/// Reads the segments that `scope` asks for, and the headers of all.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, names: &[String], scope: &Scope<'_>) -> Result<Found, LogError> {
    let start = scope.start;
    // Where both are there, the archive had not taken the segment's place yet.
    let mut bases: Vec<u64> =
        names.iter().filter_map(|name| Segment::base_of(name).or_else(|| archive::base_of(name))).collect();
    bases.sort_unstable();
    bases.dedup();
    let segments: HashSet<u64> = names.iter().filter_map(|name| Segment::base_of(name)).collect();
    if bases.first().map_or(start > 0, |&first| first > start) {
        return Err(LogError::damage(&Segment::name_of(start), 0, start, "the first segment is missing"));
    }
    // Segments that a trim had given up but not yet removed.
    let given_up = bases.windows(2).take_while(|pair| pair[1] <= start).count();
    let bases = &bases[given_up..];

    let mut found = Found {
        segments: Vec::with_capacity(bases.len()),
        position: start,
        chain: GENESIS,
        cut: None,
        tail: Vec::new(),
        tail_position: start,
        tail_chain: GENESIS,
        tail_offset: 0,
    };
    let mut chain = None;
    let mut bytes = Vec::new();
    for (number, &base) in bases.iter().enumerate() {
        let next = bases.get(number + 1).copied();
        let name = Segment::name_of(base);
        let path = dir.join(&name);
        let opened = match segments.contains(&base) {
            true if scope.is_live => disk.open_to_read(&path),
            true => disk.open(&path),
            false => Err(io::ErrorKind::NotFound.into()),
        };
        // Its archive may have taken its place a moment ago.
        let is_gone = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if is_gone && (scope.is_live || !segments.contains(&base)) {
            let archive = open_archive(disk, dir, base, &scope.cache)?;
            if next.is_some_and(|next| next != archive.header.end) {
                let reason = ends_elsewhere(next.unwrap_or_default(), archive.header.end);
                return Err(LogError::damage(archive.name(), 24, archive.header.end, reason));
            }
            if chain.is_some_and(|chain| chain != archive.header.chain_before) {
                return Err(LogError::damage(archive.name(), 32, base, CHAIN_BROKEN));
            }
            if archive.header.end > scope.verify_from {
                archive.unpack(scope.keyring)?;
            }
            chain = Some(archive.header.chain);
            found.chain = archive.header.chain;
            found.tail_chain = found.chain;
            found.position = archive.header.end;
            found.tail_position = found.position;
            found.segments.push(Arc::new(Segment::archived(dir, archive)));
            continue;
        }
        let file = opened.map_err(|error| LogError::io("open", &path, &error))?;
        if let Some(next) = next.filter(|&next| next <= scope.verify_from) {
            read_range(file.as_ref(), 0, HEADER_BYTES, &mut bytes)
                .map_err(|error| LogError::io("read", &path, &error))?;
            header_of(&bytes, &name, base)?;
            found.segments.push(Arc::new(Segment::unread(dir, base, next, file)));
            found.position = next;
            chain = None;
            continue;
        }
        let mut reads = if next.is_none() && scope.is_live { LIVE_READS_MAX } else { 1 };
        let (walk, seed, fault) = loop {
            read_whole(file.as_ref(), &path, &mut bytes)?;
            let (header, seed) = header_of(&bytes, &name, base)?;
            if chain.is_some_and(|chain| chain != header.chain) {
                return Err(LogError::damage(&name, 32, base, CHAIN_BROKEN));
            }
            let mut walk = Walk::new(base, header.chain, Care::Everything);
            let fault = walk.go(&bytes, seed, next);
            reads -= 1;
            if fault.is_none() || reads == 0 {
                break (walk, seed, fault);
            }
        };
        if let Some(next) = next {
            if walk.position != next {
                let (offset, reason) = fault.unwrap_or_else(|| (walk.end, ends_elsewhere(next, walk.position)));
                return Err(LogError::damage(&name, offset as u64, walk.position, reason));
            }
        } else {
            if let Some((offset, reason)) = fault {
                let last = check_is_last_group(&bytes, seed, walk.end, walk.position);
                let bytes_cut = last.map_err(|evidence| {
                    LogError::damage(&name, offset as u64, walk.position, format!("{reason}; {evidence}"))
                })?;
                found.cut = Some(Cut { segment: name, offset: walk.end as u64, bytes: bytes_cut });
            }
            keep_tail(&walk, &bytes, &mut found);
        }
        chain = Some(walk.chain);
        found.chain = walk.chain;
        found.position = walk.position;
        let segment = Segment::new(dir, base, file, walk.starts, walk.end as u32);
        found.segments.push(Arc::new(segment));
    }
    Ok(found)
}

fn open_archive(disk: &dyn Disk, dir: &Path, base: u64, cache: &Arc<Cache>) -> Result<Archive, LogError> {
    let name = archive::name_of(base);
    let path = dir.join(&name);
    let file = disk.open_to_read(&path).map_err(|error| LogError::io("open", &path, &error))?;
    Archive::open(dir, name, file, Arc::clone(cache))
}

/// The header of a segment and the seed of its trailers.
pub(crate) fn header_of(bytes: &[u8], name: &str, base: u64) -> Result<(Header, u32), LogError> {
    let (header, seed) = Header::decode(bytes).map_err(|reason| LogError::damage(name, 0, base, reason))?;
    if header.base != base {
        return Err(LogError::damage(name, 16, base, format!("its header says base {}", header.base)));
    }
    Ok((header, seed))
}

/// Why a segment that is followed by another is not whole.
pub(crate) fn ends_elsewhere(next: u64, position: u64) -> String {
    format!("the next segment begins at {next}, this one ends at {position}")
}

/// All bytes of a file.
pub(crate) fn read_whole(file: &dyn DiskFile, path: &Path, into: &mut Vec<u8>) -> Result<(), LogError> {
    let size = file.size().map_err(|error| LogError::io("stat", path, &error))?;
    read_range(file, 0, size as usize, into).map_err(|error| LogError::io("read", path, &error))
}

/// Copies out the groups that are to be written again.
fn keep_tail(walk: &Walk, bytes: &[u8], found: &mut Found) {
    let Some(first) = walk.last.front() else {
        found.tail_position = walk.position;
        found.tail_chain = walk.chain;
        found.tail_offset = walk.end as u64;
        return;
    };
    found.tail_position = first.previous;
    found.tail_chain = first.chain_before;
    found.tail_offset = first.start as u64;
    found.tail = walk.last.iter().map(|mark| copy(walk, bytes, mark)).collect();
}

fn copy(walk: &Walk, bytes: &[u8], mark: &Mark) -> Group {
    let from = walk.starts.partition_point(|&start| (start as usize) < mark.start);
    let starts = walk.starts[from..from + mark.count as usize].iter();
    Group {
        previous: mark.previous,
        count: mark.count,
        bytes: bytes[mark.start..mark.end - TRAILER_BYTES].to_vec(),
        starts: starts.map(|start| start - mark.start as u32).collect(),
        hash: mark.hash,
    }
}

/// A group is written only when the one before is durable. So a group that does not verify may be cut only if nothing
/// was ever written behind it: no whole trailer of a later group, and no byte after its own. Gives the bytes to cut.
fn check_is_last_group(bytes: &[u8], seed: u32, start: usize, position: u64) -> Result<u64, String> {
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(start, |last| last + 1);
    for at in start..used {
        match Trailer::decode(bytes, at, seed) {
            Some(trailer) if trailer.previous > position => {
                return Err(format!("the group that ends at byte {at} was written after it"));
            }
            Some(trailer) if trailer.previous == position && used > at + TRAILER_BYTES => {
                return Err(format!("bytes were written behind its end at byte {}", at + TRAILER_BYTES));
            }
            _ => {}
        }
    }
    Ok((used - start) as u64)
}
