//! Events: what was decided. A file per subject; names and numbers are those of docs/decisions/0001 and never change.

pub(crate) mod child;
pub(crate) mod failure;
pub(crate) mod node;
pub(crate) mod patch;
pub(crate) mod registry;
pub(crate) mod run;
pub(crate) mod saga;
pub(crate) mod turn;
pub(crate) mod waiting;
pub(crate) mod wire;

use crate::error::BadRecord;
use wire::Message;

macro_rules! events {
    ($($number:literal $name:ident in $module:ident,)*) => {
        /// An event, borrowed from a record or from the decision that makes it.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Event<'a> {
            $($name($module::$name<'a>),)*
        }

        impl<'a> Event<'a> {
            /// Number of its type.
            pub(crate) fn number(&self) -> u8 {
                match self {
                    $(Event::$name(_) => $number,)*
                }
            }

            /// Writes the payload.
            pub(crate) fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Event::$name(event) => event.encode(out),)*
                }
            }

            /// Reads a payload.
            pub(crate) fn decode(number: u8, version: u8, payload: &'a [u8]) -> Result<Event<'a>, BadRecord> {
                match (number, version) {
                    $(($number, 1) => Ok(Event::$name(Message::decode(payload)?)),)*
                    _ => Err(BadRecord::Type(number, version)),
                }
            }

            /// Writes the fields as a JSON object.
            pub(crate) fn render(&self, out: &mut Vec<u8>) {
                match self {
                    $(Event::$name(event) => event.render_message(out),)*
                }
            }
        }

        /// The name of a type.
        pub(crate) fn name(number: u8) -> Option<&'static str> {
            match number {
                $($number => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

events! {
    1 WorkflowRegistered in registry,
    2 WorkflowTagged in registry,
    3 ScheduleFired in registry,
    4 BreakerChanged in registry,
    5 ScheduleChanged in registry,
    6 DeadLetterDropped in registry,
    7 Erased in registry,
    10 GoalReceived in run,
    11 PlanGenerated in run,
    12 RunStarted in run,
    13 RunPaused in run,
    14 RunResumed in run,
    15 RunCancelled in run,
    16 WorkflowCompleted in run,
    17 WorkflowFailed in run,
    18 CheckpointCreated in run,
    19 RunMigrated in run,
    20 TurnRecorded in turn,
    30 ToolCallRequested in node,
    31 ToolResultReceived in node,
    32 NodeSkipped in node,
    33 NodeRetryScheduled in node,
    34 HeartbeatRecorded in node,
    35 DeadLettered in node,
    36 ScopeOpened in node,
    37 ScopeClosed in node,
    38 ChildStarted in child,
    39 ChildEnded in child,
    50 TimerStarted in waiting,
    51 TimerFired in waiting,
    52 ApprovalRequested in waiting,
    53 ApprovalEscalated in waiting,
    54 ApprovalResolved in waiting,
    55 SignalReceived in waiting,
    56 LockAcquired in waiting,
    57 LockReleased in waiting,
    60 CorrectionProposed in saga,
    61 CompensationRequested in saga,
    62 CompensationCompleted in saga,
    63 CompensationPlanned in saga,
    70 PatchProposed in patch,
    71 PatchRejected in patch,
    72 PatchApplied in patch,
    73 PatchRolledBack in patch,
    76 WorkflowPatchProposed in registry,
    77 WorkflowPatchAccepted in registry,
    78 WorkflowPatchRejected in registry,
    79 WorkflowPatchRolledBack in registry,
}
