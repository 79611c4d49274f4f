//! What is asked of the machine. Every user value is raw JSON bytes.

use crate::id::RunId;
pub use crate::state::schedule::Overlap;
use apex_ir::FunctionTable;
pub use apex_ir::ir::Priority;
pub use apex_ir::overlay::{Allowed, Grant};
use std::sync::Arc;

/// A command. `step` takes it with the caller's token; token 0 wants no reply.
#[derive(Debug, Clone)]
pub enum Command {
    /// Adds a version of a workflow.
    RegisterWorkflow(RegisterWorkflow),
    /// Points a tag at a version.
    TagWorkflow(TagWorkflow),
    /// Changes a workflow: with the next batch, a version is derived.
    PatchWorkflow(Box<PatchWorkflow>),
    /// Derives a version without such a change.
    UnpatchWorkflow(UnpatchWorkflow),
    /// Starts a run.
    StartRun(Box<StartRun>),
    /// Starts a run from what another one did.
    ReplayRun(Box<ReplayRun>),
    /// The records that a replayed run needs after a crash.
    SupplyHistory(SupplyHistory),
    /// Sets a schedule.
    PutSchedule(Box<PutSchedule>),
    /// Pauses, resumes or removes one.
    ChangeSchedule(ChangeSchedule),
    /// Ends a run before its time.
    CancelRun(CancelRun),
    /// Holds a run.
    PauseRun(PauseRun),
    /// Lets a held run go on.
    ResumeRun(ResumeRun),
    /// Moves a run to another version of its workflow.
    MigrateRun(MigrateRun),
    /// Changes the definition of a run.
    ApplyPatch(Box<ApplyPatch>),
    /// Decides about a change that is held for a person.
    ApprovePatch(ApprovePatch),
    /// Drops such a change.
    RollbackPatch(RollbackPatch),
    /// Tells a run something.
    SignalRun(SignalRun),
    /// Tells every run of a tenant that waits for it.
    PublishSignal(PublishSignal),
    /// Decides what a run waits for.
    ResolveApproval(ResolveApproval),
    /// The outcome of one attempt of a job.
    JobResult(JobResult),
    /// A sign of life of one.
    Heartbeat(Heartbeat),
    /// Takes a dead letter off the list.
    DropDeadLetter(DropDeadLetter),
    /// Forgets a tenant, or one run.
    Erase(Erase),
    /// Time has passed: fire what is due.
    Tick,
}

/// Registers a definition under the name and version that it states.
#[derive(Debug, Clone)]
pub struct RegisterWorkflow {
    /// Whose.
    pub tenant: String,
    /// The definition, with the defaults of functions filled in (`Ir::canonical`).
    pub definition: Vec<u8>,
    /// A tag to point at it. Without one, the first version of a workflow gets `main`.
    pub tag: Option<String>,
}

/// Points a tag at a version.
#[derive(Debug, Clone)]
pub struct TagWorkflow {
    /// Whose.
    pub tenant: String,
    /// Workflow.
    pub name: String,
    /// Version.
    pub version: String,
    /// Tag.
    pub tag: String,
    /// If set, the tag must point here now.
    pub expected_version: Option<String>,
    /// What shares of the starts by the tag run instead. The same arms on the same version go on as the same test.
    pub arms: Vec<Arm>,
}

/// A part of the starts by a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// What it runs.
    pub runs: Runs,
    /// How many of a thousand starts.
    pub share: u32,
}

/// What an arm runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// This version.
    Version(String),
    /// The last generation of this patch set on the base of the version that the tag points at.
    Set(String),
}

/// Changes a workflow. The patch waits for its batch; then it is judged as it follows on those before it, and a version is
/// derived of the base and all patches of the set.
#[derive(Debug, Clone)]
pub struct PatchWorkflow {
    /// Whose.
    pub tenant: String,
    /// Workflow.
    pub name: String,
    /// On which version; a tag moves to what is derived. A derived version stands for its set.
    pub selector: Selector,
    /// Name of the patch set; empty: that of the derived version that is patched, else `patches`.
    pub set: String,
    /// RFC 6902, on the definition as the patches before this one make it.
    pub operations: Vec<u8>,
    /// Why.
    pub reason: String,
    /// Who: a person, or `optimizer:<pass>@<version>`.
    pub author: String,
    /// Empty: every command is a patch.
    pub idempotency_key: String,
    /// What becomes of it. None is held for a person: `Approve` is met where a person asks for it, and refuses it else.
    pub policy: PatchPolicy,
    /// What the author may beside what the definition does.
    pub grant: apex_ir::overlay::Grant,
    /// The batch does not wait for others.
    pub at_once: bool,
}

