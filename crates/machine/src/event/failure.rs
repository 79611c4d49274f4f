//! Why something failed, as it stands within other events.

use super::wire::{Flag, message};

message! {
    /// Why a node failed.
    NodeError<'a> {
        1 r#type: &'a str,
        2 message: &'a str,
    }
}

message! {
    /// Why a run fails, or (with `item`) only the item of a map that the node stands in.
    Failure<'a> {
        1 code: &'a str,
        2 r#type: &'a str,
        3 message: &'a str,
        4 node: &'a str,
        5 item: Flag,
    }
}
