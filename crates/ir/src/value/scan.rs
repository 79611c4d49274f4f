//! The reader of JSON (RFC 8259): bytes in, a flat [`Document`] or the first fault out. One pass, no recursion.

use super::{ValueError, ValueLimits};
use std::borrow::Cow;

/// What stands in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number without point and exponent, within int64.
    Int,
    /// Any other number, finite.
    Double,
    /// A string; its slot holds whether it has escapes.
    String,
    /// The name of a member; the slot after it is the value.
    Key,
    /// An array; its elements follow.
    Array,
    /// An object; its members follow, each a key and a value.
    Object,
}

/// A value, a key, or the opening of an array or object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    /// What it is.
    pub(crate) kind: Kind,
    /// Strings and keys: has escapes.
    pub(crate) escaped: bool,
    /// First byte.
    pub(crate) start: u32,
    /// After the last byte.
    pub(crate) end: u32,
    /// The slot after this one and all that is inside it.
    pub(crate) next: u32,
}

/// Index of a slot.
pub(crate) type At = u32;

/// A JSON text and its slots, in document order; slot 0 is the whole.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    /// The text.
    pub(crate) text: &'a str,
    /// Its slots.
    pub(crate) slots: Vec<Slot>,
}

/// Where slots go; a check keeps none.
trait Sink {
    /// Puts a slot, gives its index.
    fn put(&mut self, slot: Slot) -> u32;
    /// An array or object ended.
    fn close(&mut self, at: u32, end: u32);
}

struct Nowhere;
impl Sink for Nowhere {
    fn put(&mut self, _: Slot) -> u32 {
        0
    }
    fn close(&mut self, _: u32, _: u32) {}
}

impl Sink for Vec<Slot> {
    #[inline]
    fn put(&mut self, slot: Slot) -> u32 {
        let at = self.len() as u32;
        self.push(Slot { next: at + 1, ..slot });
        at
    }
    #[inline]
    fn close(&mut self, at: u32, end: u32) {
        let next = self.len() as u32;
        let slot = &mut self[at as usize];
        slot.end = end;
        slot.next = next;
    }
}

/// An open array or object.
struct Frame {
    object: bool,
    at: u32,
    /// Arrays: elements begun. Objects: where its keys begin in `keys`.
    count: u32,
}

#[derive(Clone, Copy)]
struct KeySpan {
    start: u32,
    end: u32,
    escaped: bool,
}

struct Scanner<'a, S> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    frames: Vec<Frame>,
    keys: Vec<KeySpan>,
    sink: S,
}

/// Checks without building.
pub(crate) fn check(bytes: &[u8], limits: &ValueLimits) -> Result<(), ValueError> {
    scan(bytes, limits, Nowhere).map(|_| ())
}

/// Reads a document.
pub(crate) fn read<'a>(bytes: &'a [u8], limits: &ValueLimits) -> Result<Document<'a>, ValueError> {
    // A slot per 8 bytes is what real definitions have (measured on the compile bench: one per 7.4 bytes).
    let (text, slots) = scan(bytes, limits, Vec::with_capacity(bytes.len().min(limits.bytes_max) / 8 + 4))?;
    Ok(Document { text, slots })
}

