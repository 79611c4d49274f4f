//! From files to what is believed: every checksum, trailer and link is verified, a torn last group is cut, anything
//! else that does not verify is damage and stops the log.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, read_range};
use crate::error::LogError;
use crate::format::{FRAME_BYTES, GENESIS, HEADER_BYTES, Hash, Header, TRAILER_BYTES, Trailer, link, record};
use crate::group::Group;
use crate::segment::Segment;

/// Writes reach the disk in pages: when one fails, its neighbours on the page are in doubt too.
const PAGE_BYTES: usize = 4096;

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
    pub(crate) cut: Option<Cut>,
    /// The groups that may be in the page cache only, where they begin, and the chain before them.
    pub(crate) tail: Vec<Group>,
    pub(crate) tail_position: u64,
    pub(crate) tail_chain: Hash,
    /// Where in the last segment the tail begins.
    pub(crate) tail_offset: u64,
}

/// Reads all segments. `start` is the first position that must be there.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, names: &[String], start: u64) -> Result<Found, LogError> {
    let mut bases: Vec<u64> = names.iter().filter_map(|name| Segment::base_of(name)).collect();
    bases.sort_unstable();
    if bases.first().map_or(start > 0, |&first| first > start) {
        return Err(LogError::damage(&Segment::name_of(start), 0, start, "the first segment is missing"));
    }
    // Segments that a trim had given up but not yet removed.
    let given_up = bases.windows(2).take_while(|pair| pair[1] <= start).count();
    let bases = &bases[given_up..];

    let mut found = Found {
        segments: Vec::with_capacity(bases.len()),
        position: start,
        cut: None,
        tail: Vec::new(),
        tail_position: start,
        tail_chain: GENESIS,
        tail_offset: 0,
    };
    let mut chain = None;
    let mut bytes = Vec::new();
    for (number, &base) in bases.iter().enumerate() {
        let name = Segment::name_of(base);
        let path = dir.join(&name);
        let file = disk.open(&path).map_err(|error| LogError::io("open", &path, &error))?;
        let size = file.size().map_err(|error| LogError::io("stat", &path, &error))?;
        read_range(file.as_ref(), 0, size as usize, &mut bytes).map_err(|error| LogError::io("read", &path, &error))?;

        let (header, seed) = Header::decode(&bytes).map_err(|reason| LogError::damage(&name, 0, base, reason))?;
        if header.base != base {
            return Err(LogError::damage(&name, 16, base, format!("its header says base {}", header.base)));
        }
        if chain.is_some_and(|chain| chain != header.chain) {
            return Err(LogError::damage(&name, 32, base, "it does not continue the chain of the segment before"));
        }
        let mut walk = Walk::new(base, header.chain);
        let stop = bases.get(number + 1).copied();
        let fault = walk.go(&bytes, seed, stop);
        if let Some(next) = stop {
            if walk.position != next {
                let (offset, reason) = fault.unwrap_or_else(|| {
                    (walk.end, format!("the next segment begins at {next}, this one ends at {}", walk.position))
                });
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
            walk.keep_tail(&bytes, &mut found);
        }
        chain = Some(walk.chain);
        found.position = walk.position;
        let segment = Segment::new(dir, base, file, walk.starts, walk.end as u32);
        found.segments.push(Arc::new(segment));
    }
    Ok(found)
}

/// A group that was verified, by where it is.
struct Mark {
    start: usize,
    /// After its trailer.
    end: usize,
    previous: u64,
    count: u32,
    hash: Hash,
    chain_before: Hash,
}

struct Walk {
    /// After the last good group.
    end: usize,
    position: u64,
    chain: Hash,
    starts: Vec<u32>,
    /// The groups on the pages of the last one.
    last: VecDeque<Mark>,
}

impl Walk {
    fn new(base: u64, chain: Hash) -> Self {
        Walk { end: HEADER_BYTES, position: base, chain, starts: Vec::new(), last: VecDeque::new() }
    }

    /// Verifies group after group up to `stop`, to zeros or to what does not verify: there, and why.
    fn go(&mut self, bytes: &[u8], seed: u32, stop: Option<u64>) -> Option<(usize, String)> {
        while stop.is_none_or(|stop| self.position < stop) {
            let rest = bytes.get(self.end..).unwrap_or_default();
            if is_zero(&rest[..rest.len().min(FRAME_BYTES)]) && is_zero(rest) {
                break;
            }
            let before = self.starts.len();
            if let Err(fault) = self.group(bytes, seed) {
                self.starts.truncate(before);
                return Some(fault);
            }
        }
        None
    }

    fn group(&mut self, bytes: &[u8], seed: u32) -> Result<(), (usize, String)> {
        let (start, before) = (self.end, self.starts.len());
        let mut at = start;
        while !Trailer::is_marked(bytes, at) {
            let body = record(bytes, at).map_err(|reason| (at, reason.to_owned()))?;
            self.starts.push(at as u32);
            at += FRAME_BYTES + body.len();
        }
        let fault = |reason: &str| (at, reason.to_owned());
        let trailer = Trailer::decode(bytes, at, seed).ok_or_else(|| fault("the group's trailer does not verify"))?;
        let count = (self.starts.len() - before) as u32;
        if count == 0 || trailer.count != count || trailer.bytes as usize != at - start {
            return Err(fault("the group's count or size does not match its trailer"));
        }
        if trailer.previous != self.position {
            return Err(fault("the group continues from another position"));
        }
        if link(&self.chain, self.position, count, &bytes[start..at]) != trailer.hash {
            return Err(fault("the group's hash does not continue the chain"));
        }
        let end = at + TRAILER_BYTES;
        let mark = Mark { start, end, previous: self.position, count, hash: trailer.hash, chain_before: self.chain };
        self.last.push_back(mark);
        let page = start - start % PAGE_BYTES;
        while self.last.front().is_some_and(|mark| mark.end <= page) {
            self.last.pop_front();
        }
        self.end = end;
        self.position += u64::from(count);
        self.chain = trailer.hash;
        Ok(())
    }

    /// Copies out the groups that are to be written again.
    fn keep_tail(&self, bytes: &[u8], found: &mut Found) {
        let Some(first) = self.last.front() else {
            found.tail_position = self.position;
            found.tail_chain = self.chain;
            found.tail_offset = self.end as u64;
            return;
        };
        found.tail_position = first.previous;
        found.tail_chain = first.chain_before;
        found.tail_offset = first.start as u64;
        found.tail = self.last.iter().map(|mark| self.copy(bytes, mark)).collect();
    }

    fn copy(&self, bytes: &[u8], mark: &Mark) -> Group {
        let from = self.starts.partition_point(|&start| (start as usize) < mark.start);
        let starts = self.starts[from..from + mark.count as usize].iter();
        Group {
            previous: mark.previous,
            count: mark.count,
            bytes: bytes[mark.start..mark.end - TRAILER_BYTES].to_vec(),
            starts: starts.map(|start| start - mark.start as u32).collect(),
            hash: mark.hash,
        }
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

/// In blocks, because a fold over a block becomes vector code and an early exit does not.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE_BYTES).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}
