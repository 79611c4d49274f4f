//! Payloads are protobuf (proto3) messages. Read without copying, written without building a tree: a field borrows
//! from the record or from what the decision holds. `message!` makes a struct, its encoding and its JSON of one list
//! of fields, so that the three cannot differ.

use crate::error::BadRecord;
use crate::time::write_rfc3339;

/// What is left of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
const FIXED32: u8 = 5;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, BadRecord> {
        let mut value = 0u64;
        for (n, &byte) in self.bytes.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                self.bytes = &self.bytes[n + 1..];
                return Ok(value);
            }
        }
        Err(BadRecord::Payload)
    }

    pub(crate) fn take(&mut self) -> Result<&'a [u8], BadRecord> {
        let length = usize::try_from(self.varint()?).map_err(|_| BadRecord::Payload)?;
        let (head, rest) = self.bytes.split_at_checked(length).ok_or(BadRecord::Payload)?;
        self.bytes = rest;
        Ok(head)
    }

    /// Number and wire type of the next field; `None` at the end.
    pub(crate) fn field(&mut self) -> Result<Option<(u32, u8)>, BadRecord> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        Ok(Some((u32::try_from(key >> 3).map_err(|_| BadRecord::Payload)?, (key & 7) as u8)))
    }

    /// Passes over a field that a newer version wrote.
    pub(crate) fn skip(&mut self, wire: u8) -> Result<(), BadRecord> {
        let fixed = match wire {
            VARINT => return self.varint().map(|_| ()),
            BYTES => return self.take().map(|_| ()),
            FIXED64 => 8,
            FIXED32 => 4,
            _ => return Err(BadRecord::Payload),
        };
        self.bytes = self.bytes.get(fixed..).ok_or(BadRecord::Payload)?;
        Ok(())
    }
}

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_key(number: u32, wire: u8, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire), out);
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_key(number, BYTES, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Writes a message of unknown length behind its length: one byte is kept for it, and the rest moves where that is not
/// enough.
pub(crate) fn put_nested(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_key(number, BYTES, out);
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(10);
        put_varint(length as u64, &mut prefix);
        out.splice(start..=start, prefix);
    }
}

fn want(wire: u8, wanted: u8) -> Result<(), BadRecord> {
    if wire == wanted { Ok(()) } else { Err(BadRecord::Payload) }
}

fn text(bytes: &[u8]) -> Result<&str, BadRecord> {
    std::str::from_utf8(bytes).map_err(|_| BadRecord::Text)
}

/// Writes a JSON string.
pub(crate) fn write_json_str(text: &str, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn write_number(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
}

/// A type that a field of a message can have.
pub(crate) trait Field<'a>: Default {
    /// Not written on the wire.
    fn is_default(&self) -> bool;
    /// Not written in JSON either.
    fn is_omitted(&self) -> bool {
        self.is_default()
    }
    fn put(&self, number: u32, out: &mut Vec<u8>);
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord>;
    fn render(&self, out: &mut Vec<u8>);
}

/// A message.
pub(crate) trait Message<'a>: Default {
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(bytes: &'a [u8]) -> Result<Self, BadRecord>;
    fn render_message(&self, out: &mut Vec<u8>);
}

impl<'a> Field<'a> for &'a str {
    fn is_default(&self) -> bool {
        self.is_empty()
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        put_bytes(number, self.as_bytes(), out);
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, BYTES)?;
        *self = text(reader.take()?)?;
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        write_json_str(self, out);
    }
}

macro_rules! number {
    ($type:ty) => {
        impl<'a> Field<'a> for $type {
            fn is_default(&self) -> bool {
                *self == 0
            }
            fn is_omitted(&self) -> bool {
                false
            }
            fn put(&self, number: u32, out: &mut Vec<u8>) {
                put_key(number, VARINT, out);
                put_varint(*self as u64, out);
            }
            fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
                want(wire, VARINT)?;
                *self = reader.varint()? as $type;
                Ok(())
            }
            fn render(&self, out: &mut Vec<u8>) {
                write_number(self, out);
            }
        }
    };
}
number!(u32);
number!(u64);
number!(i64);

impl<'a> Field<'a> for bool {
    fn is_default(&self) -> bool {
        !self
    }
    fn is_omitted(&self) -> bool {
        false
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        put_key(number, VARINT, out);
        out.push(u8::from(*self));
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, VARINT)?;
        *self = reader.varint()? != 0;
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

/// A truth value that is not shown where it is false.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl<'a> Field<'a> for Flag {
    fn is_default(&self) -> bool {
        !self.0
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        self.0.put(number, out);
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        self.0.take(wire, reader)
    }
    fn render(&self, out: &mut Vec<u8>) {
        self.0.render(out);
    }
}

/// A number that is not shown where it is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount(pub(crate) i64);

impl<'a> Field<'a> for Amount {
    fn is_default(&self) -> bool {
        self.0 == 0
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        self.0.put(number, out);
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        self.0.take(wire, reader)
    }
    fn render(&self, out: &mut Vec<u8>) {
        self.0.render(out);
    }
}

/// A user value: JSON bytes. Empty: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Json<'a>(pub(crate) &'a [u8]);

impl<'a> Field<'a> for Json<'a> {
    fn is_default(&self) -> bool {
        self.0.is_empty()
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        put_bytes(number, self.0, out);
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, BYTES)?;
        self.0 = reader.take()?;
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

