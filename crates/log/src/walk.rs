//! From the bytes of a segment to its groups: what every reader of a whole segment does.

use std::collections::VecDeque;

use crate::format::{FRAME_BYTES, HEADER_BYTES, Hash, TRAILER_BYTES, Trailer, length, link, record};

/// Writes reach the disk in pages: when one fails, its neighbours on the page are in doubt too.
pub(crate) const PAGE_BYTES: usize = 4096;

/// How closely a walk looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// Every checksum and link.
    Everything,
    /// The trailers, and that the frames between them add up: where each record is. Bodies are not read.
    Places,
}

/// A group that was verified, by where it is.
pub(crate) struct Mark {
    pub(crate) start: usize,
    /// After its trailer.
    pub(crate) end: usize,
    pub(crate) previous: u64,
    pub(crate) count: u32,
    pub(crate) hash: Hash,
    pub(crate) chain_before: Hash,
}

/// The groups of a segment, up to where it was looked at.
pub(crate) struct Walk {
    /// After the last good group.
    pub(crate) end: usize,
    /// Position after its last record.
    pub(crate) position: u64,
    pub(crate) chain: Hash,
    /// Where the frame of each record starts.
    pub(crate) starts: Vec<u32>,
    /// The groups on the pages of the last one.
    pub(crate) last: VecDeque<Mark>,
    care: Care,
}

impl Walk {
    pub(crate) fn new(base: u64, chain: Hash, care: Care) -> Self {
        Walk { end: HEADER_BYTES, position: base, chain, starts: Vec::new(), last: VecDeque::new(), care }
    }

    /// Verifies group after group up to `stop`, to zeros or to what does not verify: there, and why.
    pub(crate) fn go(&mut self, bytes: &[u8], seed: u32, stop: Option<u64>) -> Option<(usize, String)> {
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
            let length = match self.care {
                Care::Everything => record(bytes, at).map(<[u8]>::len),
                Care::Places => length(bytes, at),
            };
            let length = length.map_err(|reason| (at, reason.to_owned()))?;
            self.starts.push(at as u32);
            at += FRAME_BYTES + length;
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
        if self.care == Care::Everything && link(&self.chain, self.position, count, &bytes[start..at]) != trailer.hash {
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
}

/// In blocks, because a fold over a block becomes vector code and an early exit does not.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE_BYTES).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}
