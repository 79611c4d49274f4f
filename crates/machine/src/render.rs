//! Events as JSON, for HTTP, SSE and the payload of the wire's `Event`.

use crate::error::BadRecord;

/// A whole event: `offset, type, run_id, time, epoch, sequence, partition, payload`.
///
/// # Errors
/// A record that cannot be read.
pub fn event_json(_body: &[u8]) -> Result<Vec<u8>, BadRecord> {
    Err(BadRecord::Payload)
}

/// The fields of an event as a JSON object; user values stand inline as they were recorded.
///
/// # Errors
/// A record that cannot be read.
pub fn payload_json(_body: &[u8]) -> Result<Vec<u8>, BadRecord> {
    Err(BadRecord::Payload)
}

/// The name of an event type.
#[must_use]
pub fn type_name(_number: u8) -> Option<&'static str> {
    None
}

/// Is this the last event of its run?
#[must_use]
pub fn ends_run(event_type: u8) -> bool {
    matches!(event_type, 16 | 17)
}
