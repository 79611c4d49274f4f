"""What the server says, as Python values."""

from dataclasses import dataclass
from typing import Any

import msgspec

from apex_fast.errors import ConflictingPatch, PatchConflicts
from apex_fast.wire.apex.v1 import approval_pb2, common_pb2, patch_pb2, run_pb2, schedule_pb2, workflow_pb2

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


def value_of(json: bytes) -> Any:
    """The Python value of JSON bytes; None where there are none."""
    return msgspec.json.decode(json) if json else None


@dataclass(frozen=True)
class Event:
    """A durable event of a run."""

    run_id: str
    offset: int
    type: str
    time: str
    """RFC 3339, UTC."""
    epoch: int
    payload: dict[str, Any]

    @staticmethod
    def of(event: common_pb2.Event) -> "Event":
        """From the wire."""
        payload: dict[str, Any] = value_of(event.payload_json) or {}
        return Event(event.run_id, event.offset, event.type, event.time, event.epoch, payload)


@dataclass(frozen=True)
class RunInfo:
    """A run as it stands."""

    run_id: str
    workflow: str
    version: str
    state: str
    """PENDING, RUNNING, WAITING, PAUSED, COMPENSATING, COMPLETED, FAILED or CANCELLED."""
    offset: int
    """Offset of its last event."""
    percentage: float
    phase: str
    elapsed_s: float
    output: Any
    error_code: str
    error_node: str
    """Instance path of the node that failed; empty where none is concerned."""
    error_message: str
    started: str
    ended: str
    ir_hash: str
    labels: dict[str, str]
    fidelity: str
    """full or fast."""
    parent_run_id: str = ""
    """The run whose composite node it runs for; empty: of none."""
    parent_node: str = ""
    tag: str = ""
    """The tag that it was started by, where that has arms."""
    arm: str = ""
    """The one that it came to."""
    """Instance path of that node."""
    epoch: int = 0
    """How often its definition was changed under it."""

    @property
    def has_ended(self) -> bool:
        """COMPLETED, FAILED or CANCELLED."""
        return self.state in ENDED

    @staticmethod
    def of(run: run_pb2.Run) -> "RunInfo":
        """From the wire."""
        return RunInfo(
            run_id=run.run_id,
            workflow=run.workflow,
            version=run.version,
            state=common_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_"),
            offset=run.offset,
            percentage=run.progress.percentage,
            phase=run.progress.phase,
            elapsed_s=run.progress.elapsed_s,
            output=value_of(run.output_json),
            error_code=run.error.code,
            error_node=run.error.node,
            error_message=run.error.message,
            started=run.started_time,
            ended=run.ended_time,
            ir_hash=run.ir_hash,
            epoch=run.epoch,
            labels=dict(run.labels),
            parent_run_id=run.parent_run_id,
            parent_node=run.parent_node,
            tag=run.tag,
            arm=run.arm,
            fidelity=common_pb2.Fidelity.Name(run.fidelity).removeprefix("FIDELITY_").lower(),
        )


@dataclass(frozen=True)
class PatchDifference:
    """What a patch changed, for people."""

    text: str
    """A line for each change; `+` came, `-` went, `~` is another one."""
    mermaid: str
    """The graph before and after. Empty where it is too large to be drawn."""
    svg: str
    """The same, drawn side by side."""


def conflict_of(conflict: patch_pb2.PatchConflict) -> PatchConflicts:
    """What is in the way of a patch, from the wire."""
    patches = (
        ConflictingPatch(
            patch_id=patch.patch_id,
            epoch=patch.epoch,
            dropped_epoch=patch.dropped_epoch,
            what=tuple(patch.what),
            operations=tuple(value_of(patch.operations_json) or ()),
            own_operations=tuple(value_of(patch.own_operations_json) or ()),
            truncated=patch.truncated,
        )
        for patch in conflict.patches
    )
    return PatchConflicts(conflict.epoch, tuple(patches), conflict.truncated)


@dataclass(frozen=True)
class Patch:
    """A patch of a run."""

    patch_id: str
    state: str
    """PROPOSED, REJECTED, APPLIED or ROLLED_BACK."""
    operations: list[dict[str, Any]]
    """JSON Patch, as sent."""
    author: str
    """`client`, `agent:<instance path>` or `optimizer:<pass>@<version>`."""
    reason: str
    base_epoch: int
    epoch: int
    """That it made; 0: none."""
    definition_hash: str
    applied: str
    """RFC 3339; empty: it did not take effect."""
    rolled_back: str
    """RFC 3339; empty: it was not dropped."""
    decided_by: str
    """Who approved or rejected it, where that was a person."""
    decision_reason: str
    gate: str
    """That refused it: `shape`, `meaning` or `security`."""
    code: str
    message: str
    conflict: PatchConflicts | None
    """With what, where that is why it was refused."""
    effect: "PatchEffect | None"
    """What it did so far; from `Run.get_patch`, of one that took effect."""

    @staticmethod
    def of(patch: patch_pb2.Patch) -> "Patch":
        """From the wire."""
        return Patch(
            patch_id=patch.patch_id,
            state=patch_pb2.PatchState.Name(patch.state).removeprefix("PATCH_STATE_"),
            operations=value_of(patch.operations_json) or [],
            author=patch.author,
            reason=patch.reason,
            base_epoch=patch.base_epoch,
            epoch=patch.epoch,
            definition_hash=patch.definition_hash,
            applied=patch.decided_time if patch.epoch else "",
            rolled_back=patch.rolled_back_time,
            decided_by=patch.decided_by,
            decision_reason=patch.decision_reason,
            gate=patch_pb2.PatchGate.Name(patch.gate).removeprefix("PATCH_GATE_").lower() if patch.gate else "",
            code=patch.error.code,
            message=patch.error.message,
            conflict=conflict_of(patch.conflict) if patch.HasField("conflict") else None,
            effect=PatchEffect.of(patch.effect) if patch.HasField("effect") else None,
        )