/// A SHA-256; all zero: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) [u8; 32]);

impl<'a> Field<'a> for Hash {
    fn is_default(&self) -> bool {
        self.0 == [0; 32]
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        put_bytes(number, &self.0, out);
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, BYTES)?;
        self.0 = reader.take()?.try_into().map_err(|_| BadRecord::Payload)?;
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"sha256:");
        for byte in self.0 {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        out.push(b'"');
    }
}

/// An instant, ns since 1970; RFC 3339 in JSON. 0: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) i64);

impl<'a> Field<'a> for Time {
    fn is_default(&self) -> bool {
        self.0 == 0
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        self.0.put(number, out);
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        self.0.take(wire, reader)
    }
    fn render(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        write_rfc3339(self.0, out);
        out.push(b'"');
    }
}

/// `map<string, string>`; a JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels<'a>(pub(crate) Vec<(&'a str, &'a str)>);

impl<'a> Field<'a> for Labels<'a> {
    fn is_default(&self) -> bool {
        self.0.is_empty()
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for (key, value) in &self.0 {
            put_nested(number, out, |out| {
                put_bytes(1, key.as_bytes(), out);
                put_bytes(2, value.as_bytes(), out);
            });
        }
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, BYTES)?;
        let mut entry = Reader::new(reader.take()?);
        let (mut key, mut value) = ("", "");
        while let Some((number, wire)) = entry.field()? {
            match number {
                1 => key.take(wire, &mut entry)?,
                2 => value.take(wire, &mut entry)?,
                _ => entry.skip(wire)?,
            }
        }
        self.0.push((key, value));
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (n, (key, value)) in self.0.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_json_str(key, out);
            out.push(b':');
            write_json_str(value, out);
        }
        out.push(b'}');
    }
}

impl<'a> Field<'a> for Vec<&'a str> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for text in self {
            put_bytes(number, text.as_bytes(), out);
        }
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, BYTES)?;
        self.push(text(reader.take()?)?);
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (n, text) in self.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_json_str(text, out);
        }
        out.push(b']');
    }
}

/// Messages in order; shown even where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<M>(pub(crate) Vec<M>);

impl<M> Default for List<M> {
    fn default() -> List<M> {
        List(Vec::new())
    }
}

impl<'a, M: Message<'a>> Field<'a> for List<M> {
    fn is_default(&self) -> bool {
        self.0.is_empty()
    }
    fn is_omitted(&self) -> bool {
        false
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        self.0.put(number, out);
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        self.0.take(wire, reader)
    }
    fn render(&self, out: &mut Vec<u8>) {
        self.0.render(out);
    }
}

impl<'a, M: Message<'a>> Field<'a> for Vec<M> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        for message in self {
            put_nested(number, out, |out| message.encode(out));
        }
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, BYTES)?;
        self.push(M::decode(reader.take()?)?);
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (n, message) in self.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            message.render_message(out);
        }
        out.push(b']');
    }
}

impl<'a, M: Message<'a>> Field<'a> for Option<M> {
    fn is_default(&self) -> bool {
        self.is_none()
    }
    fn put(&self, number: u32, out: &mut Vec<u8>) {
        if let Some(message) = self {
            put_nested(number, out, |out| message.encode(out));
        }
    }
    fn take(&mut self, wire: u8, reader: &mut Reader<'a>) -> Result<(), BadRecord> {
        want(wire, BYTES)?;
        *self = Some(M::decode(reader.take()?)?);
        Ok(())
    }
    fn render(&self, out: &mut Vec<u8>) {
        if let Some(message) = self {
            message.render_message(out);
        }
    }
}

/// Writes the name of a field and a colon. A field that is a Rust keyword is written raw in the list.
pub(crate) fn put_name(field: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(field.strip_prefix("r#").unwrap_or(field).as_bytes());
    out.extend_from_slice(b"\":");
}

macro_rules! message {
    ($(#[$doc:meta])* $name:ident$(<$life:lifetime>)? { $($number:literal $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub(crate) struct $name$(<$life>)? {
            $(pub(crate) $field: $type,)*
        }

        impl<'a> $crate::event::wire::Message<'a> for message!(@type $name $($life)?) {
            fn encode(&self, out: &mut Vec<u8>) {
                use $crate::event::wire::Field;
                $(if !Field::is_default(&self.$field) {
                    Field::put(&self.$field, $number, out);
                })*
                let _ = out;
            }

            fn decode(bytes: &'a [u8]) -> Result<Self, $crate::error::BadRecord> {
                use $crate::event::wire::Field;
                let mut message = Self::default();
                let mut reader = $crate::event::wire::Reader::new(bytes);
                while let Some((number, wire)) = reader.field()? {
                    match number {
                        $($number => Field::take(&mut message.$field, wire, &mut reader)?,)*
                        _ => reader.skip(wire)?,
                    }
                }
                Ok(message)
            }

            fn render_message(&self, out: &mut Vec<u8>) {
                use $crate::event::wire::Field;
                out.push(b'{');
                let start = out.len();
                $(if !Field::is_omitted(&self.$field) {
                    if out.len() > start {
                        out.push(b',');
                    }
                    $crate::event::wire::put_name(stringify!($field), out);
                    Field::render(&self.$field, out);
                })*
                out.push(b'}');
            }
        }
    };
    (@type $name:ident $life:lifetime) => { $name<'a> };
    (@type $name:ident) => { $name };
}
pub(crate) use message;
