//! What readers of the state see. Everything is looked up within a tenant.

use crate::command::{Fidelity, PutSchedule};
use crate::id::RunId;
use std::sync::Arc;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Accepted and durable; nothing was requested yet.
    Pending,
    /// A job is in flight or ready.
    Running,
    /// Only timers, retries or approvals are waited for.
    Waiting,
    /// Held by a person: nothing new of it is requested.
    Paused,
    /// Something failed or was cancelled; jobs in flight are waited for, then completed steps are undone.
    Compensating,
    /// Ended well.
    Completed,
    /// Ended by a failure.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl RunState {
    /// As on the wire: `PENDING`, ….
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Pending => "PENDING",
            RunState::Running => "RUNNING",
            RunState::Waiting => "WAITING",
            RunState::Paused => "PAUSED",
            RunState::Compensating => "COMPENSATING",
            RunState::Completed => "COMPLETED",
            RunState::Failed => "FAILED",
            RunState::Cancelled => "CANCELLED",
        }
    }

    /// Reads the wire form.
    #[must_use]
    pub fn parse(text: &str) -> Option<RunState> {
        use RunState::{Cancelled, Compensating, Completed, Failed, Paused, Pending, Running, Waiting};
        let all = [Pending, Running, Waiting, Paused, Compensating, Completed, Failed, Cancelled];
        all.into_iter().find(|s| s.as_str() == text)
    }

    /// COMPLETED, FAILED or CANCELLED.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, RunState::Completed | RunState::Failed | RunState::Cancelled)
    }
}

/// A run as its readers see it.
#[derive(Debug, Clone)]
pub struct RunView {
    /// Which.
    pub run_id: RunId,
    /// Whose.
    pub tenant: Arc<str>,
    /// Name of its workflow; empty before `RunStarted`.
    pub workflow: Arc<str>,
    /// Version of its workflow.
    pub version: Arc<str>,
    /// Hash of the IR in force.
    pub ir_hash: [u8; 32],
    /// Where it stands.
    pub state: RunState,
    /// Start, ns since 1970.
    pub started_ns: i64,
    /// End, ns since 1970.
    pub ended_ns: Option<i64>,
    /// Offset of its last event.
    pub offset: u64,
    /// Log position of its last event. The output of an ended run is read there.
    pub head: u64,
    /// Nodes of graph 0 that are decided.
    pub nodes_done: u32,
    /// Nodes of graph 0.
    pub nodes_total: u32,
    /// Instances that are in flight or waited for, at most 8.
    pub phase: Vec<String>,
    /// JSON `{code, type, message, node}` once it is failing.
    pub error: Option<Vec<u8>>,
    /// Correlation id.
    pub correlation: String,
    /// Labels, sorted.
    pub labels: Vec<(String, String)>,
    /// Priority.
    pub priority: apex_ir::ir::Priority,
    /// Number of the IR in force.
    pub epoch: u32,
    /// Patches that it was given: applied, dropped, waiting, rejected.
    pub patches: u32,
    /// Of each record about a patch: the number of the patch, its offset and its log position.
    pub patch_records: Vec<(u32, u64, u64)>,
    /// What is recorded of it.
    pub fidelity: Fidelity,
    /// The goal it was made from.
    pub goal: Option<String>,
    /// The run whose composite node it runs for.
    pub parent_run: Option<RunId>,
    /// Instance path of that node.
    pub parent_node: Option<String>,
    /// The tag that it was started by and its arm, where the tag has some.
    pub drawn: Option<(String, String)>,
    /// The machine stopped working on it after a panic.
    pub quarantined: bool,
}

/// What `Machine::runs` selects. `None` selects all.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// In one of these states; empty: any.
    pub states: Vec<RunState>,
    /// Of this workflow.
    pub workflow: Option<String>,
    /// Of this version.
    pub version: Option<String>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// Started at or after.
    pub started_after_ns: Option<i64>,
    /// Started before.
    pub started_before_ns: Option<i64>,
    /// Started by a composite node of this run.
    pub parent: Option<RunId>,
}

/// A page of something, and where the next one starts (empty: nowhere).
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What it holds.
    pub items: Vec<T>,
    /// Pass it as `page` for what follows.
    pub next: String,
}

