//! What happens to definitions.

use super::failure::NodeError;
use super::wire::{Amount, Hash, Json, Labels, Time, message};

message! {
    /// A version of a workflow stands in the registry, for good. With a `set`: it is the `generation` of that patch set on
    /// `base_version`, made of its patches in force.
    WorkflowRegistered<'a> {
        1 name: &'a str,
        2 version: &'a str,
        3 hash: Hash,
        4 definition: Json<'a>,
        5 base_version: &'a str,
        6 set: &'a str,
        7 generation: Amount,
    }
}

message! {
    /// A tag points at a version; `arms`: shares of the starts by it run something else, as the test with this number.
    WorkflowTagged<'a> {
        1 name: &'a str,
        2 tag: &'a str,
        3 version: &'a str,
        4 previous_version: &'a str,
        5 arms: Vec<TaggedArm<'a>>,
        6 test: Amount,
    }
}

message! {
    /// What so many thousandths of the starts by a tag run: a version, or the last generation of a patch set on
    /// `base_version`.
    TaggedArm<'a> {
        1 version: &'a str,
        2 set: &'a str,
        3 share: u32,
        4 base_version: &'a str,
    }
}

message! {
    /// A patch on a workflow waits for its batch, until `due` at the latest. `patch`: as it was sent; `grant`: what its
    /// author may beside what the definition does; `tag`: what moves to the version that the patch ends up in.
    WorkflowPatchProposed<'a> {
        1 name: &'a str,
        2 number: u32,
        3 base_version: &'a str,
        4 set: &'a str,
        5 tag: &'a str,
        6 patch: Json<'a>,
        7 author: &'a str,
        8 reason: &'a str,
        9 idempotency_key: &'a str,
        10 request_hash: Hash,
        11 grant: Json<'a>,
        12 due: Time,
    }
}

message! {
    /// A patch on a workflow is in its set from now on: its `operations`, on ids, follow those before it. The batch that
    /// takes it ends with the patch `batch`.
    WorkflowPatchAccepted<'a> {
        1 name: &'a str,
        2 number: u32,
        3 operations: Json<'a>,
        4 batch: u32,
    }
}

message! {
    /// A patch on a workflow did not pass a gate, which changes nothing for the others. `kept_max`: how many refused ones
    /// stay listed.
    WorkflowPatchRejected<'a> {
        1 name: &'a str,
        2 number: u32,
        3 gate: &'a str,
        4 code: &'a str,
        5 message: &'a str,
        6 details: Json<'a>,
        7 batch: u32,
        8 kept_max: u64,
    }
}

message! {
    /// The next generation of its set goes without a patch.
    WorkflowPatchRolledBack<'a> {
        1 name: &'a str,
        2 number: u32,
        3 reason: &'a str,
        4 by: &'a str,
    }
}

message! {
    /// A breaker is `open`, `half_open` or `closed` from now on; until `due` an open one lets nothing through, a half-open
    /// one no more than its probes.
    BreakerChanged<'a> {
        1 name: &'a str,
        2 state: &'a str,
        3 due: Time,
    }
}

message! {
    /// A dead letter is listed no more: it was dropped, or tried again as the run `retried_as`.
    DeadLetterDropped<'a> {
        1 run_id: &'a str,
        2 node: &'a str,
        3 by: &'a str,
        4 retried_as: &'a str,
    }
}

message! {
    /// A tenant is forgotten with all that it had; with a `run_id`, that run and those that ran for it. What was recorded of it
    /// before this is not folded again: a snapshot stands for it (decision 0014).
    Erased<'a> {
        1 run_id: &'a str,
        2 by: &'a str,
    }
}

message! {
    /// A schedule changed: `change` is `put` (with all that it says), `paused`, `resumed` or `removed`. `next`: the time
    /// it fires for next (none: never again); `due`: when it does, jitter included.
    ScheduleChanged<'a> {
        1 name: &'a str,
        2 change: &'a str,
        3 workflow: &'a str,
        4 version: &'a str,
        5 tag: &'a str,
        6 inputs: Json<'a>,
        7 cron: &'a str,
        8 time_zone: &'a str,
        9 every_ns: i64,
        10 jitter_ns: i64,
        11 overlap: &'a str,
        12 catch_up_ns: i64,
        13 priority: &'a str,
        14 labels: Labels<'a>,
        15 time_input: &'a str,
        16 next: Time,
        17 due: Time,
    }
}

message! {
    /// A time of a schedule is settled: its run `started`, it was `skipped` or `buffered` (a run of the schedule is open),
    /// `missed` (too late; so is every other before `next`), or the start was refused (`failed`). `run`: the run that
    /// started.
    ScheduleFired<'a> {
        1 name: &'a str,
        2 time: Time,
        3 action: &'a str,
        4 run: &'a str,
        5 error: Option<NodeError<'a>>,
        6 next: Time,
        7 due: Time,
    }
}
