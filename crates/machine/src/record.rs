//! The record: a fixed header that every tool can read, then the payload of an event, then the hash of the run's chain
//! (docs/decisions/0001). Little-endian. A format change here is a page in `docs/decisions/` first.

use crate::error::BadRecord;
use crate::id::RunId;
use sha2::{Digest, Sha256};

/// Format version of a record.
pub const FORMAT: u8 = 1;
/// "None" of `run_prev` and `causation`.
pub const NONE: u64 = u64::MAX;
/// Bytes before the tenant.
pub const FIXED: usize = 78;
/// Bytes of the hash at the end.
pub const HASH: usize = 32;

/// The header of a record, borrowed from its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Number of the event's type.
    pub event_type: u8,
    /// Version of the type.
    pub event_version: u8,
    /// Bit 0: the payload is an address.
    pub flags: u8,
    /// Partition.
    pub partition: u16,
    /// Epoch of the run's IR when it was decided.
    pub epoch: u32,
    /// Dense per partition from 0.
    pub sequence: u64,
    /// Ownership that wrote it.
    pub term: u64,
    /// Of which run; all zero: the registry.
    pub run_id: RunId,
    /// Dense per run from 0: the offset of every API and stream.
    pub run_seq: u64,
    /// Log position of the run's previous record, or [`NONE`].
    pub run_prev: u64,
    /// When it was decided, ns since 1970.
    pub time_ns: i64,
    /// `run_seq` of the record of the same run that led here, or [`NONE`]: a command from outside.
    pub causation: u64,
    /// Whose.
    pub tenant: &'a str,
    /// Correlation id; empty: the run id.
    pub correlation: &'a str,
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&b[at..at + 8]);
    u64::from_le_bytes(bytes)
}