/// A decision that a run waits for.
#[derive(Debug, Clone)]
pub struct ApprovalView {
    /// `<run_id>~<instance>`.
    pub ticket: String,
    /// Of which run.
    pub run_id: RunId,
    /// Instance path.
    pub node: String,
    /// What is asked.
    pub prompt: String,
    /// When it was asked, ns since 1970.
    pub requested_ns: i64,
    /// When its time ends.
    pub due_ns: Option<i64>,
    /// Who else was asked after a while.
    pub escalated_to: Vec<String>,
    /// Whose.
    pub tenant: Arc<str>,
    /// Workflow of the run.
    pub workflow: Arc<str>,
    /// Version of the workflow.
    pub version: Arc<str>,
}

/// A node that failed for good.
#[derive(Debug, Clone)]
pub struct DeadLetterView {
    /// `<run_id>~<instance>`.
    pub id: String,
    /// Of which run.
    pub run_id: RunId,
    /// Instance path.
    pub node: String,
    /// The last attempt.
    pub attempt: u32,
    /// Type of its error.
    pub error_type: String,
    /// What it said.
    pub error_message: String,
    /// Workflow of the run.
    pub workflow: Arc<str>,
    /// Version of the workflow.
    pub version: Arc<str>,
    /// The function, or the type of the node.
    pub name: Arc<str>,
    /// When, ns since 1970.
    pub time_ns: i64,
}

/// What `Machine::dead_letters` selects; what is empty selects all.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Of runs of this workflow.
    pub workflow: String,
    /// Of this function.
    pub name: String,
    /// Of this run.
    pub run_id: Option<RunId>,
}

/// A breaker.
#[derive(Debug, Clone)]
pub struct BreakerView {
    /// The function, or the host.
    pub name: String,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Failures in a row since it changed.
    pub failures: u32,
    /// When more is let through, ns since 1970.
    pub due_ns: Option<i64>,
    /// When it changed, ns since 1970.
    pub changed_ns: Option<i64>,
}

/// The answer to a question about a run.
#[derive(Debug, Clone)]
pub struct QueryAnswer {
    /// JSON.
    pub json: Vec<u8>,
    /// Offset of the run's last event then.
    pub offset: u64,
    /// Number of the IR in force then.
    pub epoch: u32,
}

/// A registered version of a workflow.
#[derive(Debug, Clone)]
pub struct WorkflowView {
    /// Name.
    pub name: Arc<str>,
    /// Version.
    pub version: Arc<str>,
    /// Hash of its IR when it was registered.
    pub hash: [u8; 32],
    /// Tags that point at it, sorted.
    pub tags: Vec<String>,
    /// When, ns since 1970.
    pub registered_ns: i64,
    /// Canonical bytes.
    pub definition: Arc<[u8]>,
    /// Where patches made it.
    pub derived: Option<DerivedView>,
}

/// What a version was derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedView {
    /// The version that its patches are on.
    pub base_version: String,
    /// Their patch set.
    pub set: String,
    /// Which version of the set, from 1.
    pub generation: u32,
    /// Ids of the patches in it, in their order.
    pub patches: Vec<String>,
}

/// Where a patch on a workflow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchStatus {
    /// No version has it yet.
    Pending,
    /// The versions of its set have it.
    Applied,
    /// It did not pass a gate.
    Rejected,
    /// Later versions of its set go without it.
    RolledBack,
}

impl PatchStatus {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PatchStatus::Pending => "PENDING",
            PatchStatus::Applied => "APPLIED",
            PatchStatus::Rejected => "REJECTED",
            PatchStatus::RolledBack => "ROLLED_BACK",
        }
    }
}

/// A patch on a workflow.
#[derive(Debug, Clone)]
pub struct WorkflowPatchView {
    /// `<workflow>~w<number>`.
    pub patch_id: String,
    /// Name of the workflow.
    pub workflow: String,
    /// The version that its set stands on.
    pub base_version: String,
    /// Name of its set.
    pub set: String,
    /// The tag that moves to the version with it; empty: none.
    pub tag: String,
    /// RFC 6902, as sent (canonical JSON).
    pub operations: Arc<[u8]>,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was proposed, ns since 1970.
    pub proposed_ns: i64,
    /// When its batch begins, at the latest.
    pub due_ns: i64,
    /// Where it stands.
    pub status: PatchStatus,
    /// The first version with it; empty: there is none.
    pub version: String,
    /// When it was applied or refused.
    pub decided_ns: Option<i64>,
    /// Why it was refused.
    pub refused: Option<RefusedView>,
    /// The first version without it; empty: there is none.
    pub rolled_back_in: String,
    /// Why it was dropped.
    pub rolled_back_reason: String,
}