@dataclass(frozen=True)
class PatchEffect:
    """What came of the nodes that a patch added."""

    nodes_added: int
    nodes_run: int
    """Of those, how many began."""
    attempts: int
    time_s: float
    """Sum over their instances, from the beginning of each to its end."""
    tokens_in: int
    tokens_out: int

    @staticmethod
    def of(effect: patch_pb2.PatchEffect) -> "PatchEffect":
        """From the wire."""
        return PatchEffect(
            nodes_added=effect.nodes_added,
            nodes_run=effect.nodes_run,
            attempts=effect.attempts,
            time_s=effect.time_s,
            tokens_in=effect.tokens_in,
            tokens_out=effect.tokens_out,
        )


@dataclass(frozen=True)
class RunPage:
    """Runs, newest first, and the token of the next page (empty: the last one)."""

    runs: list[RunInfo]
    next_page: str


@dataclass(frozen=True)
class Diagnostic:
    """A fault of a definition."""

    code: str
    pointer: str
    message: str
    hint: str

    @staticmethod
    def of(diagnostic: common_pb2.Diagnostic) -> "Diagnostic":
        """From the wire."""
        return Diagnostic(diagnostic.code, diagnostic.pointer, diagnostic.message, diagnostic.hint)


@dataclass(frozen=True)
class WorkflowInfo:
    """A registered version of a workflow."""

    name: str
    version: str
    ir_hash: str
    tags: list[str]
    definition: dict[str, Any] | None

    @staticmethod
    def of(workflow: workflow_pb2.Workflow) -> "WorkflowInfo":
        """From the wire."""
        definition: dict[str, Any] | None = value_of(workflow.definition_json)
        return WorkflowInfo(workflow.name, workflow.version, workflow.ir_hash, list(workflow.tags), definition)


@dataclass(frozen=True)
class DeadLetter:
    """A node that failed for good."""

    id: str
    run_id: str
    node: str
    attempt: int
    function: str
    """The type of a node that calls none."""
    error_type: str
    error_message: str
    workflow: str
    version: str
    time: str

    @staticmethod
    def of(letter: run_pb2.DeadLetter) -> "DeadLetter":
        """From the wire."""
        return DeadLetter(
            letter.id,
            letter.run_id,
            letter.node,
            letter.attempt,
            letter.function,
            letter.error.code,
            letter.error.message,
            letter.workflow,
            letter.version,
            letter.time,
        )


@dataclass(frozen=True)
class DeadLetterPage:
    """Dead letters, newest first, and the token of the next page (empty: the last one)."""

    dead_letters: list[DeadLetter]
    next_page: str


@dataclass(frozen=True)
class BreakerInfo:
    """The breaker of a tool or host."""

    name: str
    state: str
    """`closed`, `open` or `half_open`."""
    failures: int
    until: str
    """When more is let through; empty while it is closed."""

    @staticmethod
    def of(breaker: run_pb2.Breaker) -> "BreakerInfo":
        """From the wire."""
        state = run_pb2.Breaker.State.Name(breaker.state).removeprefix("STATE_").lower()
        return BreakerInfo(breaker.name, state, breaker.failures, breaker.until)


@dataclass(frozen=True)
class Approval:
    """A decision that a run waits for."""

    ticket: str
    run_id: str
    node: str
    prompt: str
    escalated_to: list[str]
    """Who else was asked after a while."""

    @staticmethod
    def of(approval: approval_pb2.Approval) -> "Approval":
        """From the wire."""
        escalated_to = list(approval.escalated_to)
        return Approval(approval.ticket, approval.run_id, approval.node, approval.prompt, escalated_to)


@dataclass(frozen=True)
class ScheduleFiring:
    """What a time of a schedule came to."""

    time: str
    """RFC 3339, UTC, without jitter."""
    action: str
    """started, skipped, buffered, missed or failed."""
    run_id: str
    error_code: str
    error_message: str


@dataclass(frozen=True)
class ScheduleInfo:
    """A schedule as it stands. Times are RFC 3339 in UTC; empty: none."""

    name: str
    workflow: str
    inputs: dict[str, Any]
    cron: str
    time_zone: str
    every_s: float
    paused: bool
    runs_open: int
    next_time: str
    buffered_time: str
    upcoming_times: list[str]
    """At most 5; empty in lists."""
    last: ScheduleFiring | None

    @staticmethod
    def of(schedule: schedule_pb2.Schedule) -> "ScheduleInfo":
        """From the wire."""
        last, spec = schedule.last, schedule.spec
        return ScheduleInfo(
            name=schedule.name,
            workflow=spec.workflow.name,
            inputs=value_of(spec.inputs_json) or {},
            cron=spec.cron,
            time_zone=spec.time_zone,
            every_s=spec.every_s,
            paused=schedule.paused,
            runs_open=schedule.runs_open,
            next_time=schedule.next_time,
            buffered_time=schedule.buffered_time,
            upcoming_times=list(schedule.upcoming_times),
            last=ScheduleFiring(
                time=last.time,
                action=schedule_pb2.ScheduleFiring.Action.Name(last.action).removeprefix("ACTION_").lower(),
                run_id=last.run_id,
                error_code=last.error.code,
                error_message=last.error.message,
            )
            if schedule.HasField("last")
            else None,
        )