impl<'a> Header<'a> {
    /// Reads the header of a record body.
    ///
    /// # Errors
    /// A body that is cut short, of another format, or whose texts are not UTF-8.
    pub fn parse(body: &'a [u8]) -> Result<Header<'a>, BadRecord> {
        Header::split(body).map(|(header, _)| header)
    }

    /// Reads the header and gives the payload behind it.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn split(body: &'a [u8]) -> Result<(Header<'a>, &'a [u8]), BadRecord> {
        if body.is_empty() {
            return Err(BadRecord::Erased);
        }
        if body.len() < FIXED + HASH {
            return Err(BadRecord::Short);
        }
        if body[0] != FORMAT {
            return Err(BadRecord::Format(body[0]));
        }
        let tenant_end = FIXED + usize::from(u16_at(body, 6));
        let correlation_end = tenant_end + usize::from(u16_at(body, 76));
        let end = body.len() - HASH;
        if correlation_end > end {
            return Err(BadRecord::Short);
        }
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&body[range]).map_err(|_| BadRecord::Text);
        let mut run_id = [0; 16];
        run_id.copy_from_slice(&body[28..44]);
        let header = Header {
            event_type: body[1],
            event_version: body[2],
            flags: body[3],
            partition: u16_at(body, 4),
            epoch: u32::from_le_bytes([body[8], body[9], body[10], body[11]]),
            sequence: u64_at(body, 12),
            term: u64_at(body, 20),
            run_id: RunId(run_id),
            run_seq: u64_at(body, 44),
            run_prev: u64_at(body, 52),
            time_ns: u64_at(body, 60) as i64,
            causation: u64_at(body, 68),
            tenant: text(FIXED..tenant_end)?,
            correlation: text(tenant_end..correlation_end)?,
        };
        Ok((header, &body[correlation_end..end]))
    }

    /// Appends header, payload (written by `payload`) and hash to `out`; gives the hash.
    pub fn write(&self, previous: &[u8; HASH], out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) -> [u8; HASH] {
        let start = out.len();
        let mut fixed = [0u8; FIXED];
        fixed[0] = FORMAT;
        fixed[1] = self.event_type;
        fixed[2] = self.event_version;
        fixed[3] = self.flags;
        fixed[4..6].copy_from_slice(&self.partition.to_le_bytes());
        // Both lengths are bounded by `Limits::name_bytes_max` at the door of every command.
        fixed[6..8].copy_from_slice(&(self.tenant.len() as u16).to_le_bytes());
        fixed[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        fixed[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        fixed[20..28].copy_from_slice(&self.term.to_le_bytes());
        fixed[28..44].copy_from_slice(&self.run_id.0);
        fixed[44..52].copy_from_slice(&self.run_seq.to_le_bytes());
        fixed[52..60].copy_from_slice(&self.run_prev.to_le_bytes());
        fixed[60..68].copy_from_slice(&self.time_ns.to_le_bytes());
        fixed[68..76].copy_from_slice(&self.causation.to_le_bytes());
        fixed[76..78].copy_from_slice(&(self.correlation.len() as u16).to_le_bytes());
        out.extend_from_slice(&fixed);
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(self.correlation.as_bytes());
        payload(out);
        let hash = chain(previous, &out[start..]);
        out.extend_from_slice(&hash);
        hash
    }
}

/// `run_hash` of a record: SHA-256 over that of the run's previous record (zero at first) and the bytes before it.
#[must_use]
pub fn chain(previous: &[u8; HASH], before_hash: &[u8]) -> [u8; HASH] {
    let mut sha = Sha256::new();
    sha.update(previous);
    sha.update(before_hash);
    sha.finalize().into()
}

/// The hash that a record says it has.
///
/// # Errors
/// A body that is cut short.
pub fn stored_hash(body: &[u8]) -> Result<[u8; HASH], BadRecord> {
    let start = body.len().checked_sub(HASH).ok_or(BadRecord::Short)?;
    let mut hash = [0; HASH];
    hash.copy_from_slice(&body[start..]);
    Ok(hash)
}

/// Checks a record against the hash of the run's previous one (zero at first); gives its own.
///
/// # Errors
/// A body that is cut short, or one that was changed after it was written.
pub fn verify_chain(previous: &[u8; HASH], body: &[u8]) -> Result<[u8; HASH], BadRecord> {
    let stored = stored_hash(body)?;
    if chain(previous, &body[..body.len() - HASH]) == stored { Ok(stored) } else { Err(BadRecord::Hash) }
}

/// The bodies in a turn's records.
///
/// # Errors
/// A length that goes beyond the bytes.
pub fn split_records(records: &[u8]) -> Result<Vec<&[u8]>, BadRecord> {
    let mut bodies = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(4).ok_or(BadRecord::Short)?;
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (body, after) = after.split_at_checked(length).ok_or(BadRecord::Short)?;
        bodies.push(body);
        rest = after;
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header() -> Header<'static> {
        Header {
            event_type: 12,
            event_version: 1,
            flags: 0,
            partition: 7,
            epoch: 3,
            sequence: 1 << 40,
            term: 9,
            run_id: RunId::new_v7(1_700_000_000_000, 7, 42),
            run_seq: 5,
            run_prev: NONE,
            time_ns: -1,
            causation: 4,
            tenant: "default",
            correlation: "c-1",
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = b"before".to_vec();
        let hash = header().write(&[0; 32], &mut out, |out| out.extend_from_slice(b"payload"));
        let body = &out[6..];
        let (read, payload) = Header::split(body).unwrap();
        assert_eq!(read, header());
        assert_eq!(payload, b"payload");
        assert_eq!(verify_chain(&[0; 32], body), Ok(hash));
        assert_eq!(verify_chain(&[1; 32], body), Err(BadRecord::Hash));
    }

    #[test]
    fn any_cut_or_flipped_byte_is_seen_and_nothing_panics() {
        let mut body = Vec::new();
        header().write(&[0; 32], &mut body, |out| out.extend_from_slice(b"payload"));
        for end in 0..body.len() {
            let cut = &body[..end];
            assert!(Header::split(cut).is_err() || verify_chain(&[0; 32], cut).is_err());
        }
        for at in 0..body.len() {
            let mut bad = body.clone();
            bad[at] ^= 0x10;
            let _ = Header::split(&bad);
            assert_eq!(verify_chain(&[0; 32], &bad), Err(BadRecord::Hash));
        }
    }
}
