//! What happens to a node. `node` is an instance path: `fetch`, or `m[3].fetch` inside a map.

use super::failure::{Failure, NodeError};
use super::wire::{Flag, Json, Time, message};

message! {
    /// An attempt was handed out.
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
    /// An attempt ended; unless `retry`, the node is decided. `dead` lists the targets of edges that would be live by
    /// the status of the node but whose guard was false. `unknown`: a write that may or may not have happened.
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
