//! What happens to the definition of one run (docs/decisions/0017).

use super::wire::{Hash, Json, Time, message};

message! {
    /// The run goes on under the definition that the patch makes; every record from here on is of the new epoch.
    /// `operations`: on ids, what it does; `patch`: as it was sent. `definition_hash`: of the IR of base and overlay.
    PatchApplied<'a> {
        1 number: u32,
        2 operations: Json<'a>,
        3 patch: Json<'a>,
        4 author: &'a str,
        5 reason: &'a str,
        6 base_epoch: u32,
        7 epoch: u32,
        8 definition_hash: Hash,
        9 nodes_total: u32,
        10 due: Time,
        11 idempotency_key: &'a str,
        12 request_hash: Hash,
    }
}

message! {
    /// The run goes on without one of its patches.
    PatchRolledBack<'a> {
        1 number: u32,
        2 epoch: u32,
        3 definition_hash: Hash,
        4 nodes_total: u32,
        5 due: Time,
        6 reason: &'a str,
        7 by: &'a str,
    }
}

message! {
    /// A patch that a run begins with: one of the run that it replays.
    Overlaid<'a> {
        1 operations: Json<'a>,
    }
}
