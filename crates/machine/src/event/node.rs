//! What happens to a node. `node` is an instance path: `fetch`, or `m[3].fetch` inside a map.

use super::failure::{Failure, NodeError};
use super::wire::{Amount, Flag, Json, Time, message};

message! {
    /// An attempt was handed out. `close_by`: when the time of all attempts is over; `breaker`: the one that counts its
    /// outcome. With kind `correction` the model `name` is asked for another input, after attempt `attempt` failed.
    /// `omitted`: input and config follow from the state (0012).
    /// `rate_name`: the tool whose rate it counts for; `priority`: the node's own.
    ToolCallRequested<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 max_attempts: u32,
        4 kind: &'a str,
        5 name: &'a str,
        6 input: Json<'a>,
        7 config: Json<'a>,
        8 timeout_ns: i64,
        9 effect: &'a str,
        10 compensation: &'a str,
        11 close_by: Time,
        12 heartbeat_ns: Amount,
        13 breaker: &'a str,
        20 omitted: Flag,
        30 rate_name: &'a str,
        31 rate_interval_ns: Amount,
        32 priority: &'a str,
    }
}

message! {
    /// A part of an output that expressions read; `path` is a JSON Pointer (RFC 6901).
    Kept<'a> {
        1 path: &'a str,
        2 value: Json<'a>,
    }
}

message! {
    /// `copied`: taken over from the run that this one replays. An attempt ended; unless `retry`, the node is decided. `dead` lists the targets of edges that would be live by
    /// the status of the node but whose guard was false. `unknown`: a write that may or may not have happened.
    /// `fallback`: the breaker was open, and this is what the node gives instead. `health`: what the breaker counts, `ok`
    /// or `failed`; with `cached_max` the output is kept for its fallback, of so many. `dead_letter`: a `DeadLettered`
    /// follows. `correct`: a model is asked for another input before the next attempt.
    /// `signal`: offset of the signal that it took, which had come before.
    ToolResultReceived<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 status: &'a str,
        4 output: Json<'a>,
        5 error: Option<NodeError<'a>>,
        6 retry: Flag,
        7 unknown: Flag,
        8 dead: Vec<&'a str>,
        9 kept_all: Flag,
        10 kept: Vec<Kept<'a>>,
        11 fails: Option<Failure<'a>>,
        12 fallback: Flag,
        13 health: &'a str,
        14 cached_max: Amount,
        15 dead_letter: Flag,
        16 correct: Flag,
        30 copied: Flag,
        31 signal: Amount,
    }
}

message! {
    /// A sign of life of an attempt, which came at `time`. `progress`: given back to the next attempt; none: as before.
    HeartbeatRecorded<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 progress: Json<'a>,
        4 time: Time,
    }
}

message! {
    /// The node failed for good, and nobody took care of that: it is listed until it is tried again or dropped. The
    /// oldest leave where more than `letters_max` are listed.
    DeadLettered<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 error: Option<NodeError<'a>>,
        4 name: &'a str,
        5 letters_max: u64,
    }
}

message! {
    /// No token will reach the node.
    NodeSkipped<'a> {
        1 node: &'a str,
    }
}

message! {
    /// The next attempt waits until `due`. `error`: why, for a compensation (a node has its `ToolResultReceived`).
    NodeRetryScheduled<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 due: Time,
        4 compensation: Flag,
        5 error: Option<NodeError<'a>>,
    }
}

message! {
    /// An item of a map begins, or an iteration of a loop. The first item carries the whole list and how many `items`
    /// it has; an iteration has none of these, its `last` stands in the `ScopeClosed` before.
    ScopeOpened<'a> {
        1 node: &'a str,
        2 index: u32,
        3 item: Json<'a>,
        4 over: Json<'a>,
        5 items: u32,
    }
}

message! {
    /// An item or an iteration ended: `ok`, `failed` or `cancelled`. `fails`: so does its map or loop.
    ScopeClosed<'a> {
        1 node: &'a str,
        2 index: u32,
        3 status: &'a str,
        4 output: Json<'a>,
        5 error: Option<NodeError<'a>>,
        6 fails: Flag,
    }
}
