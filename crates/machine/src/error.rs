//! What can go wrong: codes of refused commands, and damage met while reading records or snapshots.

use std::fmt;

/// Codes of refused commands and of failed runs. Each is stable.
pub mod code {
    /// No such run (of this tenant).
    pub const RUN_NOT_FOUND: &str = "RUN_NOT_FOUND";
    /// No such workflow, version or tag (of this tenant).
    pub const WORKFLOW_NOT_FOUND: &str = "WORKFLOW_NOT_FOUND";
    /// Another definition stands under this version.
    pub const WORKFLOW_EXISTS: &str = "WORKFLOW_EXISTS";
    /// The definition does not compile; `details` has every reason.
    pub const WORKFLOW_INVALID: &str = "WORKFLOW_INVALID";
    /// The tag does not point where it was expected to.
    pub const TAG_MOVED: &str = "TAG_MOVED";
    /// The key was used with another request.
    pub const IDEMPOTENCY_KEY_REUSED: &str = "IDEMPOTENCY_KEY_REUSED";
    /// The inputs do not fit the schema; `details` has pointers.
    pub const INPUTS_INVALID: &str = "INPUTS_INVALID";
    /// The run has ended.
    pub const RUN_ENDED: &str = "RUN_ENDED";
    /// The run stands where this cannot be done.
    pub const WRONG_STATE: &str = "WRONG_STATE";
    /// Another run has this id.
    pub const RUN_EXISTS: &str = "RUN_EXISTS";
    /// The run's id carries a partition that this store does not have.
    pub const PARTITION_UNKNOWN: &str = "PARTITION_UNKNOWN";
    /// No such ticket (of this tenant).
    pub const TICKET_NOT_FOUND: &str = "TICKET_NOT_FOUND";
    /// The ticket was decided otherwise, or its time is over.
    pub const TICKET_RESOLVED: &str = "TICKET_RESOLVED";
    /// No such schedule (of this tenant).
    pub const SCHEDULE_NOT_FOUND: &str = "SCHEDULE_NOT_FOUND";
    /// What a schedule says cannot be; `details` has the place.
    pub const SCHEDULE_INVALID: &str = "SCHEDULE_INVALID";
    /// Over a limit; `message` names it.
    pub const LIMIT_EXCEEDED: &str = "LIMIT_EXCEEDED";
    /// No such dead letter (of this tenant).
    pub const DEAD_LETTER_NOT_FOUND: &str = "DEAD_LETTER_NOT_FOUND";
    /// A value is no JSON value.
    pub const VALUE_INVALID: &str = "VALUE_INVALID";
    /// The workflow has no such node.
    pub const NODE_NOT_FOUND: &str = "NODE_NOT_FOUND";
    /// A replay would run nodes that write; `details` has each.
    pub const WRITES_NOT_ALLOWED: &str = "WRITES_NOT_ALLOWED";
    /// Another version differs in what the run has done; `details` has each place.
    pub const VERSION_INCOMPATIBLE: &str = "VERSION_INCOMPATIBLE";
    /// A patch is none, or does not apply; `details` has the place in it.
    pub const PATCH_SHAPE_REFUSED: &str = "PATCH_SHAPE_REFUSED";
    /// What a patch makes is no definition, or not one that the run can go on under; `details` has each place in it.
    pub const PATCH_MEANING_REFUSED: &str = "PATCH_MEANING_REFUSED";
    /// A patch reaches what its author may not; `details` has each place in what it makes.
    pub const PATCH_SECURITY_REFUSED: &str = "PATCH_SECURITY_REFUSED";
    /// Two patches touch the same; `details` has what.
    pub const PATCH_CONFLICT: &str = "PATCH_CONFLICT";
    /// What a patch added has begun; `details` has each node.
    pub const PATCH_STARTED: &str = "PATCH_STARTED";
    /// No such patch (of this tenant).
    pub const PATCH_NOT_FOUND: &str = "PATCH_NOT_FOUND";
    /// The records of a run cannot be read.
    pub const HISTORY_INVALID: &str = "HISTORY_INVALID";
    /// The records of a run are not kept any more.
    pub const HISTORY_TRIMMED: &str = "HISTORY_TRIMMED";
    /// A text is no expression.
    pub const EXPRESSION_INVALID: &str = "EXPRESSION_INVALID";
    /// The machine failed on this command; its run is set aside.
    pub const INTERNAL: &str = "INTERNAL";

