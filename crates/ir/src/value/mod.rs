//! User values: JSON bytes everywhere, a tree only while an expression is evaluated.
//!
//! `check` says whether bytes are a value (contracts.md, "Values"), `cut` finds a member in them without building
//! anything, `parse` builds a [`Value`], `canonical` gives the bytes that are hashed.

use std::sync::Arc;

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueLimits {
    /// Bytes.
    pub bytes_max: usize,
    /// Nesting of arrays and objects.
    pub depth_max: usize,
}

impl Default for ValueLimits {
    fn default() -> Self {
        Self { bytes_max: 4 << 20, depth_max: 128 }
    }
}

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// Stable code, for programs.
    pub code: &'static str,
    /// Byte at which it was seen.
    pub offset: usize,
    /// JSON pointer (RFC 6901) of the place.
    pub pointer: String,
    /// One sentence for people.
    pub message: String,
}

/// A value while an expression looks at it.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`
    Null,
    /// A truth value.
    Bool(bool),
    /// An exact integer.
    Int(i64),
    /// Any other number; finite when it comes from or goes to JSON.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// A list.
    List(Arc<Vec<Value>>),
    /// A map in insertion order.
    Map(Arc<Map>),
    /// An instant, ns since 1970 (CEL `timestamp`); RFC 3339 text in JSON.
    Timestamp(i128),
    /// A span, ns (CEL `duration`); seconds with the unit, `1.5s`, in JSON.
    Duration(i64),
    /// A type (CEL `type(x)`); its name in JSON.
    Type(&'static str),
}

/// A map in insertion order.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Value, Value)>,
}

/// Checks that `bytes` are one JSON value as contracts.md has it: UTF-8, integers within int64, finite doubles, no
/// duplicate keys, no lone surrogates, nesting within the limit.
///
/// # Errors
/// The first fault.
pub fn check(_bytes: &[u8], _limits: &ValueLimits) -> Result<(), ValueError> {
    unimplemented!()
}

/// Builds the tree of a value.
///
/// # Errors
/// As [`check`].
pub fn parse(_bytes: &[u8], _limits: &ValueLimits) -> Result<Value, ValueError> {
    unimplemented!()
}

/// The canonical bytes of a value: no spaces, members by UTF-16 code units of their names (RFC 8785), integers as
/// they are, other numbers in the shortest form that reads back the same and always with a point or an exponent.
///
/// # Errors
/// As [`check`].
pub fn canonical(_bytes: &[u8], _limits: &ValueLimits) -> Result<Vec<u8>, ValueError> {
    unimplemented!()
}

/// The raw bytes of a member: `path` is member names from the outside in. `bytes` must have passed [`check`];
/// other bytes give `None` or a slice without meaning, never a panic.
#[must_use]
pub fn cut<'a, S: AsRef<str>>(_bytes: &'a [u8], _path: &[S]) -> Option<&'a [u8]> {
    unimplemented!()
}

impl Value {
    /// Writes the value as JSON.
    pub fn write(&self, _out: &mut Vec<u8>) {
        unimplemented!()
    }
}