/// Derives a version without a patch of a workflow. Tags that point at the last generation of its set move along.
#[derive(Debug, Clone)]
pub struct UnpatchWorkflow {
    /// Whose.
    pub tenant: String,
    /// `<workflow>~w<number>`.
    pub patch_id: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// What they may.
    pub grant: Grant,
}

/// Which version of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// This one.
    Version(String),
    /// Where this tag points.
    Tag(String),
    /// Where `main` points; without that tag, the version registered last.
    Latest,
}

/// What is recorded of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fidelity {
    /// Every change, in a record of its own.
    #[default]
    Full,
    /// The same decisions, those of a turn in one record, without what follows from the state.
    Fast,
}

impl Fidelity {
    /// Reads the wire form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Fidelity> {
        [Fidelity::Full, Fidelity::Fast].into_iter().find(|fidelity| fidelity.as_str() == text)
    }

    /// As written on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Fidelity::Full => "full",
            Fidelity::Fast => "fast",
        }
    }
}

/// Starts a run.
#[derive(Debug, Clone)]
pub struct StartRun {
    /// Whose.
    pub tenant: String,
    /// The id that the run will have; carries its partition.
    pub run_id: RunId,
    /// Name of the workflow.
    pub workflow: String,
    /// Which version.
    pub selector: Selector,
    /// A JSON object.
    pub inputs: Vec<u8>,
    /// Empty: every command starts a run.
    pub idempotency_key: String,
    /// Hash of what the client asked; another one under the same key is refused.
    pub request_hash: [u8; 32],
    /// Correlation id; empty: the run id.
    pub correlation: String,
    /// Order among what is ready.
    pub priority: Priority,
    /// For filtering; sorted by the machine.
    pub labels: Vec<(String, String)>,
    /// What is recorded of it; `None`: what the machine was configured to.
    pub fidelity: Option<Fidelity>,
    /// Where the run came from a goal.
    pub goal: Option<Goal>,
    /// The schedule that starts it; empty: none does.
    pub schedule: String,
}

/// Sets a schedule: what it starts, and when. The same again changes nothing; anything else replaces it, and its times
/// are counted from now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutSchedule {
    /// Whose.
    pub tenant: String,
    /// 1 to 128 of `A-Za-z0-9_.-`.
    pub name: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Which version, resolved at each start.
    pub selector: Selector,
    /// A JSON object.
    pub inputs: Vec<u8>,
    /// At which times.
    pub timing: Timing,
    /// A start comes later by less than this, differently for each time.
    pub jitter_ns: i64,
    /// What happens while a run of it is open.
    pub overlap: Overlap,
    /// A time that is met later than this is missed.
    pub catch_up_ns: i64,
    /// Order among what is ready.
    pub priority: apex_ir::ir::Priority,
    /// Labels of its runs, beside `schedule`.
    pub labels: Vec<(String, String)>,
    /// The input that gets the time (RFC 3339); empty: none.
    pub time_input: String,
}

/// At which times a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timing {
    /// A cron expression of five fields in a time zone (IANA name; empty: UTC).
    Cron {
        /// `minute hour day-of-month month day-of-week`.
        expression: String,
        /// Where.
        time_zone: String,
    },
    /// At the multiples of so many nanoseconds since 1970.
    Every(i64),
}

/// Pauses, resumes or removes a schedule.
#[derive(Debug, Clone)]
pub struct ChangeSchedule {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub name: String,
    /// How.
    pub change: ScheduleChange,
}

/// What is done to a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ScheduleChange {
    Pause,
    Resume,
    Remove,
}

/// The sentence that became a plan, recorded before the run starts.
#[derive(Debug, Clone)]
pub struct Goal {
    /// The sentence.
    pub text: String,
    /// What was found in it (JSON list).
    pub entities: Vec<u8>,
    /// The sentence with its entities as typed slots.
    pub template: String,
    /// Where the plan came from: `cache` or `model`.
    pub source: String,
    /// The plan (JSON).
    pub plan: Vec<u8>,
}

