"""What the server says of patches on workflows and of the arms of tags, as Python values."""

from dataclasses import dataclass
from typing import Any, Literal

from apex_fast.client.views import value_of
from apex_fast.wire.apex.v1 import patch_pb2, workflow_pb2


@dataclass(frozen=True)
class WorkflowPatch:
    """A patch of a workflow."""

    patch_id: str
    workflow: str
    base_version: str
    set: str
    state: str
    """PENDING, APPLIED, REJECTED or ROLLED_BACK."""
    operations: list[dict[str, Any]]
    """JSON Patch, as sent."""
    author: str
    reason: str
    tag: str
    """Moves to the version with it; empty: none."""
    version: str
    """The first with it; empty: there is none."""
    gate: str
    """That refused it: shape, meaning, security or limit; empty: none did."""
    error_code: str
    error_message: str
    rolled_back_version: str
    """The first without it; empty: there is none."""

    @staticmethod
    def of(patch: patch_pb2.Patch) -> "WorkflowPatch":
        """From the wire."""
        gate = patch_pb2.PatchGate.Name(patch.gate).removeprefix("PATCH_GATE_").lower()
        return WorkflowPatch(
            patch_id=patch.patch_id,
            workflow=patch.workflow.name,
            base_version=patch.workflow.version,
            set=patch.set,
            state=patch_pb2.PatchState.Name(patch.state).removeprefix("PATCH_STATE_"),
            operations=value_of(patch.operations_json) or [],
            author=patch.author,
            reason=patch.reason,
            tag=patch.tag,
            version=patch.version,
            gate=gate if patch.gate else "",
            error_code=patch.error.code,
            error_message=patch.error.message,
            rolled_back_version=patch.rolled_back_version,
        )


@dataclass(frozen=True)
class WorkflowPatchPage:
    """Patches of a workflow, newest first, and the token of the next page (empty: the last one)."""

    patches: list[WorkflowPatch]
    next_page: str


@dataclass(frozen=True)
class Arm:
    """A part of the starts by a tag: they run a version, or the last version of a patch set."""

    share: float
    """0.001 to 1, in steps of 0.001."""
    version: str = ""
    set: str = ""

    def selector(self) -> dict[str, str]:
        """What it runs, as a field of `apex.v1.TagArm`."""
        return {"version": self.version} if self.version else {"set": self.set}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DurationInfo:
    """Durations of the runs that completed; quantiles are within 6.25 %."""

    count: int
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float


@dataclass(frozen=True)
class ArmInfo:
    """What became of the starts of an arm since its test began."""

    arm: str
    """`control`, a version, or `<base version>+<set>`: as in runs."""
    version: str
    """What it runs now."""
    set: str
    share: float
    started: int
    running: int
    completed: int
    failed: int
    cancelled: int
    success_rate: Estimate | None
    """Completed of completed and failed."""
    success_difference: Estimate | None
    """Success rate less that of the control."""
    duration: DurationInfo | None

    @staticmethod
    def of(arm: workflow_pb2.ArmOutcome) -> "ArmInfo":
        """From the wire."""

        def estimate(name: Literal["success_rate", "success_difference"]) -> Estimate | None:
            found: workflow_pb2.Estimate = getattr(arm, name)
            return Estimate(found.value, found.low, found.high) if arm.HasField(name) else None

        took = arm.duration
        return ArmInfo(
            arm=arm.arm,
            version=arm.version,
            set=arm.set,
            share=arm.share,
            started=arm.started,
            running=arm.running,
            completed=arm.completed,
            failed=arm.failed,
            cancelled=arm.cancelled,
            success_rate=estimate("success_rate"),
            success_difference=estimate("success_difference"),
            duration=DurationInfo(took.count, took.mean_s, took.p50_s, took.p90_s, took.p99_s)
            if arm.HasField("duration")
            else None,
        )


@dataclass(frozen=True)
class TagInfo:
    """Where a tag points, and its arms, the control first; no arms where all starts run that version."""

    name: str
    tag: str
    version: str
    began: str
    """RFC 3339: when the test of these arms began; empty: there are none."""
    arms: list[ArmInfo]

    @staticmethod
    def of(tag: workflow_pb2.Tag) -> "TagInfo":
        """From the wire."""
        return TagInfo(tag.name, tag.tag, tag.version, tag.began_time, [ArmInfo.of(arm) for arm in tag.arms])
