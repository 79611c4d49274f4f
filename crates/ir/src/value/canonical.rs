//! The one way to write a value: for hashing and for what is registered.

use super::scan::{At, Document, Kind};
use std::cmp::Ordering;

/// Order of member names: by UTF-16 code units (RFC 8785, 3.2.3).
pub(crate) fn by_name(a: &str, b: &str) -> Ordering {
    // Bytes give the same order unless a character beyond the basic plane meets one from U+E000 up.
    if a.is_ascii() || b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// Writes a string with the fewest escapes (RFC 8785, 3.2.2.2).
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// Writes the inside of a string.
pub(crate) fn write_escaped(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Writes a finite double: the shortest digits that read back the same, always with a point or an exponent, so
/// that it stays a double.
pub(crate) fn write_double(number: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{number:?}").as_bytes());
}

/// Writes what stands at a slot, canonically.
pub(crate) fn write(document: &Document<'_>, at: At, out: &mut Vec<u8>) {
    write_with(document, at, &|_| None, &mut [], out);
}

/// Members to add to an object: names and canonical values.
pub(crate) type Extra = Vec<(&'static str, Vec<u8>)>;

/// Where something stands in what was written: its first byte, and the one after its last.
pub(crate) type Span = (u32, u32);

/// Writes what stands at a slot, with the members that `extra` adds to objects. Notes where each object stands, by its
/// slot; no `spans`: nothing is noted.
pub(crate) fn write_with<'e>(
    document: &Document<'_>,
    at: At,
    extra: &dyn Fn(At) -> Option<&'e Extra>,
    spans: &mut [Span],
    out: &mut Vec<u8>,
) {
    let slot = document.slot(at);
    match slot.kind {
        Kind::Int if document.raw(at) == "-0" => out.push(b'0'),
        Kind::Null | Kind::True | Kind::False | Kind::Int => out.extend_from_slice(document.raw(at).as_bytes()),
        Kind::Double => match document.raw(at).parse() {
            Ok(number) => write_double(number, out),
            Err(_) => out.extend_from_slice(document.raw(at).as_bytes()),
        },
        Kind::String | Kind::Key if slot.escaped => write_string(&document.string(at), out),
        Kind::String | Kind::Key => out.extend_from_slice(document.raw(at).as_bytes()),
        Kind::Array => {
            out.push(b'[');
            for (i, element) in document.elements(at).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_with(document, element, extra, spans, out);
            }
            out.push(b']');
        }
        Kind::Object => {
            let start = out.len() as u32;
            write_object(document, at, extra, spans, out);
            if let Some(span) = spans.get_mut(at as usize) {
                *span = (start, out.len() as u32);
            }
        }
    }
}

/// Objects of so many members are sorted without an allocation.
const SMALL: usize = 16;

fn write_object<'e>(
    document: &Document<'_>,
    at: At,
    extra: &dyn Fn(At) -> Option<&'e Extra>,
    spans: &mut [Span],
    out: &mut Vec<u8>,
) {
    let added = extra(at);
    let mut small = [(0, 0); SMALL];
    let mut count = 0;
    let mut plain = added.is_none();
    for (key, value) in document.members(at) {
        plain &= count < SMALL && !document.slot(key).escaped;
        if !plain {
            break;
        }
        small[count] = (key, value);
        count += 1;
    }
    if !plain {
        return write_large(document, at, added, extra, spans, out);
    }
    let name = |key: At| {
        let raw = document.raw(key);
        &raw[1..raw.len() - 1]
    };
    let members = &mut small[..count];
    members.sort_unstable_by(|a, b| by_name(name(a.0), name(b.0)));
    out.push(b'{');
    for (i, &(key, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(document.raw(key).as_bytes());
        out.push(b':');
        write_with(document, value, extra, spans, out);
    }
    out.push(b'}');
}

fn write_large<'e>(
    document: &Document<'_>,
    at: At,
    added: Option<&Extra>,
    extra: &dyn Fn(At) -> Option<&'e Extra>,
    spans: &mut [Span],
    out: &mut Vec<u8>,
) {
    enum Member<'x> {
        Slot(At),
        Bytes(&'x [u8]),
    }
    let mut members: Vec<(std::borrow::Cow<'_, str>, Member<'_>)> =
        document.members(at).map(|(key, value)| (document.string(key), Member::Slot(value))).collect();
    if let Some(added) = added {
        members.extend(added.iter().map(|(name, bytes)| ((*name).into(), Member::Bytes(bytes))));
    }
    members.sort_unstable_by(|a, b| by_name(&a.0, &b.0));
    out.push(b'{');
    for (i, (name, member)) in members.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        match member {
            Member::Slot(value) => write_with(document, *value, extra, spans, out),
            Member::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }
    out.push(b'}');
}
