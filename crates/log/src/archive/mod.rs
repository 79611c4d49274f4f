//! Old segments, compressed, in the same place of the log.
//!
//! Holds: the bytes of an archive, how one is made of a segment, how a record is found in it, and the thread that makes
//! them. An archive has its name only when it was read back and gave the segment byte for byte; then it takes the
//! segment's place, and the segment is removed. Never on the way of an append.

mod bytes;
mod cache;
mod keeper;
mod make;
mod opened;
mod read;

pub(crate) use cache::Cache;
pub(crate) use keeper::{Keeper, Shelf};
pub(crate) use make::make_anew;
pub(crate) use read::Archive;

const SUFFIX: &str = ".archive";

pub(crate) fn name_of(base: u64) -> String {
    format!("{base:020}{SUFFIX}")
}

pub(crate) fn base_of(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?.parse().ok()
}
