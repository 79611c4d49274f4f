//! What happens to the definition of one run (docs/decisions/0017).

use super::wire::{Flag, Hash, Json, Time, message};

message! {
    /// The run goes on under the definition that the patch makes; every record from here on is of the new epoch.
    /// `operations`: on ids, what it does; `patch`: as it was sent. `definition_hash`: of the IR of base and overlay.
    /// `approved`: it was proposed, and a person let it through; `patch` stands in the proposal.
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
        13 approved: Flag,
        14 approved_by: &'a str,
        15 approval_reason: &'a str,
    }
}

message! {
    /// A patch has passed the gates and waits for a person. Nothing of the run changes.
    PatchProposed<'a> {
        1 number: u32,
        2 operations: Json<'a>,
        3 patch: Json<'a>,
        4 author: &'a str,
        5 reason: &'a str,
        6 base_epoch: u32,
        7 idempotency_key: &'a str,
        8 request_hash: Hash,
    }
}

message! {
    /// A patch does not take effect. Of one in a result: `gate` (`shape`, `meaning`, `security`; empty: as the run stands)
    /// and `code` say why, `details` where (`{"errors": [{"pointer", "detail"}]}`). Of one that was proposed: `by` and
    /// `decision_reason` of the person; its `author` and `patch` stand in the proposal. `kept_max`: how many of those that were
    /// refused in results stay listed; 0: all.
    PatchRejected<'a> {
        1 number: u32,
        2 patch: Json<'a>,
        3 author: &'a str,
        4 reason: &'a str,
        5 base_epoch: u32,
        6 gate: &'a str,
        7 code: &'a str,
        8 message: &'a str,
        9 details: Json<'a>,
        10 by: &'a str,
        11 decision_reason: &'a str,
        12 kept_max: u64,
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