fn scan<'a, S: Sink>(bytes: &'a [u8], limits: &ValueLimits, sink: S) -> Result<(&'a str, S), ValueError> {
    if bytes.len() > limits.bytes_max || u32::try_from(bytes.len()).is_err() {
        return Err(ValueError {
            code: "LIMIT_EXCEEDED",
            offset: limits.bytes_max,
            pointer: String::new(),
            message: format!("{} bytes are more than the limit of {}", bytes.len(), limits.bytes_max),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ValueError {
        code: "BAD_JSON",
        offset: error.valid_up_to(),
        pointer: String::new(),
        message: format!("not UTF-8 at byte {}", error.valid_up_to()),
    })?;
    let mut scanner = Scanner { text, bytes, pos: 0, frames: Vec::new(), keys: Vec::new(), sink };
    scanner.run(limits.depth_max)?;
    Ok((text, scanner.sink))
}

impl<S: Sink> Scanner<'_, S> {
    fn run(&mut self, depth_max: usize) -> Result<(), ValueError> {
        'value: loop {
            self.blank();
            let start = self.pos;
            match self.bytes.get(start) {
                Some(b'{') => {
                    self.open(true, depth_max)?;
                    self.blank();
                    if self.bytes.get(self.pos) == Some(&b'}') {
                        self.pos += 1;
                        self.close()?;
                    } else {
                        self.key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.open(false, depth_max)?;
                    self.blank();
                    if self.bytes.get(self.pos) == Some(&b']') {
                        self.pos += 1;
                        self.close()?;
                    } else {
                        if let Some(frame) = self.frames.last_mut() {
                            frame.count = 1;
                        }
                        continue 'value;
                    }
                }
                Some(b'"') => {
                    let escaped = self.string()?;
                    self.leaf(Kind::String, start, escaped);
                }
                Some(b'-' | b'0'..=b'9') => {
                    let kind = self.number()?;
                    self.leaf(kind, start, false);
                }
                Some(b't') => self.word("true", Kind::True)?,
                Some(b'f') => self.word("false", Kind::False)?,
                Some(b'n') => self.word("null", Kind::Null)?,
                Some(_) => {
                    let rest = &self.text[start..];
                    let what = if rest.starts_with("NaN") || rest.starts_with("Infinity") {
                        "NaN and Infinity are no JSON numbers".to_owned()
                    } else {
                        format!("expected a value, found {}", self.seen())
                    };
                    return Err(self.fault(what));
                }
                None => return Err(self.fault("the text ends where a value should stand".to_owned())),
            }
            // After a value: what the innermost open array or object goes on with.
            loop {
                self.blank();
                let Some(frame) = self.frames.last_mut() else {
                    return if self.pos == self.bytes.len() {
                        Ok(())
                    } else {
                        Err(self.fault(format!("expected the end of the text, found {}", self.seen())))
                    };
                };
                match (self.bytes.get(self.pos), frame.object) {
                    (Some(b','), true) => {
                        self.pos += 1;
                        self.blank();
                        self.key()?;
                        continue 'value;
                    }
                    (Some(b','), false) => {
                        frame.count += 1;
                        self.pos += 1;
                        continue 'value;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.pos += 1;
                        self.close()?;
                    }
                    (_, object) => {
                        let closing = if object { "`,` or `}`" } else { "`,` or `]`" };
                        return Err(self.fault(format!("expected {closing}, found {}", self.seen())));
                    }
                }
            }
        }
    }

    #[inline]
    fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
    }

    fn open(&mut self, object: bool, depth_max: usize) -> Result<(), ValueError> {
        if self.frames.len() >= depth_max {
            let mut fault = self.fault(format!("nested deeper than {depth_max}"));
            fault.code = "LIMIT_EXCEEDED";
            return Err(fault);
        }
        let kind = if object { Kind::Object } else { Kind::Array };
        let at = self.sink.put(Slot { kind, escaped: false, start: self.pos as u32, end: 0, next: 0 });
        self.frames.push(Frame { object, at, count: if object { self.keys.len() as u32 } else { 0 } });
        self.pos += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), ValueError> {
        if let Some(&Frame { object: true, count, .. }) = self.frames.last() {
            self.unique(count as usize)?;
            self.keys.truncate(count as usize);
        }
        if let Some(frame) = self.frames.pop() {
            self.sink.close(frame.at, self.pos as u32);
        }
        Ok(())
    }

    fn leaf(&mut self, kind: Kind, start: usize, escaped: bool) {
        self.sink.put(Slot { kind, escaped, start: start as u32, end: self.pos as u32, next: 0 });
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<(), ValueError> {
        let start = self.pos;
        if !self.bytes[start..].starts_with(word.as_bytes()) {
            return Err(self.fault(format!("expected a value, found {}", self.seen())));
        }
        self.pos += word.len();
        self.leaf(kind, start, false);
        Ok(())
    }

    fn key(&mut self) -> Result<(), ValueError> {
        let start = self.pos;
        if self.bytes.get(start) != Some(&b'"') {
            return Err(self.fault(format!("expected a member name in quotes, found {}", self.seen())));
        }
        let escaped = self.string()?;
        self.leaf(Kind::Key, start, escaped);
        self.keys.push(KeySpan { start: start as u32, end: self.pos as u32, escaped });
        self.blank();
        if self.bytes.get(self.pos) != Some(&b':') {
            return Err(self.fault(format!("expected `:`, found {}", self.seen())));
        }
        self.pos += 1;
        Ok(())
    }

    /// Reads a string from its opening quote; says whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, ValueError> {
        let open = self.pos;
        let mut escaped = false;
        self.pos += 1;
        loop {
            // The text is UTF-8 already, so only three kinds of byte need a look.
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1f) => {
                    return Err(self.fault("a control character must be escaped in a string".to_owned()));
                }
                Some(_) => self.pos += 1,
                None => {
                    self.pos = open;
                    return Err(self.fault("a string has no end".to_owned()));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), ValueError> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 2,
            Some(b'u') => match hex4(self.bytes, self.pos + 2) {
                Some(0xd800..=0xdbff) => {
                    let low = (self.bytes.get(self.pos + 6..self.pos + 8) == Some(b"\\u"))
                        .then(|| hex4(self.bytes, self.pos + 8))
                        .flatten();
                    if !matches!(low, Some(0xdc00..=0xdfff)) {
                        return Err(self.fault("a lone surrogate is no character".to_owned()));
                    }
                    self.pos += 12;
                }
                Some(0xdc00..=0xdfff) => return Err(self.fault("a lone surrogate is no character".to_owned())),
                Some(_) => self.pos += 6,
                None => return Err(self.fault("`\\u` needs four hexadecimal digits".to_owned())),
            },
            _ => return Err(self.fault("no such escape".to_owned())),
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<Kind, ValueError> {
        let start = self.pos;
        let mut pos = start;
        let digits = |mut at: usize| {
            while self.bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        if self.bytes[pos] == b'-' {
            pos += 1;
        }
        let whole = pos;
        pos = digits(pos);
        let mut bad = pos == whole || (pos - whole > 1 && self.bytes[whole] == b'0');
        let mut kind = Kind::Int;
        if !bad && self.bytes.get(pos) == Some(&b'.') {
            kind = Kind::Double;
            let end = digits(pos + 1);
            bad = end == pos + 1;
            pos = end;
        }
        if !bad && matches!(self.bytes.get(pos), Some(b'e' | b'E')) {
            kind = Kind::Double;
            let sign = usize::from(matches!(self.bytes.get(pos + 1), Some(b'+' | b'-')));
            let end = digits(pos + 1 + sign);
            bad = end == pos + 1 + sign;
            pos = end;
        }
        if bad {
            return Err(self.fault("no JSON number".to_owned()));
        }
        let text = &self.text[start..pos];
        if kind == Kind::Int {
            // 18 digits always fit.
            if pos - whole > 18 && text.parse::<i64>().is_err() {
                return Err(self.fault("the integer is outside int64; write it as a string".to_owned()));
            }
        } else if !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(self.fault("the number is too large for a double".to_owned()));
        }
        self.pos = pos;
        Ok(kind)
    }

    /// Refuses a name that stands twice in the object whose keys begin at `first`.
    fn unique(&mut self, first: usize) -> Result<(), ValueError> {
        let keys = &self.keys[first..];
        let text = self.text;
        let plain = |key: &KeySpan| &text[key.start as usize + 1..key.end as usize - 1];
        let mut twice = None;
        if keys.len() <= 12 && !keys.iter().any(|key| key.escaped) {
            'all: for (i, key) in keys.iter().enumerate().skip(1) {
                for before in &keys[..i] {
                    if plain(before) == plain(key) {
                        twice = Some(*key);
                        break 'all;
                    }
                }
            }
        } else {
            let mut names: Vec<(Cow<'_, str>, u32)> = keys
                .iter()
                .enumerate()
                .map(|(i, key)| {
                    let name = if key.escaped { Cow::Owned(unescape(plain(key))) } else { Cow::Borrowed(plain(key)) };
                    (name, i as u32)
                })
                .collect();
            names.sort_unstable();
            let second = names.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).min();
            twice = second.map(|i| keys[i as usize]);
        }
        let Some(key) = twice else { return Ok(()) };
        self.pos = key.start as usize;
        let name = unescape(plain(&key));
        self.keys.truncate(first);
        self.keys.push(key);
        Err(self.fault(format!("the member {name:?} stands twice")))
    }

    fn seen(&self) -> String {
        match self.text.get(self.pos..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("{c:?}"),
            None => "the end of the text".to_owned(),
        }
    }

    /// The fault at the place reached, with the pointer from the open frames.
    fn fault(&self, message: String) -> ValueError {
        let mut pointer = String::new();
        for (i, frame) in self.frames.iter().enumerate() {
            if frame.object {
                let end = self.frames[i + 1..].iter().find(|inner| inner.object).map(|inner| inner.count as usize);
                let keys = &self.keys[frame.count as usize..end.unwrap_or(self.keys.len())];
                if let Some(key) = keys.last() {
                    let name = unescape(&self.text[key.start as usize + 1..key.end as usize - 1]);
                    push_token(&mut pointer, &name);
                }
            } else if frame.count > 0 {
                pointer.push('/');
                pointer.push_str(&(frame.count - 1).to_string());
            }
        }
        let line = self.bytes[..self.pos.min(self.bytes.len())].iter().filter(|&&byte| byte == b'\n').count() + 1;
        ValueError {
            code: "BAD_JSON",
            offset: self.pos,
            pointer,
            message: format!("{message} (line {line}, byte {})", self.pos),
        }
    }
}