/// Starts a run from what another one did.
#[derive(Debug, Clone)]
pub struct ReplayRun {
    /// Whose.
    pub tenant: String,
    /// The id that the new run will have.
    pub run_id: RunId,
    /// The run that is replayed.
    pub origin: RunId,
    /// Instance path: it and what comes after it run again. Empty: everything.
    pub from: String,
    /// Everything runs again, with the same inputs.
    pub live: bool,
    /// Another version; `None`: the last one of the origin.
    pub version: Option<String>,
    /// Nodes that write may run.
    pub allow_writes: bool,
    /// Empty: every command starts a run.
    pub idempotency_key: String,
    /// Hash of what the client asked.
    pub request_hash: [u8; 32],
    /// All records of the origin, each after its length.
    pub history: Vec<u8>,
}

/// The records of the run that a run replays. Empty: they are gone.
#[derive(Debug, Clone)]
pub struct SupplyHistory {
    /// The run that waits for them.
    pub run_id: RunId,
    /// Each after its length.
    pub history: Vec<u8>,
}

/// Ends a run before its time.
#[derive(Debug, Clone)]
pub struct CancelRun {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub run_id: RunId,
    /// Why.
    pub reason: String,
    /// Undo what completed.
    pub compensate: bool,
    /// Who.
    pub by: String,
}

/// Holds a run: nothing new of it is requested, what is in flight ends and is recorded.
#[derive(Debug, Clone)]
pub struct PauseRun {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub run_id: RunId,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// Lets a held run go on.
#[derive(Debug, Clone)]
pub struct ResumeRun {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub run_id: RunId,
    /// Who.
    pub by: String,
}

/// Moves a run to another version of its workflow: from then on it goes on under that one.
#[derive(Debug, Clone)]
pub struct MigrateRun {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub run_id: RunId,
    /// To which version.
    pub selector: Selector,
    /// Who.
    pub by: String,
}

/// Changes the definition of a run: from then on it goes on under what the patch makes of it.
#[derive(Debug, Clone)]
pub struct ApplyPatch {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub run_id: RunId,
    /// RFC 6902, on the definition at `base_epoch`.
    pub operations: Vec<u8>,
    /// Why.
    pub reason: String,
    /// Who: a client, `agent:<instance path>`, or `optimizer:<pass>@<version>`.
    pub author: String,
    /// `None`: the one in force.
    pub base_epoch: Option<u32>,
    /// Refused where the run is in another epoch than `base_epoch`: it is not brought over to that one.
    pub exact: bool,
    /// Empty: every command is a patch.
    pub idempotency_key: String,
    /// What the author may.
    pub rules: Arc<PatchRules>,
}

/// Decides about a patch that a policy holds for a person.
#[derive(Debug, Clone)]
pub struct ApprovePatch {
    /// Whose.
    pub tenant: String,
    /// `<run_id>~p<number>`.
    pub patch_id: String,
    /// Apply or reject it.
    pub approve: bool,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// What its author may: it passes the gates once more.
    pub rules: Arc<PatchRules>,
}

/// Drops a patch of a run.
#[derive(Debug, Clone)]
pub struct RollbackPatch {
    /// Whose.
    pub tenant: String,
    /// `<run_id>~p<number>`.
    pub patch_id: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// What they may: an approval that the patch added is not taken away by somebody who may not.
    pub rules: Arc<PatchRules>,
}

/// What authors of patches may, by their kind.
#[derive(Debug, Clone)]
pub struct PatchRules {
    /// People and programs that ask for a patch.
    pub client: PatchRule,
    /// Nodes that propose one in their result.
    pub agent: PatchRule,
    /// Passes of the optimizer.
    pub optimizer: PatchRule,
    /// Fills in what nodes that a patch adds do not state, as at registration; `None`: functions are taken as named.
    pub functions: Option<Arc<FunctionTable>>,
}

/// What one kind of author may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchRule {
    /// What becomes of a patch that passes the gates.
    pub policy: PatchPolicy,
    /// What it may reach beside what the definition does already.
    pub grant: Grant,
}

/// What becomes of the patches of a kind of author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchPolicy {
    /// They take effect at once.
    Apply,
    /// They are held until a person has approved them.
    Approve,
    /// There are none.
    Refuse,
}

impl PatchPolicy {
    /// The form of the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PatchPolicy::Apply => "apply",
            PatchPolicy::Approve => "approve",
            PatchPolicy::Refuse => "refuse",
        }
    }

    /// Reads the form of the settings.
    #[must_use]
    pub fn parse(text: &str) -> Option<PatchPolicy> {
        [PatchPolicy::Apply, PatchPolicy::Approve, PatchPolicy::Refuse]
            .into_iter()
            .find(|policy| policy.as_str() == text)
    }
}

