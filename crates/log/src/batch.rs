//! The form in which records reach the log: bodies one after the other, each with its length before it (u32, LE).

use crate::error::LogError;
use crate::options::Options;

/// Adds `body` to `batch` in the form that [`crate::Log::append`] takes.
///
/// Bodies over 4 GiB cannot be spelt; `append` refuses far smaller ones.
pub fn push_body(batch: &mut Vec<u8>, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(body);
}

/// The bodies of a batch that was checked.
pub(crate) struct Bodies<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Bodies<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(body)
    }
}

/// Refuses a batch that is not exactly `count` bodies within the limits.
pub(crate) fn check(batch: &[u8], count: u32, options: &Options) -> Result<(), LogError> {
    let bytes = batch.len() as u64;
    if bytes > options.group_bytes_max {
        return Err(LogError::TooLarge { what: "batch", bytes, bytes_max: options.group_bytes_max });
    }
    if count == 0 {
        return Err(LogError::Invalid("a batch holds at least one record".into()));
    }
    let (mut seen, mut used) = (0_u64, 0);
    for body in Bodies(batch) {
        let bytes = body.len() as u64;
        if bytes == 0 {
            return Err(LogError::Invalid(format!("record {seen} of the batch is empty")));
        }
        if bytes > options.record_bytes_max {
            return Err(LogError::TooLarge { what: "record", bytes, bytes_max: options.record_bytes_max });
        }
        seen += 1;
        used += 4 + body.len();
    }
    if used != batch.len() {
        return Err(LogError::Invalid(format!("the batch is cut within record {seen}")));
    }
    if seen != u64::from(count) {
        return Err(LogError::Invalid(format!("the batch holds {seen} records, not {count}")));
    }
    Ok(())
}
