"""The typed async client: the wire as a user of Python wants it.

Holds the connection (`connection.py`), what comes back (`views.py`), a handle for one run (`run.py`), the client.
May know: `apex_fast.wire`, grpc, the errors, how workflows are written. Never: a room of the server.
In: Python values. Out: Python values, and the exceptions of `apex_fast.errors`, made from `google.rpc` details.
"""

from apex_fast.client.blobs import Blob
from apex_fast.client.client import Client, GoalRun
from apex_fast.client.optimizer import Amounts, Saving, Suggestion, Suggestions
from apex_fast.client.patch_sets import (
    Arm,
    ArmInfo,
    DurationInfo,
    Estimate,
    TagInfo,
    WorkflowPatch,
    WorkflowPatchPage,
)
from apex_fast.client.run import Run
from apex_fast.client.views import (
    Approval,
    BreakerInfo,
    DeadLetter,
    DeadLetterPage,
    Diagnostic,
    Event,
    Patch,
    PatchDifference,
    PatchEffect,
    RunInfo,
    RunPage,
    ScheduleInfo,
    WorkflowInfo,
)

__all__ = [
    "Amounts",
    "Approval",
    "Arm",
    "ArmInfo",
    "Blob",
    "BreakerInfo",
    "Client",
    "DeadLetter",
    "DeadLetterPage",
    "Diagnostic",
    "DurationInfo",
    "Estimate",
    "Event",
    "GoalRun",
    "Patch",
    "PatchDifference",
    "PatchEffect",
    "Run",
    "RunInfo",
    "RunPage",
    "Saving",
    "ScheduleInfo",
    "Suggestion",
    "Suggestions",
    "TagInfo",
    "WorkflowInfo",
    "WorkflowPatch",
    "WorkflowPatchPage",
]
