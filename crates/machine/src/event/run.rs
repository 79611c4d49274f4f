//! What happens to a run as a whole.

use super::failure::{Failure, NodeError};
use super::patch::Overlaid;
use super::wire::{Amount, Hash, Json, Labels, List, Time, message};

message! {
    /// A goal came in; its plan follows.
    GoalReceived<'a> {
        1 goal: &'a str,
        2 entities: Json<'a>,
    }
}

message! {
    /// The goal became a plan, and the plan a workflow.
    PlanGenerated<'a> {
        1 template: &'a str,
        2 source: &'a str,
        3 workflow: &'a str,
        4 plan: Json<'a>,
    }
}

message! {
    /// A run exists. Says which version of which workflow was resolved; of the child of a composite node, whose it is and
    /// how many runs stand above it; the `schedule` that started it; the patches that it begins with (`overlay`); and, where
    /// it was started by a `tag` with arms, the `arm` that its id came to in the `test` of that number.
    RunStarted<'a> {
        1 workflow: &'a str,
        2 version: &'a str,
        3 ir_hash: Hash,
        4 inputs: Json<'a>,
        5 labels: Labels<'a>,
        6 priority: &'a str,
        7 idempotency_key: &'a str,
        8 request_hash: Hash,
        9 nodes_total: u32,
        10 due: Time,
        11 parent_run: &'a str,
        12 parent_node: &'a str,
        13 depth: Amount,
        14 origin_run: &'a str,
        15 origin_from: &'a str,
        16 mode: &'a str,
        17 fidelity: &'a str,
        18 schedule: &'a str,
        19 overlay: Vec<Overlaid<'a>>,
        20 tag: &'a str,
        21 arm: &'a str,
        22 test: Amount,
    }
}

message! {
    /// Nothing new of the run is requested until it is resumed. `checkpoint`: its state when this was decided.
    RunPaused<'a> {
        1 reason: &'a str,
        2 by: &'a str,
        3 checkpoint: &'a str,
    }
}

message! {
    /// The run goes on.
    RunResumed<'a> {
        1 by: &'a str,
    }
}

message! {
    /// The state of the run as of `offset` has a name.
    CheckpointCreated<'a> {
        1 checkpoint_id: &'a str,
        2 offset: u64,
    }
}

message! {
    /// The run goes on under another version of its workflow; every record from here on is of the new epoch. `due`: when
    /// the whole run is out of time now.
    RunMigrated<'a> {
        1 version: &'a str,
        2 ir_hash: Hash,
        3 epoch: u32,
        4 nodes_total: u32,
        5 due: Time,
        6 previous_version: &'a str,
        7 by: &'a str,
    }
}

message! {
    /// Someone wants the run to end.
    RunCancelled<'a> {
        1 reason: &'a str,
        2 by: &'a str,
        3 compensate: bool,
    }
}

message! {
    /// The run ended well. `key_expires`: until then its idempotency key is kept; `ended_max`: how many ended runs stay
    /// listed (both are limits, and a fold reads no limit).
    WorkflowCompleted<'a> {
        1 output: Json<'a>,
        2 key_expires: Time,
        3 ended_max: u64,
    }
}

message! {
    /// What the compensation of one node came to.
    StepResult<'a> {
        1 step_id: &'a str,
        2 success: bool,
        3 error: Option<NodeError<'a>>,
    }
}

message! {
    /// The run ended otherwise; with code `CANCELLED` it was cancelled.
    WorkflowFailed<'a> {
        1 error: Option<Failure<'a>>,
        2 compensation_executed: bool,
        3 compensation_results: List<StepResult<'a>>,
        4 key_expires: Time,
        5 ended_max: u64,
    }
}
