//! A segment whose sealed records are opened, so that it can be compressed; and back, byte for byte.
//!
//! An opened frame has the length without the tag, the checksum as it was, the number of the key, and the plain body. A
//! record that was erased, or is to be, stays sealed: its frame is as it was, but for the top bit of the number.

use crate::format::{FRAME_BYTES, HEADER_BYTES, TRAILER_BYTES, Trailer, is_sealed, length, push_sealed_by, u32_at};
use crate::seal::{Keyring, OVERHEAD};

const NUMBER_BYTES: usize = 4;
const TAG_BYTES: usize = OVERHEAD - NUMBER_BYTES;
/// In the number of the key: the record stays sealed.
const STAYS: u32 = 0x8000_0000;

/// A segment that is opened.
pub(super) struct Opened {
    pub(super) bytes: Vec<u8>,
    /// Where each frame starts now.
    pub(super) starts: Vec<u32>,
    /// Some records stayed sealed.
    pub(super) keeps_sealed: bool,
}

/// Opens every sealed record of a segment that begins at position `base`, but for those that `stays` names.
pub(super) fn open(
    content: &[u8],
    base: u64,
    starts: &[u32],
    keyring: &Keyring,
    stays: &dyn Fn(u64) -> bool,
) -> Result<Opened, String> {
    if !starts.iter().any(|&start| is_sealed(content, start as usize)) {
        return Ok(Opened { bytes: content.to_vec(), starts: starts.to_vec(), keeps_sealed: false });
    }
    let (mut out, mut places) = (Vec::with_capacity(content.len()), Vec::with_capacity(starts.len()));
    let mut keeps_sealed = false;
    let mut copied = 0;
    for (position, &start) in (base..).zip(starts) {
        let start = start as usize;
        out.extend_from_slice(&content[copied..start]);
        places.push(out.len() as u32);
        let end = start + FRAME_BYTES + length(content, start)?;
        let at = out.len();
        out.extend_from_slice(&content[start..end]);
        copied = end;
        if is_sealed(content, start) {
            let opened = match stays(position) {
                true => None,
                false => keyring.open_record(position, &mut out[at + FRAME_BYTES..])?,
            };
            let Some(opened) = opened else {
                let number = u32_at(content, start + FRAME_BYTES) | STAYS;
                out[at + FRAME_BYTES..at + FRAME_BYTES + NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
                keeps_sealed = true;
                continue;
            };
            out.truncate(at + FRAME_BYTES + NUMBER_BYTES + opened);
            let short = u32_at(content, start) - TAG_BYTES as u32;
            out[at..at + 4].copy_from_slice(&short.to_le_bytes());
        }
    }
    out.extend_from_slice(&content[copied..]);
    Ok(Opened { bytes: out, starts: places, keeps_sealed })
}

/// Seals again what was opened.
pub(super) fn close(opened: &[u8], base: u64, keyring: &Keyring) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(opened.len());
    let (mut at, mut position) = (HEADER_BYTES.min(opened.len()), base);
    out.extend_from_slice(&opened[..at]);
    while at < opened.len() {
        let next = match Trailer::is_marked(opened, at) {
            true => at + TRAILER_BYTES,
            false => at + FRAME_BYTES + length(opened, at)?,
        };
        let frame = opened.get(at..next).ok_or("a trailer is cut")?;
        if Trailer::is_marked(opened, at) || !is_sealed(opened, at) {
            out.extend_from_slice(frame);
        } else {
            let (number, body) = frame[FRAME_BYTES..].split_first_chunk::<NUMBER_BYTES>().ok_or("a record is cut")?;
            let number = u32::from_le_bytes(*number);
            if number & STAYS != 0 {
                out.extend_from_slice(&frame[..FRAME_BYTES]);
                out.extend_from_slice(&(number & !STAYS).to_le_bytes());
                out.extend_from_slice(body);
                position += 1;
                at = next;
                continue;
            }
            push_sealed_by(&mut out, |out| keyring.seal_record_with(number, position, body, out))
                .map_err(|error| error.to_string())?;
        }
        position += u64::from(!Trailer::is_marked(opened, at));
        at = next;
    }
    Ok(out)
}

/// Where the record frames of an opened piece start, made plain frames where they are. One that stays sealed has an empty
/// body.
pub(super) fn plain_starts(bytes: &mut [u8], begin: usize) -> Option<Vec<u32>> {
    let (mut at, mut starts) = (begin, Vec::new());
    while at < bytes.len() {
        if Trailer::is_marked(bytes, at) {
            at += TRAILER_BYTES;
            continue;
        }
        let length = length(bytes, at).ok()?;
        if is_sealed(bytes, at) && bytes.get(at + FRAME_BYTES + NUMBER_BYTES - 1)? & 0x80 != 0 {
            bytes[at..at + 4].fill(0);
            starts.push(at as u32);
        } else if is_sealed(bytes, at) {
            let plain = length.checked_sub(NUMBER_BYTES)? as u32;
            bytes[at + 4..at + FRAME_BYTES].copy_from_slice(&plain.to_le_bytes());
            starts.push((at + NUMBER_BYTES) as u32);
        } else {
            starts.push(at as u32);
        }
        at += FRAME_BYTES + length;
    }
    (at == bytes.len()).then_some(starts)
}