/// Appends a reference token of RFC 6901.
pub(crate) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |sum, &byte| Some(sum * 16 + char::from(byte).to_digit(16)?))
}

/// The text between the quotes of a checked string, escapes resolved.
pub(crate) fn unescape(inner: &str) -> String {
    let bytes = inner.as_bytes();
    let mut out = String::with_capacity(inner.len());
    let mut pos = 0;
    while let Some(found) = bytes[pos..].iter().position(|&byte| byte == b'\\') {
        out.push_str(&inner[pos..pos + found]);
        pos += found + 2;
        match bytes.get(pos - 1) {
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'n') => out.push('\n'),
            Some(b'r') => out.push('\r'),
            Some(b't') => out.push('\t'),
            Some(b'u') => {
                let mut code = hex4(bytes, pos).unwrap_or(0xfffd);
                pos += 4;
                if (0xd800..0xdc00).contains(&code) {
                    let low = hex4(bytes, pos + 2).unwrap_or(0xdc00).max(0xdc00);
                    code = 0x10000 + ((code - 0xd800) << 10) + ((low - 0xdc00) & 0x3ff);
                    pos += 6;
                }
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            Some(&other) => out.push(char::from(other)),
            None => return out,
        }
        if pos >= bytes.len() {
            return out;
        }
    }
    out.push_str(&inner[pos..]);
    out
}