/// Why a patch on a workflow was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedView {
    /// `shape`, `meaning`, `security` or `limit`.
    pub gate: String,
    /// As of refused commands.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// A JSON object (`{"errors": [{"pointer", "detail"}]}`), or empty.
    pub details: Vec<u8>,
}

/// A tag and its arms.
#[derive(Debug, Clone)]
pub struct TagView {
    /// The tag.
    pub tag: String,
    /// Where it points.
    pub version: String,
    /// Since when it has these arms; `None`: it has none.
    pub began_ns: Option<i64>,
    /// The control (what the tag points at) first.
    pub arms: Vec<ArmView>,
}

/// A part of the starts by a tag, and what became of them.
#[derive(Debug, Clone)]
pub struct ArmView {
    /// `control`, a version, or `<base version>+<set>`: as in runs.
    pub arm: String,
    /// What it runs now.
    pub version: String,
    /// The patch set that it follows; empty: none.
    pub set: String,
    /// How many of a thousand starts.
    pub share: u32,
    /// Runs that started.
    pub started: u64,
    /// Those that ended well.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// How long those took that completed, in all.
    pub duration_sum_ns: u64,
    /// Half, 90 % and 99 % of them took at most this, within 6.25 %; `None`: none completed.
    pub duration_quantiles_ns: [Option<u64>; 3],
}

/// A schedule as its readers see it.
#[derive(Debug, Clone)]
pub struct ScheduleView {
    /// What was put.
    pub spec: PutSchedule,
    /// When it was, ns since 1970.
    pub changed_ns: i64,
    /// It starts nothing.
    pub paused: bool,
    /// The time that it fires for next, without jitter.
    pub next_ns: Option<i64>,
    /// A time that waits for the end of a run.
    pub buffered_ns: Option<i64>,
    /// The times that come next, at most 5; of one schedule that was asked for.
    pub upcoming_ns: Vec<i64>,
    /// Its runs that are open.
    pub runs_open: u32,
    /// The last time that was settled.
    pub last: Option<FiringView>,
}

/// What a time of a schedule came to.
#[derive(Debug, Clone)]
pub struct FiringView {
    /// The time, ns since 1970.
    pub time_ns: i64,
    /// When it was settled.
    pub decided_ns: i64,
    /// `started`, `skipped`, `buffered`, `missed` or `failed`.
    pub action: String,
    /// The run that started.
    pub run_id: String,
    /// Code and message of a start that was refused.
    pub error: Option<(String, String)>,
}

/// What became of patches: kind of author (`client`, `agent`, `optimizer`), outcome (`applied`, `proposed`, `refused` by a
/// gate, `rejected` by a person), and the gate (empty: none).
pub type PatchTally = (&'static str, &'static str, &'static str);

/// Gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub runs_open: u64,
    pub runs_resting: u64,
    pub runs_ended: u64,
    pub jobs_in_flight: u64,
    pub timers: u64,
    pub approvals: u64,
    pub workflows: u64,
    pub schedules: u64,
    pub idempotency_keys: u64,
    pub commands_waiting: u64,
    pub runs_with_backlog: u64,
    pub programs_cached: u64,
    pub replies_waiting: u64,
    pub runs_quarantined: u64,
    pub dead_letters: u64,
    pub dead_letters_pushed_out: u64,
    pub breakers: u64,
    /// Since the process began.
    pub starts: u64,
    pub retries: u64,
    pub compensations: u64,
    pub breaker_changes: u64,
    pub migrations: u64,
    pub patches: u64,
    pub rollbacks: u64,
    /// Patches on workflows that wait for their batch.
    pub workflow_patches_waiting: u64,
    /// Since the process began.
    pub workflow_patches_accepted: u64,
    pub workflow_patches_rejected: u64,
    pub versions_derived: u64,
}
