"""Between the words of the core and the words of the wire: times, states, priorities, runs, approvals.

What both gRPC and HTTP say of a run is read here, so that both say the same.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from apex_fast.domain import ApprovalView, Event, Reply, RunView, WorkflowView
from apex_fast.engine import Engine
from apex_fast.wire.apex.v1 import approval_pb2, common_pb2, run_pb2, workflow_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIDELITIES = {
    common_pb2.FIDELITY_UNSPECIFIED: "",
    common_pb2.FIDELITY_FULL: "full",
    common_pb2.FIDELITY_FAST: "fast",
}
PRIORITIES = {0: "medium", 1: "high", 2: "medium", 3: "low"}
PRIORITY_NUMBERS = {
    "high": common_pb2.PRIORITY_HIGH,
    "medium": common_pb2.PRIORITY_MEDIUM,
    "low": common_pb2.PRIORITY_LOW,
}
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_RUN_STATES = {
    "PENDING": common_pb2.RUN_STATE_PENDING,
    "RUNNING": common_pb2.RUN_STATE_RUNNING,
    "WAITING": common_pb2.RUN_STATE_WAITING,
    "PAUSED": common_pb2.RUN_STATE_PAUSED,
    "COMPENSATING": common_pb2.RUN_STATE_COMPENSATING,
    "COMPLETED": common_pb2.RUN_STATE_COMPLETED,
    "FAILED": common_pb2.RUN_STATE_FAILED,
    "CANCELLED": common_pb2.RUN_STATE_CANCELLED,
}
STATE_NAMES = {number: name for name, number in _RUN_STATES.items()}


def rfc3339(time_ns: int | None) -> str:
    """RFC 3339 UTC, with as many digits as there are; empty for None."""
    if time_ns is None:
        return ""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"


def time_ns_of(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time. Raises ValueError, also for one that is not within int64."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time zone is missing")
    time_ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
    if not -(2**63) <= time_ns < 2**63:
        raise ValueError("the time is not within the years 1678 to 2261")
    return time_ns


class RunError(msgspec.Struct, omit_defaults=True):
    """Why a run failed."""

    code: str = ""
    message: str = ""
    node: str = ""
    type: str = ""


class Compensation(msgspec.Struct):
    """What compensation did about one node."""

    step_id: str
    success: bool
    error: RunError | str | None = None


class Progress(msgspec.Struct):
    """How far a run is."""

    percentage: float
    phase: str
    elapsed_s: float
    nodes_done: int
    nodes_total: int
    active: list[str]
    """Instance paths in flight or awaited, at most 8."""


class _StartFields(msgspec.Struct):
    inputs: msgspec.Raw = msgspec.Raw(b"{}")


class _EndFields(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw()
    compensation_results: list[Compensation] = []


_ERROR = msgspec.json.Decoder(RunError)
_START = msgspec.json.Decoder(_StartFields)
_END = msgspec.json.Decoder(_EndFields)


class Ending(msgspec.Struct, frozen=True):
    """What the last event of an ended run says."""

    output: bytes = b""
    compensations: tuple[Compensation, ...] = ()


def error_of_run(view: RunView) -> RunError | None:
    """The error of a run that is failing or failed."""
    return None if view.error is None else _ERROR.decode(view.error)


def progress_of(view: RunView, now_ns: int | None = None) -> Progress:
    """Progress of a run as seen now, or at a time of its past."""
    end_ns = view.ended_ns if view.ended_ns is not None else time.time_ns() if now_ns is None else now_ns
    total = view.nodes_total
    share = 1.0 if view.state == "COMPLETED" else (view.nodes_done / total if total else 0.0)
    return Progress(
        percentage=round(100 * share, 2),
        phase="done" if view.ended_ns is not None else view.state.lower(),
        elapsed_s=max(0.0, (end_ns - view.started_ns) / 1e9),
        nodes_done=view.nodes_done,
        nodes_total=total,
        active=view.phase,
    )


def ending_of(engine: Engine, view: RunView) -> Ending:
    """Output and compensations of an ended run, read from its last event."""
    if view.ended_ns is None:
        return Ending()
    for event in engine.timeline(view, view.offset, 1):
        fields = _END.decode(event.payload)
        return Ending(bytes(fields.output), tuple(fields.compensation_results))
    return Ending()


class Inputs:
    """Inputs of runs, read from `RunStarted` once: it never changes, and the way back to it is long."""

    def __init__(self, kept_max: int = 4_096, bytes_max: int = 64 * 1024) -> None:
        self._kept: dict[str, bytes] = {}
        self._kept_max = kept_max
        self._bytes_max = bytes_max

    def of(self, engine: Engine, view: RunView) -> bytes:
        """The inputs of a run as JSON."""
        kept = self._kept.get(view.run_id)
        if kept is not None:
            return kept
        inputs = b"{}"
        # GoalReceived and PlanGenerated may come before RunStarted.
        for event in engine.timeline(view, 0, 3):
            if event.type == "RunStarted":
                inputs = bytes(_START.decode(event.payload).inputs)
                break
        if len(inputs) <= self._bytes_max:
            if len(self._kept) >= self._kept_max:
                del self._kept[next(iter(self._kept))]
            self._kept[view.run_id] = inputs
        return inputs


def run_message(view: RunView, ending: Ending, inputs: bytes, now_ns: int | None = None) -> run_pb2.Run:
    """`apex.v1.Run`; ``now_ns``: the time that it is shown at, where that is past."""
    progress = progress_of(view, now_ns)
    message = run_pb2.Run(
        run_id=view.run_id,
        workflow=view.workflow,
        version=view.version,
        state=_RUN_STATES[view.state],
        progress=common_pb2.Progress(
            percentage=progress.percentage,
            phase=progress.phase,
            elapsed_s=progress.elapsed_s,
            nodes_done=progress.nodes_done,
            nodes_total=progress.nodes_total,
        ),
        output_json=ending.output,
        started_time=rfc3339(view.started_ns),
        ended_time=rfc3339(view.ended_ns),
        offset=view.offset,
        epoch=view.epoch,
        ir_hash=view.ir_hash,
        labels=view.labels,
        priority=PRIORITY_NUMBERS[view.priority],
        fidelity=common_pb2.Fidelity.Value(f"FIDELITY_{view.fidelity.upper()}"),
        goal=view.goal,
        parent_run_id=view.parent_run_id,
        parent_node=view.parent_node,
        inputs_json=inputs,
        tag=view.tag,
        arm=view.arm,
    )
    error = error_of_run(view)
    if error is not None:
        message.error.CopyFrom(error_message(error))
    for result in ending.compensations:
        held = message.compensation_results.add(step_id=result.step_id, success=result.success)
        if result.error is not None:
            found = RunError(message=result.error) if isinstance(result.error, str) else result.error
            held.error.CopyFrom(error_message(found))
    return message


def error_message(error: RunError) -> common_pb2.Error:
    """`apex.v1.Error` of the outcome of a run."""
    text = f"{error.type}: {error.message}" if error.type else error.message
    return common_pb2.Error(code=error.code or error.type, message=text, node=error.node)


class _PauseDetails(msgspec.Struct):
    checkpoint_id: str = ""


_PAUSE = msgspec.json.Decoder(_PauseDetails)


class Migrated(msgspec.Struct):
    """What a run was moved to."""

    version: str = ""
    epoch: int = 0


_MIGRATED = msgspec.json.Decoder(Migrated)


class _PublishDetails(msgspec.Struct):
    runs: int = 0


_PUBLISHED = msgspec.json.Decoder(_PublishDetails)


def runs_of(reply: Reply) -> int:
    """How many runs took an event."""
    return _PUBLISHED.decode(reply.details).runs


def migrated_of(reply: Reply) -> Migrated:
    """The version that a run has after a migration."""
    return _MIGRATED.decode(reply.details)


def checkpoint_of(reply: Reply) -> str:
    """The checkpoint that a pause made."""
    return _PAUSE.decode(reply.details).checkpoint_id


def state_number(name: str) -> common_pb2.RunState.ValueType:
    """The number of a state."""
    return _RUN_STATES[name]


def approval_message(view: ApprovalView) -> approval_pb2.Approval:
    """`apex.v1.Approval` of an open approval."""
    return approval_pb2.Approval(
        ticket=view.ticket,
        run_id=view.run_id,
        node=view.node,
        prompt=view.prompt,
        state=approval_pb2.APPROVAL_STATE_ESCALATED if view.escalated_to else approval_pb2.APPROVAL_STATE_PENDING,
        escalated_to=view.escalated_to,
        requested_time=rfc3339(view.requested_ns),
        expires_time=rfc3339(view.due_ns),
        workflow=view.workflow,
        version=view.version,
    )


def workflow_message(view: WorkflowView) -> workflow_pb2.Workflow:
    """`apex.v1.Workflow` without its definition."""
    return workflow_pb2.Workflow(
        name=view.name,
        version=view.version,
        ir_hash=view.hash,
        tags=view.tags,
        registered_time=rfc3339(view.registered_ns),
        base_version=view.base_version,
        set=view.set,
        generation=view.generation,
        patches=view.patches,
    )


def diagnostic_messages(errors: Iterable[tuple[str, str, str, str]]) -> list[common_pb2.Diagnostic]:
    """`apex.v1.Diagnostic` of (code, pointer, message, hint)."""
    return [
        common_pb2.Diagnostic(
            code=code,
            pointer=pointer,
            message=message,
            hint=hint,
            severity=common_pb2.Diagnostic.SEVERITY_ERROR,
        )
        for code, pointer, message, hint in errors
    ]


def bounded_page(events: list[Event], bytes_max: int) -> list[Event]:
    """As many of the events as fit, at least one."""
    size = 0
    for index, event in enumerate(events):
        size += len(event.payload) + 256
        if size > bytes_max and index:
            return events[:index]
    return events
