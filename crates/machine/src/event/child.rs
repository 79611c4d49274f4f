//! What happens between a composite node and the run that it starts.

use super::failure::{Failure, NodeError};
use super::node::Kept;
use super::wire::{Flag, Json, message};

message! {
    /// A composite node starts a run of `version` of `workflow`, whose own first record follows.
    ChildStarted<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 max_attempts: u32,
        4 child: &'a str,
        5 workflow: &'a str,
        6 version: &'a str,
        7 inputs: Json<'a>,
        8 timeout_ns: i64,
        9 compensation: &'a str,
    }
}

message! {
    /// That run ends, which its own last record says next; or (`taken_back`) it is not waited for any more, and cancels
    /// itself. Unless `retry`, the node is decided.
    ChildEnded<'a> {
        1 node: &'a str,
        2 attempt: u32,
        3 child: &'a str,
        4 status: &'a str,
        5 output: Json<'a>,
        6 error: Option<NodeError<'a>>,
        7 retry: Flag,
        8 dead: Vec<&'a str>,
        9 kept_all: Flag,
        10 kept: Vec<Kept<'a>>,
        11 fails: Option<Failure<'a>>,
        12 taken_back: Flag,
    }
}
