//! The few server-sent events that the front door writes by itself. Source: WHATWG HTML, "Server-sent events".

use std::fmt::Write;

use bytes::Bytes;

use crate::details::GrpcStatus;

/// Keeps proxies and clients from taking a silent stream for a dead one.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The last event of a viewer that was too slow.
pub(crate) fn too_slow(last_offset: Option<u64>) -> Bytes {
    let offset = last_offset.map_or_else(|| "null".to_owned(), |offset| offset.to_string());
    let detail = "the stream was read too slowly; go on after last_offset";
    format!(
        "event: error\ndata: {{\"code\":\"SUBSCRIBER_TOO_SLOW\",\"detail\":\"{detail}\",\"last_offset\":{offset}}}\n\n"
    )
    .into()
}

/// The last event of a stream that ends before its run, with the offset to go on after.
pub(crate) fn failed(status: &GrpcStatus, last_offset: Option<u64>) -> Bytes {
    let offset = last_offset.map_or_else(|| "null".to_owned(), |offset| offset.to_string());
    let mut frame = format!("event: error\ndata: {{\"status\":{},\"detail\":\"", status.code);
    escape(&status.message, &mut frame);
    let _ = write!(frame, "\",\"last_offset\":{offset}}}\n\n");
    frame.into()
}

/// JSON string escapes (RFC 8259, section 7); the result holds no line break.
pub(crate) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
}
