//! What the machine gives back: a turn to make durable, and what its durability releases.

use crate::id::RunId;
use crate::view::RunState;
use std::sync::Arc;

/// What a step decided: records to append, all or nothing.
#[derive(Debug, Default)]
pub struct Turn {
    /// Record bodies, each after its length (u32, little-endian).
    pub records: Vec<u8>,
    /// How many.
    pub count: u32,
    /// Position of the log after them.
    pub position: u64,
    /// The turn was full: call `step` again, with or without new commands.
    pub more: bool,
}

/// What a durable position releases.
#[derive(Debug, Default)]
pub struct Released {
    /// To hand to executors.
    pub jobs: Vec<Job>,
    /// Ids of jobs whose result nobody waits for any more, or that should end soon.
    pub cancels: Vec<u64>,
    /// Answers to commands.
    pub replies: Vec<Reply>,
    /// Runs that ended.
    pub ended: Vec<Ended>,
}

/// A run that ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Which.
    pub run_id: RunId,
    /// Whose.
    pub tenant: Arc<str>,
    /// Of which workflow.
    pub workflow: Arc<str>,
    /// How.
    pub state: RunState,
    /// Start, ns since 1970.
    pub started_ns: i64,
    /// End, ns since 1970.
    pub ended_ns: i64,
}

/// What executes a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum JobKind {
    Function,
    Http,
    /// Asks a model for another input.
    Correction,
    Agent,
}

impl JobKind {
    /// As written in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Function => "function",
            JobKind::Http => "http",
            JobKind::Correction => "correction",
            JobKind::Agent => "agent",
        }
    }

    /// Reads it.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<JobKind> {
        [JobKind::Function, JobKind::Http, JobKind::Agent, JobKind::Correction]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One node handed to an executor: one attempt of it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Process-local; goes back with the result.
    pub id: u64,
    /// Of which run.
    pub run_id: RunId,
    /// Instance path of the node (`m[3].fetch`).
    pub node: Arc<str>,
    /// From 1.
    pub attempt: u32,
    /// Attempts in all.
    pub max_attempts: u32,
    /// What executes it.
    pub kind: JobKind,
    /// The function; the model of a correction; empty for http.
    pub name: Arc<str>,
    /// JSON: keyword arguments of a function, the rendered request of http; of a correction what failed and how
    /// (`{function, input, error, instructions}`).
    pub input: Arc<[u8]>,
    /// JSON: config of a function; empty where it has none.
    pub config: Arc<[u8]>,
    /// The same for each attempt: `<run_id>/<instance>`, with `/undo` for a compensation, `/correction` for that.
    pub idempotency_key: String,
    /// Time limit of the attempt.
    pub timeout_ns: Option<i64>,
    /// Longest time without a heartbeat.
    pub heartbeat_timeout_ns: Option<i64>,
    /// What the last heartbeat said, in this attempt or one before (JSON); empty: nothing.
    pub progress: Arc<[u8]>,
    /// It undoes the node.
    pub compensation: bool,
    /// Of an agent that may patch its run: what it would patch.
    pub patching: Option<Box<Patching>>,
    /// Whose.
    pub tenant: Arc<str>,
    /// Order among what is ready.
    pub priority: apex_ir::ir::Priority,
}

/// What an agent that may patch is shown.
#[derive(Debug, Clone)]
pub struct Patching {
    /// The definition that its run goes on under (canonical bytes).
    pub definition: Arc<[u8]>,
    /// The epoch of that; goes back with the patch.
    pub epoch: u32,
    /// The last patches of agents that the run refused, by a gate or (without a code) a person: a JSON list of
    /// `{patch_id, author, reason, code, message, details}`.
    pub refused: Vec<u8>,
}

/// The answer to a command. What it says is durable.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The caller's.
    pub token: u64,
    /// What is said.
    pub outcome: Result<Answer, Refusal>,
}

/// A command was taken.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The run it is about.
    pub run_id: Option<RunId>,
    /// Offset of the run's last event when this was decided.
    pub offset: u64,
    /// Nothing new was recorded: it had been asked before.
    pub existing: bool,
    /// State of the run, where it is about one.
    pub state: Option<RunState>,
    /// A JSON object, or empty.
    pub details: Vec<u8>,
}

/// A command was refused and changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, see `error::code`.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
    /// A JSON object (`{"errors": [{"pointer", "detail"}]}`), or empty.
    pub details: Vec<u8>,
}
