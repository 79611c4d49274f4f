"""The words: the frozen classes of the core under the names that Python uses.

Everything above the domain imports ids, commands, events and views from here.
"""

from apex_fast.core import (
    ApplyPatch,
    ApprovalView,
    ApprovePatch,
    ArmView,
    BreakerView,
    CancelRun,
    Capture,
    ChangeSchedule,
    CompileError,
    CoreError,
    DeadLetterView,
    Definition,
    Diagnostic,
    DropDeadLetter,
    Ended,
    Erase,
    Event,
    Followed,
    Front,
    FrontError,
    Heartbeat,
    HistoryChecked,
    Job,
    JobResult,
    Log,
    LogError,
    LogVerdict,
    LogView,
    Machine,
    MigrateRun,
    PatchRule,
    PatchRules,
    PatchWorkflow,
    PauseRun,
    PublishSignal,
    PutSchedule,
    RegisterWorkflow,
    ReplayRun,
    Reply,
    ResolveApproval,
    ResumeRun,
    RollbackPatch,
    RunView,
    ScheduleFiring,
    ScheduleView,
    SignalRun,
    StartRun,
    SupplyHistory,
    TagView,
    TagWorkflow,
    Tick,
    Turn,
    UnpatchWorkflow,
    WorkflowPatchView,
    WorkflowView,
)

Command = (
    RegisterWorkflow
    | TagWorkflow
    | StartRun
    | ReplayRun
    | SupplyHistory
    | PutSchedule
    | ChangeSchedule
    | CancelRun
    | PauseRun
    | ResumeRun
    | MigrateRun
    | ApplyPatch
    | ApprovePatch
    | RollbackPatch
    | PatchWorkflow
    | UnpatchWorkflow
    | SignalRun
    | PublishSignal
    | ResolveApproval
    | JobResult
    | Heartbeat
    | DropDeadLetter
    | Erase
    | Tick
)

__all__ = [
    "ApplyPatch",
    "ApprovalView",
    "ApprovePatch",
    "ArmView",
    "BreakerView",
    "CancelRun",
    "Capture",
    "ChangeSchedule",
    "Command",
    "CompileError",
    "CoreError",
    "DeadLetterView",
    "Definition",
    "Diagnostic",
    "DropDeadLetter",
    "Ended",
    "Erase",
    "Event",
    "Followed",
    "Front",
    "FrontError",
    "Heartbeat",
    "HistoryChecked",
    "Job",
    "JobResult",
    "Log",
    "LogError",
    "LogVerdict",
    "LogView",
    "Machine",
    "MigrateRun",
    "PatchRule",
    "PatchRules",
    "PatchWorkflow",
    "PauseRun",
    "PublishSignal",
    "PutSchedule",
    "RegisterWorkflow",
    "ReplayRun",
    "Reply",
    "ResolveApproval",
    "ResumeRun",
    "RollbackPatch",
    "RunView",
    "ScheduleFiring",
    "ScheduleView",
    "SignalRun",
    "StartRun",
    "SupplyHistory",
    "TagView",
    "TagWorkflow",
    "Tick",
    "Turn",
    "UnpatchWorkflow",
    "WorkflowPatchView",
    "WorkflowView",
]
