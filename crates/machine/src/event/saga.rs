//! Undoing.

use super::failure::{Failure, NodeError};
use super::wire::{Json, Time, message};

message! {
    /// A model proposes another input for attempt `attempt`, after the one before failed.
    CorrectionProposed<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 input: Json<'a>,
        4 reason: &'a str,
    }
}

message! {
    /// What will be undone, in this order. Recorded once, when nothing of the run is in flight any more.
    CompensationPlanned<'a> {
        1 error: Option<Failure<'a>>,
        2 steps: Vec<&'a str>,
        3 due: Time,
    }
}

message! {
    /// An attempt to undo a node was handed out.
    CompensationRequested<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 max_attempts: u32,
        4 name: &'a str,
        5 input: Json<'a>,
        6 timeout_ns: i64,
    }
}

message! {
    /// The node is undone, or will not be.
    CompensationCompleted<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 success: bool,
        4 error: Option<NodeError<'a>>,
    }
}