impl PatchRules {
    /// Everybody may anything, at once.
    #[must_use]
    pub fn open() -> PatchRules {
        let rule = PatchRule { policy: PatchPolicy::Apply, grant: Grant::all() };
        PatchRules { client: rule.clone(), agent: rule.clone(), optimizer: rule, functions: None }
    }

    /// The rule for an author.
    #[must_use]
    pub fn of(&self, author: &str) -> &PatchRule {
        match author_kind(author) {
            "agent" => &self.agent,
            "optimizer" => &self.optimizer,
            _ => &self.client,
        }
    }
}

/// The kind of an author: `agent`, `optimizer` or `client`.
#[must_use]
pub fn author_kind(author: &str) -> &'static str {
    match author.split_once(':') {
        Some(("agent", _)) => "agent",
        Some(("optimizer", _)) => "optimizer",
        _ => "client",
    }
}

/// Tells a run something: a node that waits for it is decided, else it is kept for one that will.
#[derive(Debug, Clone)]
pub struct SignalRun {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub run_id: RunId,
    /// What nodes wait for.
    pub name: String,
    /// A JSON value; empty: null.
    pub payload: Vec<u8>,
    /// Empty: every command is a signal. Else the run takes one of them.
    pub idempotency_key: String,
    /// Who.
    pub by: String,
}

/// Tells every run of a tenant that waits for a signal of this name. A run that does not wait for it gets none.
#[derive(Debug, Clone)]
pub struct PublishSignal {
    /// Whose.
    pub tenant: String,
    /// What nodes wait for.
    pub name: String,
    /// A JSON value; empty: null.
    pub payload: Vec<u8>,
    /// Empty: every command is an event. Else each run takes one of them.
    pub idempotency_key: String,
    /// Who.
    pub by: String,
}

/// Decides what a run waits for.
#[derive(Debug, Clone)]
pub struct ResolveApproval {
    /// Whose.
    pub tenant: String,
    /// `<run_id>~<instance>`.
    pub ticket: String,
    /// Approve or reject.
    pub approve: bool,
    /// Why.
    pub reason: String,
    /// A JSON value for the node's output.
    pub edits: Option<Vec<u8>>,
    /// Who.
    pub by: String,
}

/// The outcome of one attempt of a job. One that is no longer current changes nothing.
#[derive(Debug, Clone)]
pub struct JobResult {
    /// `Job::id`.
    pub job: u64,
    /// `Job::attempt`.
    pub attempt: u32,
    /// What came of it.
    pub outcome: Outcome,
}

/// A sign of life of one attempt of a job. One that is no longer current changes nothing.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// `Job::id`.
    pub job: u64,
    /// `Job::attempt`.
    pub attempt: u32,
    /// How far it is (JSON); empty: nothing new. The next attempt gets it back.
    pub progress: Vec<u8>,
}

/// Takes a dead letter off the list.
#[derive(Debug, Clone)]
pub struct DropDeadLetter {
    /// Whose.
    pub tenant: String,
    /// `<run_id>~<instance>`.
    pub id: String,
    /// Who.
    pub by: String,
    /// The run that tries again; empty: nobody does.
    pub retried_as: String,
}

/// Forgets a tenant with all that it has, or one ended run with those that ran for it. The records of it are the log's to erase.
#[derive(Debug, Clone)]
pub struct Erase {
    /// Whose.
    pub tenant: String,
    /// `None`: everything of the tenant, of which no run may be open.
    pub run_id: Option<RunId>,
    /// Who.
    pub by: String,
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A JSON value.
    Ok(Vec<u8>),
    /// A JSON value, and a patch that is decided before it is routed.
    Patched(Vec<u8>, Box<ResultPatch>),
    /// It failed.
    Failed {
        /// Name of the error, matched against `non_retryable` and `by_error`.
        kind: String,
        /// A sentence.
        message: String,
        /// What the executor knows about trying again; `None`: the policy decides.
        retryable: Option<bool>,
    },
    /// The executor gave up waiting.
    TimedOut {
        /// A sentence.
        message: String,
    },
    /// It was cancelled.
    Cancelled {
        /// A sentence.
        message: String,
    },
}

/// A patch in the result of an agent node, which is its author.
#[derive(Debug, Clone)]
pub struct ResultPatch {
    /// RFC 6902, on the definition at `base_epoch`.
    pub operations: Vec<u8>,
    /// Why.
    pub reason: String,
    /// The epoch of the definition that the agent was shown (`Patching::epoch`).
    pub base_epoch: u32,
    /// What agents may.
    pub rules: Arc<PatchRules>,
}