impl<'a> Document<'a> {
    /// The slot.
    #[inline]
    pub(crate) fn slot(&self, at: At) -> Slot {
        self.slots[at as usize]
    }

    /// What stands there.
    #[inline]
    pub(crate) fn kind(&self, at: At) -> Kind {
        self.slots[at as usize].kind
    }

    /// Its text as written.
    #[inline]
    pub(crate) fn raw(&self, at: At) -> &'a str {
        let slot = self.slot(at);
        &self.text[slot.start as usize..slot.end as usize]
    }

    /// The text of a string or key, escapes resolved.
    #[inline]
    pub(crate) fn string(&self, at: At) -> Cow<'a, str> {
        let slot = self.slot(at);
        let inner = &self.text[slot.start as usize + 1..slot.end as usize - 1];
        if slot.escaped { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) }
    }

    /// The members of an object: (key, value).
    pub(crate) fn members(&self, at: At) -> Members<'_, 'a> {
        let slot = self.slot(at);
        Members { document: self, next: at + 1, end: slot.next }
    }

    /// The elements of an array.
    pub(crate) fn elements(&self, at: At) -> Elements<'_, 'a> {
        let slot = self.slot(at);
        Elements { document: self, next: at + 1, end: slot.next }
    }
}

/// Members of an object.
pub(crate) struct Members<'d, 'a> {
    document: &'d Document<'a>,
    next: At,
    end: At,
}

impl Iterator for Members<'_, '_> {
    type Item = (At, At);

    #[inline]
    fn next(&mut self) -> Option<(At, At)> {
        (self.next < self.end).then(|| {
            let key = self.next;
            self.next = self.document.slots[key as usize + 1].next;
            (key, key + 1)
        })
    }
}

/// Elements of an array.
pub(crate) struct Elements<'d, 'a> {
    document: &'d Document<'a>,
    next: At,
    end: At,
}

impl Iterator for Elements<'_, '_> {
    type Item = At;

    #[inline]
    fn next(&mut self) -> Option<At> {
        (self.next < self.end).then(|| {
            let at = self.next;
            self.next = self.document.slots[at as usize].next;
            at
        })
    }
}
