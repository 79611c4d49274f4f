//! JSON Pointer (RFC 6901): the place of a value in a document.

use crate::document::clip;
use crate::value::Value;
use crate::value::scan::push_token;
use std::fmt;

/// A pointer: the reference tokens from the outside in, unescaped. Empty is the whole document.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Vec<Box<str>>);

/// Why a text is no pointer, or what a pointer does not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointerError {
    /// One sentence for people.
    pub message: String,
}

impl PointerError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Where an array token points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    At(usize),
    /// `-`, the element after the last.
    End,
}

impl Pointer {
    /// A pointer of these tokens.
    pub fn new<S: Into<Box<str>>>(tokens: impl IntoIterator<Item = S>) -> Self {
        Self(tokens.into_iter().map(Into::into).collect())
    }

    /// Reads `/a/b~1c/0`.
    ///
    /// # Errors
    /// A text that is not empty and does not begin with `/`; a `~` that neither `0` nor `1` follows.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let Some(rest) = text.strip_prefix('/') else {
            return match text {
                "" => Ok(Self::default()),
                _ => Err(PointerError::new(format!("the pointer {:?} must be empty or begin with `/`", clip(text)))),
            };
        };
        let unescape = |token: &str| {
            let mut out = String::with_capacity(token.len());
            let mut chars = token.chars();
            while let Some(c) = chars.next() {
                out.push(match (c, c == '~') {
                    (_, true) => match chars.next() {
                        Some('0') => '~',
                        Some('1') => '/',
                        _ => {
                            let message = format!("in the pointer {:?} a `~` is neither `~0` nor `~1`", clip(text));
                            return Err(PointerError::new(message));
                        }
                    },
                    (c, false) => c,
                });
            }
            Ok(out.into_boxed_str())
        };
        Ok(Self(rest.split('/').map(unescape).collect::<Result<_, _>>()?))
    }

    /// Reads `#/a/b`, a pointer as the fragment of a URI (RFC 6901, 6): percent-encoded UTF-8.
    ///
    /// # Errors
    /// As [`Pointer::parse`]; a text without `#`, an incomplete `%`, bytes that are not UTF-8.
    pub fn parse_fragment(text: &str) -> Result<Self, PointerError> {
        let wrong = || PointerError::new(format!("{:?} is no pointer in a URI fragment", clip(text)));
        let mut bytes = text.strip_prefix('#').ok_or_else(wrong)?.bytes();
        let mut out = Vec::with_capacity(text.len());
        while let Some(byte) = bytes.next() {
            let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(wrong);
            out.push(match byte {
                b'%' => (hex(bytes.next())? * 16 + hex(bytes.next())?) as u8,
                byte => byte,
            });
        }
        Self::parse(&String::from_utf8(out).map_err(|_| wrong())?)
    }

    /// Its tokens.
    #[must_use]
    pub fn tokens(&self) -> &[Box<str>] {
        &self.0
    }

    /// It and one token more.
    #[must_use]
    pub fn child(&self, token: &str) -> Self {
        let mut tokens = self.0.clone();
        tokens.push(token.into());
        Self(tokens)
    }

    /// Whether `other` is this place or stands inside it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The value there.
    ///
    /// # Errors
    /// What is missing, or no array index.
    pub fn find<'v>(&self, document: &'v Value) -> Result<&'v Value, PointerError> {
        let mut value = document;
        for (depth, token) in self.0.iter().enumerate() {
            let found = match value {
                Value::Map(map) => map.member(token),
                Value::List(items) => match index(token)? {
                    Index::At(at) => items.get(at),
                    Index::End => None,
                },
                _ => None,
            };
            value = found.ok_or_else(|| self.lost(depth))?;
        }
        Ok(value)
    }

    /// Says that what the token at `depth` names is not there.
    pub(crate) fn lost(&self, depth: usize) -> PointerError {
        let holder = Self(self.0[..depth].to_vec());
        let token = self.0.get(depth).map_or("", |token| token);
        let (token, holder) = (clip(token), holder.shown());
        PointerError::new(format!("{:?} is not there: {holder:?} holds no {token:?}", self.shown()))
    }

    /// As it stands in messages.
    pub(crate) fn shown(&self) -> String {
        clip(&self.to_string()).into_owned()
    }
}

/// The place of an array token (RFC 6901, 4): `0`, or digits without a leading zero, or `-`.
pub(crate) fn index(token: &str) -> Result<Index, PointerError> {
    let none = || PointerError::new(format!("{:?} is no index of an array", clip(token)));
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    match (token, digits) {
        ("-", _) => Ok(Index::End),
        (_, true) if token == "0" || !token.starts_with('0') => token.parse().map(Index::At).map_err(|_| none()),
        _ => Err(none()),
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.iter().for_each(|token| push_token(&mut text, token));
        f.write_str(&text)
    }
}
