//! What a run waits for.

use super::failure::Failure;
use super::node::Kept;
use super::wire::{Flag, Json, Time, message};

message! {
    /// A timer node waits.
    TimerStarted<'a> {
        1 node: &'a str,
        2 due: Time,
    }
}

message! {
    /// Time is up: for a timer node (which is decided by it), or for what `timer` names: `run` or `compensation`.
    TimerFired<'a> {
        1 node: &'a str,
        2 timer: &'a str,
        3 output: Json<'a>,
        8 dead: Vec<&'a str>,
        9 kept_all: Flag,
        10 kept: Vec<Kept<'a>>,
        11 fails: Option<Failure<'a>>,
        30 copied: Flag,
    }
}

message! {
    /// A person is asked.
    ApprovalRequested<'a> {
        1 node: &'a str,
        2 ticket: &'a str,
        3 prompt: &'a str,
        4 due: Time,
    }
}

message! {
    /// A person, or the end of the time (`timed_out`), decided.
    ApprovalResolved<'a> {
        1 node: &'a str,
        2 ticket: &'a str,
        3 decision: &'a str,
        4 reason: &'a str,
        5 by: &'a str,
        6 edits: Json<'a>,
        7 timed_out: bool,
        12 output: Json<'a>,
        8 dead: Vec<&'a str>,
        9 kept_all: Flag,
        10 kept: Vec<Kept<'a>>,
        11 fails: Option<Failure<'a>>,
        30 copied: Flag,
    }
}
