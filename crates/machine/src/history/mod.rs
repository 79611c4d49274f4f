//! The history of one run, away from its log: read from a file, folded up to an offset, decided anew and compared.
//!
//! May know records, events, the fold and the decisions; changes no machine but its own. In: the bodies of all records
//! of one run, from offset 0. Out: a [`RunView`](crate::view::RunView), where its nodes stand, what a question about it
//! gives, or the first record that this engine would not
//! have made.

mod drive;
mod file;
mod fold;
mod nodes;
mod query;
mod schedule;

pub use drive::{Checked, check};
pub use file::{History, header};
pub use fold::view_at;
pub(crate) use fold::{Record, read};
pub use nodes::{NodeState, node_states};
pub use query::query;

use std::fmt;

/// A history cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryError {
    /// It is none, or of a version that is not known here.
    Format(String),
    /// A record cannot be read, was changed, or does not follow from those before it.
    Record {
        /// Of the run.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// This engine decides otherwise.
    Differs(Box<Difference>),
}

/// The first record that is not decided again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of the run.
    pub offset: u64,
    /// What the history says: type and payload, or `nothing`.
    pub recorded: String,
    /// What this engine decides.
    pub decided: String,
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HistoryError::Format(reason) => f.write_str(reason),
            HistoryError::Record { offset, reason } => write!(f, "record {offset}: {reason}"),
            HistoryError::Differs(found) => write!(
                f,
                "record {} is decided otherwise: the history has {}, this engine decides {}",
                found.offset, found.recorded, found.decided
            ),
        }
    }
}

impl std::error::Error for HistoryError {}
