//! What a run waits for.

use super::failure::Failure;
use super::node::Kept;
use super::wire::{Amount, Flag, Json, Time, message};

message! {
    /// A node waits for a time. `timer` empty: a timer node; `signal`: for the signal `name`, until `due` at most; `rate`:
    /// for its turn at the tool `name`, whose next call may come `interval_ns` after this one.
    TimerStarted<'a> {
        1 node: &'a str,
        2 due: Time,
        3 timer: &'a str,
        4 name: &'a str,
        5 interval_ns: Amount,
    }
}

message! {
    /// Time is up: for a timer node (which is decided by it), or for what `timer` names: `run`, `compensation`, `signal`
    /// (the node is decided by it); `retry` and `rate` in a run that is paused.
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
        5 escalate_due: Time,
    }
}

message! {
    /// Others are asked as well.
    ApprovalEscalated<'a> {
        1 node: &'a str,
        2 ticket: &'a str,
        3 to: Vec<&'a str>,
    }
}

message! {
    /// A signal came. `node`: it waited for it and is decided; without one it is kept until a node asks for it.
    SignalReceived<'a> {
        1 name: &'a str,
        2 payload: Json<'a>,
        3 node: &'a str,
        4 idempotency_key: &'a str,
        5 by: &'a str,
        12 output: Json<'a>,
        8 dead: Vec<&'a str>,
        9 kept_all: Flag,
        10 kept: Vec<Kept<'a>>,
        11 fails: Option<Failure<'a>>,
    }
}

message! {
    /// A node holds the key, or (not `granted`) stands in line for it.
    LockAcquired<'a> {
        1 node: &'a str,
        2 key: &'a str,
        3 granted: bool,
    }
}

message! {
    /// A node that held the key is decided.
    LockReleased<'a> {
        1 node: &'a str,
        2 key: &'a str,
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
