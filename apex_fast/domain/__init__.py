"""The words: the frozen classes of the core under the names that Python uses.

Everything above the domain imports ids, commands, events and views from here.
"""

from apex_fast.core import (
    ApprovalView,
    CancelRun,
    CompileError,
    CoreError,
    Definition,
    Diagnostic,
    Ended,
    Event,
    Followed,
    Front,
    FrontError,
    Job,
    JobResult,
    Log,
    LogError,
    LogVerdict,
    LogView,
    Machine,
    PauseRun,
    RegisterWorkflow,
    Reply,
    ResolveApproval,
    ResumeRun,
    RunView,
    StartRun,
    TagWorkflow,
    Tick,
    Turn,
    WorkflowView,
)

Command = (
    RegisterWorkflow | TagWorkflow | StartRun | CancelRun | PauseRun | ResumeRun | ResolveApproval | JobResult | Tick
)

__all__ = [
    "ApprovalView",
    "CancelRun",
    "Command",
    "CompileError",
    "CoreError",
    "Definition",
    "Diagnostic",
    "Ended",
    "Event",
    "Followed",
    "Front",
    "FrontError",
    "Job",
    "JobResult",
    "Log",
    "LogError",
    "LogVerdict",
    "LogView",
    "Machine",
    "PauseRun",
    "RegisterWorkflow",
    "Reply",
    "ResolveApproval",
    "ResumeRun",
    "RunView",
    "StartRun",
    "TagWorkflow",
    "Tick",
    "Turn",
    "WorkflowView",
]
