//! Events as JSON, for HTTP, SSE and the payload of the wire's `Event`.

use crate::error::BadRecord;
use crate::event::{self, Event, wire::write_json_str};
use crate::record::Header;
use crate::time::write_rfc3339;

/// A whole event: `offset, type, run_id, time, epoch, sequence, partition, payload`.
///
/// # Errors
/// A record that cannot be read.
pub fn event_json(body: &[u8]) -> Result<Vec<u8>, BadRecord> {
    let (header, event) = read(body)?;
    let name = type_name(header.event_type).unwrap_or_default();
    let mut out = Vec::with_capacity(body.len() + 256);
    out.extend_from_slice(format!("{{\"offset\":{},\"type\":\"{name}\",\"run_id\":\"", header.run_seq).as_bytes());
    header.run_id.write(&mut out);
    out.extend_from_slice(b"\",\"time\":\"");
    write_rfc3339(header.time_ns, &mut out);
    out.extend_from_slice(
        format!("\",\"epoch\":{},\"sequence\":{},\"partition\":{}", header.epoch, header.sequence, header.partition)
            .as_bytes(),
    );
    if !header.correlation.is_empty() {
        out.extend_from_slice(b",\"correlation\":");
        write_json_str(header.correlation, &mut out);
    }
    out.extend_from_slice(b",\"payload\":");
    event.render(&mut out);
    out.push(b'}');
    Ok(out)
}

/// The fields of an event as a JSON object; user values stand inline as they were recorded.
///
/// # Errors
/// A record that cannot be read.
pub fn payload_json(body: &[u8]) -> Result<Vec<u8>, BadRecord> {
    let (_, event) = read(body)?;
    let mut out = Vec::with_capacity(body.len());
    event.render(&mut out);
    Ok(out)
}

fn read(body: &[u8]) -> Result<(Header<'_>, Event<'_>), BadRecord> {
    let (header, payload) = Header::split(body)?;
    if header.flags & 1 != 0 {
        return Err(BadRecord::Address);
    }
    let event = Event::decode(header.event_type, header.event_version, payload)?;
    Ok((header, event))
}

/// The name of an event type; `None` where this version does not know it.
#[must_use]
pub fn type_name(number: u8) -> Option<&'static str> {
    event::name(number)
}

/// Is this the last event of its run?
#[must_use]
pub fn ends_run(event_type: u8) -> bool {
    matches!(event_type, 16 | 17)
}

/// RFC 3339 in UTC with nine digits, as in every rendered event.
#[must_use]
pub fn time(time_ns: i64) -> String {
    let mut text = Vec::with_capacity(30);
    crate::time::write_rfc3339(time_ns, &mut text);
    String::from_utf8(text).unwrap_or_default()
}