    /// A run failed because a node did.
    pub const NODE_FAILED: &str = "NODE_FAILED";
    /// A run failed because an expression did.
    pub const EXPRESSION_FAILED: &str = "EXPRESSION_FAILED";
    /// A run took longer than its workflow allows.
    pub const RUN_TIMEOUT: &str = "RUN_TIMEOUT";
    /// A required quorum cannot be reached.
    pub const QUORUM_UNREACHABLE: &str = "QUORUM_UNREACHABLE";
    /// A run was cancelled.
    pub const CANCELLED: &str = "CANCELLED";
    /// A goal's run was cut off before it started; it was never acknowledged.
    pub const START_INTERRUPTED: &str = "START_INTERRUPTED";
    /// The definition of the run no longer compiles.
    pub const DEFINITION_UNREADABLE: &str = "DEFINITION_UNREADABLE";
}

/// Types of errors of nodes that the machine makes.
pub mod kind {
    /// An attempt, or an approval, took too long.
    pub const TIMEOUT: &str = "Timeout";
    /// An expression failed.
    pub const EXPRESSION_FAILED: &str = "ExpressionFailed";
    /// Nobody decided in time.
    pub const APPROVAL_TIMEOUT: &str = "ApprovalTimeout";
    /// No signal came in time.
    pub const SIGNAL_TIMEOUT: &str = "SignalTimeout";
    /// The run that a signal was for did not take it.
    pub const SIGNAL_REFUSED: &str = "SignalRefused";
    /// Over a limit.
    pub const LIMIT_EXCEEDED: &str = "LimitExceeded";
    /// A required quorum cannot be reached.
    pub const QUORUM_UNREACHABLE: &str = "QuorumUnreachable";
    /// It was cancelled.
    pub const CANCELLED: &str = "Cancelled";
    /// No heartbeat came for too long.
    pub const HEARTBEAT_TIMEOUT: &str = "HeartbeatTimeout";
    /// The breaker of the tool or host is open.
    pub const CIRCUIT_OPEN: &str = "CircuitOpen";
    /// The workflow of a child run is not there (or its version, or tag).
    pub const WORKFLOW_NOT_FOUND: &str = "WorkflowNotFound";
    /// The inputs of a child run do not fit its workflow.
    pub const INPUTS_INVALID: &str = "InputsInvalid";
    /// A result that is no JSON value.
    pub const RESULT_INVALID: &str = "ResultInvalid";
}

/// A record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadRecord {
    /// Shorter than it says, or than any record is.
    Short,
    /// It was erased, and only a snapshot of after that can stand for it.
    Erased,
    /// A version of the format that is not known here.
    Format(u8),
    /// An event type or a version of one that is not known here.
    Type(u8, u8),
    /// The payload is an address; following it is not known here.
    Address,
    /// Text that is no UTF-8.
    Text,
    /// The payload is not what its type says.
    Payload,
    /// Its hash is not that of its bytes.
    Hash,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRecord::Erased => f.write_str("the record was erased, and no snapshot of after that verifies"),
            BadRecord::Short => f.write_str("the record is cut short"),
            BadRecord::Format(v) => write!(f, "format version {v} is not known"),
            BadRecord::Type(t, v) => write!(f, "event type {t}, version {v}, is not known"),
            BadRecord::Address => f.write_str("the payload is an address, which this version cannot follow"),
            BadRecord::Text => f.write_str("a text is not UTF-8"),
            BadRecord::Payload => f.write_str("the payload does not fit its type"),
            BadRecord::Hash => f.write_str("the hash does not fit the bytes"),
        }
    }
}

impl std::error::Error for BadRecord {}

/// A record does not follow from those before it: the partition stops here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayError {
    /// Position of the record.
    pub position: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.position, self.reason)
    }
}

impl std::error::Error for ReplayError {}

/// A snapshot cannot be read; replay the log from its start instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreError(pub &'static str);

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot cannot be read: {}", self.0)
    }
}

impl std::error::Error for RestoreError {}
