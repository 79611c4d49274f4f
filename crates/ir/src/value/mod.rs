//! User values: JSON bytes everywhere, a tree only while an expression is evaluated.
//!
//! [`check`] says whether bytes are a value (contracts.md, "Values"), [`cut`] finds a member in them without
//! building anything, [`parse`] builds a [`Value`], [`canonical`] gives the bytes that are hashed.

pub(crate) mod canonical;
mod cut;
pub(crate) mod scan;
pub(crate) mod tree;

pub use cut::cut;
pub use tree::{Map, Value};

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
    /// `BAD_JSON` or `LIMIT_EXCEEDED`.
    pub code: &'static str,
    /// Byte at which it was seen.
    pub offset: usize,
    /// JSON pointer (RFC 6901) of the place.
    pub pointer: String,
    /// One sentence for people.
    pub message: String,
}

/// Checks that `bytes` are one JSON value as contracts.md has it: UTF-8, integers within int64, finite doubles, no
/// duplicate keys, no lone surrogates, size and nesting within the limits.
///
/// # Errors
/// The first fault.
pub fn check(bytes: &[u8], limits: &ValueLimits) -> Result<(), ValueError> {
    scan::check(bytes, limits)
}

/// Builds the tree of a value.
///
/// # Errors
/// As [`check`].
pub fn parse(bytes: &[u8], limits: &ValueLimits) -> Result<Value, ValueError> {
    Ok(tree::build(&scan::read(bytes, limits)?, 0))
}

/// The canonical bytes of a value: no spaces, members by UTF-16 code units of their names (RFC 8785), integers as
/// they are, other numbers in the shortest form that reads back the same and always with a point or an exponent.
///
/// # Errors
/// As [`check`].
pub fn canonical(bytes: &[u8], limits: &ValueLimits) -> Result<Vec<u8>, ValueError> {
    let document = scan::read(bytes, limits)?;
    let mut out = Vec::with_capacity(bytes.len());
    canonical::write(&document, 0, &mut out);
    Ok(out)
}
