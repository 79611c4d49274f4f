//! The bytes of an archive, as `docs/formats/log.md` has them. Pure: no file is touched here.

use sha2::{Digest, Sha256};

use crate::format::{GENESIS, Hash, u32_at, u64_at};

const VERSION: u32 = 1;
/// Records that were erased stay sealed in it.
const VERSION_ERASED: u32 = 2;
pub(super) const HEADER_BYTES: usize = 112;
pub(super) const ENTRY_BYTES: usize = 32;
pub(super) const FOOTER_BYTES: usize = 56;
const MAGIC: [u8; 8] = *b"apexarch";
const MAGIC_END: [u8; 8] = *b"apexend\n";

/// Which segment it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Position of the first record.
    pub(crate) base: u64,
    /// Position after the last one.
    pub(crate) end: u64,
    /// Hash of the last group before it.
    pub(crate) chain_before: Hash,
    /// Hash of its last group.
    pub(crate) chain: Hash,
    /// Bytes of the segment, up to the end of its last group.
    pub(crate) bytes: u64,
    /// Some records stay sealed in it: version 2.
    pub(crate) keeps_sealed: bool,
}

/// A piece of the segment that was compressed by itself. It begins with the frame of a record, the first one with the
/// header of the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Position of its first record.
    pub(crate) position: u64,
    /// Where in the archive it is.
    pub(crate) offset: u64,
    /// Bytes there.
    pub(crate) stored: u32,
    /// Bytes of the segment, opened.
    pub(crate) bytes: u32,
    /// CRC of what is stored.
    pub(crate) crc: u32,
    /// Number of the data key that it is sealed with, or 0.
    pub(crate) key: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        let version = if self.keeps_sealed { VERSION_ERASED } else { VERSION };
        out[8..12].copy_from_slice(&version.to_le_bytes());
        out[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        out[24..32].copy_from_slice(&self.end.to_le_bytes());
        out[32..64].copy_from_slice(&self.chain_before);
        out[64..96].copy_from_slice(&self.chain);
        out[96..104].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&out[..108]);
        out[108..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Header, String> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Err("the header is cut".into()) };
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..108]) != u32_at(bytes, 108) {
            return Err("the header's magic or checksum does not match".into());
        }
        let version = u32_at(bytes, 8);
        if !(VERSION..=VERSION_ERASED).contains(&version) {
            return Err(format!("format version {version} is not known to this program (it knows 1 and 2)"));
        }
        let (mut chain_before, mut chain) = (GENESIS, GENESIS);
        chain_before.copy_from_slice(&bytes[32..64]);
        chain.copy_from_slice(&bytes[64..96]);
        let (base, end) = (u64_at(bytes, 16), u64_at(bytes, 24));
        let keeps_sealed = version == VERSION_ERASED;
        Ok(Header { base, end, chain_before, chain, bytes: u64_at(bytes, 96), keeps_sealed })
    }
}

/// The index, and the footer that says where it is.
pub(super) fn encode_end(header: &[u8; HEADER_BYTES], entries: &[Entry], offset: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY_BYTES + FOOTER_BYTES);
    for entry in entries {
        out.extend_from_slice(&entry.position.to_le_bytes());
        out.extend_from_slice(&entry.offset.to_le_bytes());
        out.extend_from_slice(&entry.stored.to_le_bytes());
        out.extend_from_slice(&entry.bytes.to_le_bytes());
        out.extend_from_slice(&entry.crc.to_le_bytes());
        out.extend_from_slice(&entry.key.to_le_bytes());
    }
    out.extend_from_slice(&MAGIC_END);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let hash: Hash = Sha256::new().chain_update(header).chain_update(&out).finalize().into();
    out.extend_from_slice(&hash);
    out
}

/// Where the index is, and of how many entries, by the footer of a file of `size` bytes.
pub(super) fn decode_footer(footer: &[u8], size: u64) -> Result<(u64, usize), String> {
    let Some(footer) = footer.first_chunk::<FOOTER_BYTES>() else { return Err("the footer is cut".into()) };
    let (offset, count) = (u64_at(footer, 8), u32_at(footer, 16) as usize);
    let index = (count * ENTRY_BYTES + FOOTER_BYTES) as u64;
    if footer[..8] != MAGIC_END || count == 0 || offset.checked_add(index) != Some(size) {
        return Err("the footer's magic, offset or count does not match".into());
    }
    Ok((offset, count))
}

/// The entries of an index followed by its footer.
pub(super) fn decode_index(header: &[u8], index: &[u8]) -> Result<Vec<Entry>, String> {
    let (hashed, stored) = index.split_at(index.len().saturating_sub(size_of::<Hash>()));
    let hash: Hash = Sha256::new().chain_update(header).chain_update(hashed).finalize().into();
    if stored != hash {
        return Err("the hash of its header and index does not match".into());
    }
    Ok(index[..index.len() - FOOTER_BYTES]
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| Entry {
            position: u64_at(entry, 0),
            offset: u64_at(entry, 8),
            stored: u32_at(entry, 16),
            bytes: u32_at(entry, 20),
            crc: u32_at(entry, 24),
            key: u32_at(entry, 28),
        })
        .collect())
}
