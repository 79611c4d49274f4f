//! The bytes of a segment, as `docs/formats/log.md` has them. Pure: no file is touched here.

use sha2::{Digest, Sha256};

use crate::error::LogError;
use crate::seal::Keyring;

/// A SHA-256, the link of the chain.
pub(crate) type Hash = [u8; 32];

/// The chain of a log before its first group.
pub(crate) const GENESIS: Hash = [0; 32];
pub(crate) const VERSION: u32 = 1;
/// Of segments and snapshots in which something may be sealed.
pub(crate) const VERSION_SEALED: u32 = 2;
pub(crate) const HEADER_BYTES: usize = 72;
/// Length and CRC before each body.
pub(crate) const FRAME_BYTES: usize = 8;
pub(crate) const TRAILER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"apexlog\n";
/// What a trailer has for a length: the top bit, which no record has, and the size of its body.
/// The bit in the length of a record whose body is sealed.
const SEALED: u32 = 0x4000_0000;
const TRAILER_MARK: u32 = 0x8000_0000 | (TRAILER_BYTES - FRAME_BYTES) as u32;

/// The first bytes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Position of the first record in the segment.
    pub(crate) base: u64,
    /// The ownership that made the segment.
    pub(crate) term: u64,
    /// Hash of the last group before the segment.
    pub(crate) chain: Hash,
    /// Records may be sealed: version 2.
    pub(crate) is_sealed: bool,
}

impl Header {
    /// The header's bytes and the seed of the trailers, which is its CRC.
    pub(crate) fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        let version = if self.is_sealed { VERSION_SEALED } else { VERSION };
        out[8..12].copy_from_slice(&version.to_le_bytes());
        out[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        out[24..32].copy_from_slice(&self.term.to_le_bytes());
        out[32..64].copy_from_slice(&self.chain);
        let crc = crc32c::crc32c(&out[..68]);
        out[68..].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, u32), String> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(format!("the header is cut: {} of {HEADER_BYTES} bytes", bytes.len()));
        };
        if bytes[..8] != MAGIC {
            return Err("not a segment of a log (magic)".into());
        }
        let crc = u32_at(bytes, 68);
        if crc32c::crc32c(&bytes[..68]) != crc {
            return Err("the header's checksum does not match".into());
        }
        let version = u32_at(bytes, 8);
        if !(VERSION..=VERSION_SEALED).contains(&version) || u32_at(bytes, 12) != HEADER_BYTES as u32 {
            return Err(format!("format version {version} is not known to this program (it knows 1 and 2)"));
        }
        let mut chain = GENESIS;
        chain.copy_from_slice(&bytes[32..64]);
        let is_sealed = version == VERSION_SEALED;
        Ok((Header { base: u64_at(bytes, 16), term: u64_at(bytes, 24), chain, is_sealed }, crc))
    }
}

/// The end of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Position that was durable when the group was written: the first of its records.
    pub(crate) previous: u64,
    /// Records in the group.
    pub(crate) count: u32,
    /// Bytes of the group's frames, without the trailer.
    pub(crate) bytes: u32,
    /// Where in the file the trailer is: a copy elsewhere, in a body say, is none.
    pub(crate) offset: u64,
    /// The chain up to and with this group.
    pub(crate) hash: Hash,
}

impl Trailer {
    pub(crate) fn encode(&self, seed: u32) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..4].copy_from_slice(&TRAILER_MARK.to_le_bytes());
        out[8..16].copy_from_slice(&self.previous.to_le_bytes());
        out[16..20].copy_from_slice(&self.count.to_le_bytes());
        out[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        out[24..32].copy_from_slice(&self.offset.to_le_bytes());
        out[32..].copy_from_slice(&self.hash);
        let crc = frame_crc(seed, TRAILER_MARK, &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The trailer at `offset` of the segment, if there is one.
    pub(crate) fn decode(segment: &[u8], offset: usize, seed: u32) -> Option<Trailer> {
        let bytes = segment.get(offset..)?.first_chunk::<TRAILER_BYTES>()?;
        if u32_at(bytes, 0) != TRAILER_MARK || u32_at(bytes, 4) != frame_crc(seed, TRAILER_MARK, &bytes[8..]) {
            return None;
        }
        let mut hash = GENESIS;
        hash.copy_from_slice(&bytes[32..]);
        let trailer = Trailer {
            previous: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
            bytes: u32_at(bytes, 20),
            offset: u64_at(bytes, 24),
            hash,
        };
        (trailer.offset == offset as u64).then_some(trailer)
    }

    pub(crate) fn is_marked(segment: &[u8], offset: usize) -> bool {
        segment.get(offset..offset + 4) == Some(TRAILER_MARK.to_le_bytes().as_slice())
    }
}

/// Adds the frame of one record.
pub(crate) fn push_frame(out: &mut Vec<u8>, body: &[u8]) {
    let length = body.len() as u32;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&frame_crc(0, length, body).to_le_bytes());
    out.extend_from_slice(body);
}

/// Adds the frame of one record whose body is sealed as the one at `position`.
pub(crate) fn push_sealed(out: &mut Vec<u8>, keyring: &Keyring, position: u64, body: &[u8]) -> Result<(), LogError> {
    push_sealed_by(out, |out| keyring.seal_record(position, body, out))
}

/// The same, by whatever adds the sealed body.
pub(crate) fn push_sealed_by(
    out: &mut Vec<u8>,
    seal: impl FnOnce(&mut Vec<u8>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    seal(out)?;
    let length = (out.len() - start - FRAME_BYTES) as u32 | SEALED;
    let crc = frame_crc(0, length, &out[start + FRAME_BYTES..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// True if the body of the record frame at `offset` is sealed.
pub(crate) fn is_sealed(bytes: &[u8], offset: usize) -> bool {
    u32_at(bytes, offset) & SEALED != 0
}

/// The size of the body in the record frame at `offset`, which was not looked into, or what is wrong with it.
#[inline]
pub(crate) fn length(bytes: &[u8], offset: usize) -> Result<usize, &'static str> {
    let Some(frame) = bytes.get(offset..) else { return Err("the frame is cut") };
    let Some((head, rest)) = frame.split_first_chunk::<FRAME_BYTES>() else { return Err("the frame is cut") };
    match (u32_at(head, 0) & !SEALED) as usize {
        0 => Err("no frame where one must be"),
        length if length > rest.len() => Err("the frame's length runs out of the file"),
        length => Ok(length),
    }
}

/// The body of the record frame at `offset`, or what is wrong with it.
#[inline]
pub(crate) fn record(bytes: &[u8], offset: usize) -> Result<&[u8], &'static str> {
    let length = length(bytes, offset)?;
    let body = &bytes[offset + FRAME_BYTES..offset + FRAME_BYTES + length];
    if frame_crc(0, u32_at(bytes, offset), body) != u32_at(bytes, offset + 4) {
        return Err("the record's checksum does not match");
    }
    Ok(body)
}

/// The next link: a hash over the one before, the group's place and count, and its frames.
pub(crate) fn link(chain: &Hash, previous: u64, count: u32, frames: &[u8]) -> Hash {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&previous.to_le_bytes());
    place[8..12].copy_from_slice(&count.to_le_bytes());
    place[12..].copy_from_slice(&(frames.len() as u32).to_le_bytes());
    Sha256::new().chain_update(chain).chain_update(place).chain_update(frames).finalize().into()
}

fn frame_crc(seed: u32, length: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &length.to_le_bytes()), body)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
