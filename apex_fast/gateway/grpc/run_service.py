"""`apex.v1.RunService`: starts runs, reads them, ends them and follows them."""

import zoneinfo
from functools import partial

from apex_fast.domain import CancelRun, Reply, RunView
from apex_fast.errors import InvalidInput, NotRunning, Unavailable
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import REASON_CHARS_MAX, check_key, check_labels, check_text, invalid
from apex_fast.gateway.faults import fault_of, refusal_of
from apex_fast.gateway.goals import GoalRequest, Goals, GoalStarted
from apex_fast.gateway.grpc.method import Metadata, Method, bidi, server_stream, unary
from apex_fast.gateway.grpc.run_control import RunControl
from apex_fast.gateway.grpc.start_run import Starts
from apex_fast.gateway.grpc.troubles import Troubles
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House, Waiting
from apex_fast.gateway.listing import RunFilter, list_runs, page_size_of
from apex_fast.gateway.streams.viewers import Encoding, Viewers
from apex_fast.gateway.translate import (
    FIDELITIES,
    PRIORITIES,
    STATE_NAMES,
    Ending,
    Inputs,
    bounded_page,
    ending_of,
    run_message,
    state_number,
    time_ns_of,
)
from apex_fast.wire.apex.v1 import common_pb2, run_pb2

SERVICE = "apex.v1.RunService"
_SOURCES = {
    "cache": run_pb2.SubmitGoalResponse.SOURCE_CACHE,
    "model": run_pb2.SubmitGoalResponse.SOURCE_MODEL,
}
_REPLAY_MODES = frozenset(run_pb2.ReplayRunRequest.Mode.values())
# Field 1 (`events`) of GetTimelineResponse, length-delimited: events come serialized from the core.
_EVENTS_TAG = b"\x0a"


def varint(number: int) -> bytes:
    """Base 128 varint (protobuf encoding)."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class RunService:
    """The handlers; `methods` is the table."""

    def __init__(self, house: House, viewers: Viewers, goals: Goals, inputs: Inputs, histories: Histories) -> None:
        self._house = house
        self._viewers = viewers
        self._goals = goals
        self._inputs = inputs
        self._histories = histories
        self._starts = Starts(house)
        self._troubles = Troubles(house, histories, SERVICE)

    def methods(self) -> list[Method]:
        """All methods of the service."""
        return [
            unary(SERVICE, "StartRun", self._starts.start_run),
            bidi(SERVICE, "StartRuns", self._starts.start_runs),
            unary(SERVICE, "SubmitGoal", self.submit_goal),
            unary(SERVICE, "GetRun", self.get_run),
            unary(SERVICE, "ListRuns", self.list_runs),
            unary(SERVICE, "CancelRun", self.cancel_run),
            *RunControl(self._house, self._histories).methods(SERVICE),
            unary(SERVICE, "ReplayRun", self.replay_run),
            *self._troubles.methods(),
            unary(SERVICE, "GetTimeline", self.get_timeline),
            unary(SERVICE, "GetHistory", self.get_history),
            server_stream(SERVICE, "WatchRun", self.watch_run),
        ]

    # --- goals ----------------------------------------------------------------------------------------------------

    def submit_goal(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`SubmitGoal`."""
        request = run_pb2.SubmitGoalRequest.FromString(message)
        key = request.idempotency_key or metadata.get("idempotency-key", "")
        check_key(key)
        priority = PRIORITIES.get(request.priority)
        if priority is None:
            raise invalid("/priority", f"{request.priority} is no priority")
        fidelity = FIDELITIES.get(request.fidelity)
        if fidelity is None:
            raise invalid("/fidelity", f"{request.fidelity} is no fidelity")
        check_labels(request.labels)
        _check_zone(request.time_zone)
        self._goals.start(
            GoalRequest(
                tenant_of(metadata), request.goal, key, priority, labels=dict(request.labels), fidelity=fidelity
            ),
            partial(self._goal_started, token),
            partial(self._house.outbox.grpc_error, token),
        )

    def _goal_started(self, token: int, started: GoalStarted) -> None:
        planned = started.planned
        answer = run_pb2.SubmitGoalResponse(
            run_id=started.reply.run_id,
            offset=started.reply.offset,
            existing=started.reply.existing,
            template=started.template,
            source=_SOURCES[planned.source],
        )
        answer.workflow.name = started.workflow
        answer.workflow.version = started.version
        for found in started.entities:
            answer.entities.add(type=found.type, text=found.text, start=found.start, end=found.end, slot=found.slot)
        self._house.outbox.grpc(token, answer.SerializeToString())

    # --- reads ----------------------------------------------------------------------------------------------------

    def get_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetRun`; with `wait` the answer comes once the run has ended."""
        request = run_pb2.GetRunRequest.FromString(message)
        view = self._house.run(tenant_of(metadata), request.run_id)
        if request.HasField("at_offset"):
            self._house.when_durable(
                token, partial(self._house.beside_call, token, self._run_at(token, view, request.at_offset))
            )
            return
        if not request.wait or view.ended_ns is not None:
            self._house.when_durable(token, partial(self._show_run, token, view))
            return
        if not self._house.ready:
            raise Unavailable("the gateway is stopping; the run has not ended")
        engine = self._house.engine

        def ended() -> None:
            self._house.waiting.pop(token, None)
            try:
                last = engine.run(view.tenant, view.run_id)
                self._show_run(token, view if last is None else last)
            except Exception as error:
                self._house.outbox.grpc_error(token, fault_of(error))

        def give_up() -> None:
            engine.forget(view.run_id, ended)
            self._house.outbox.grpc_error(token, Unavailable("the gateway is stopping; the run has not ended"))

        engine.when_ended(view.run_id, ended)
        self._house.waiting[token] = Waiting(partial(engine.forget, view.run_id, ended), give_up)

    def _show_run(self, token: int, view: RunView) -> None:
        engine = self._house.engine
        message = run_message(view, ending_of(engine, view), self._inputs.of(engine, view))
        self._house.outbox.grpc(token, message.SerializeToString())

    async def _run_at(self, token: int, view: RunView, offset: int) -> None:
        then, time_ns = await self._histories.at(view, offset)
        engine = self._house.engine
        message = run_message(then, ending_of(engine, then), self._inputs.of(engine, view), time_ns)
        self._house.outbox.grpc(token, message.SerializeToString())

    def list_runs(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ListRuns`."""
        request = run_pb2.ListRunsRequest.FromString(message)
        check_labels(request.labels)
        wanted = RunFilter(
            states=frozenset(_state_name(index, state) for index, state in enumerate(request.states)),
            workflow=request.workflow,
            version=request.version,
            labels=dict(request.labels),
            started_after_ns=_time(request.started_after, "/started_after"),
            started_before_ns=_time(request.started_before, "/started_before"),
            parent_run_id=request.parent_run_id,
        )
        size = page_size_of(request.page_size)
        engine = self._house.engine
        views, page = list_runs(engine, tenant_of(metadata), wanted, size, request.page_token)

        def show() -> None:
            answer = run_pb2.ListRunsResponse(next_page_token=page)
            answer.runs.extend([run_message(view, Ending(), b"") for view in views])
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.when_durable(token, show)

    def get_timeline(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetTimeline`."""
        request = run_pb2.GetTimelineRequest.FromString(message)
        view = self._house.run(tenant_of(metadata), request.run_id)
        size = page_size_of(request.page_size)
        self._house.when_durable(token, partial(self._show_timeline, token, view, request.from_offset, size))

    def _show_timeline(self, token: int, view: RunView, from_offset: int, size: int) -> None:
        found = [] if from_offset > view.offset else self._house.engine.timeline(view, from_offset, size)
        events = bounded_page(found, self._house.options.page_bytes_max)
        following = events[-1].offset + 1 if events else from_offset
        end = view.ended_ns is not None and following > view.offset
        parts: list[bytes] = []
        for event in events:
            data = event.proto()
            parts += (_EVENTS_TAG, varint(len(data)), data)
        # Serialized messages may be joined: the tail holds the fields beside the events.
        parts.append(run_pb2.GetTimelineResponse(next_offset=following, end=end).SerializeToString())
        self._house.outbox.grpc(token, b"".join(parts))

    def get_history(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetHistory`."""
        request = run_pb2.GetHistoryRequest.FromString(message)
        view = self._house.run(tenant_of(metadata), request.run_id)
        self._house.when_durable(
            token, partial(self._house.beside_call, token, self._part(token, view, request.from_offset))
        )

    async def _part(self, token: int, view: RunView, start: int) -> None:
        data, following = await self._histories.part(view, start)
        answer = run_pb2.GetHistoryResponse(data=data, next_offset=following, end=following > view.offset)
        self._house.outbox.grpc(token, answer.SerializeToString())

    def replay_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ReplayRun`."""
        request = run_pb2.ReplayRunRequest.FromString(message)
        key = request.idempotency_key or metadata.get("idempotency-key", "")
        check_key(key)
        if request.mode not in _REPLAY_MODES:
            raise invalid("/mode", f"{request.mode} is no mode")
        view = self._house.run(tenant_of(metadata), request.run_id)
        work = self._replay(token, view, request, key)
        self._house.when_durable(token, partial(self._house.beside_call, token, work))

    async def _replay(self, token: int, view: RunView, request: run_pb2.ReplayRunRequest, key: str) -> None:
        live = request.mode == run_pb2.ReplayRunRequest.MODE_LIVE
        version = request.definition_version or None
        command = await self._histories.replay(view, request.from_node, live, version, request.allow_writes, key)
        self._house.engine.submit(command, partial(self._replayed, token))

    def _replayed(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply))
            return
        answer = run_pb2.ReplayRunResponse(run_id=reply.run_id, offset=reply.offset, existing=reply.existing)
        self._house.outbox.grpc(token, answer.SerializeToString())

    def watch_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`WatchRun`."""
        request = run_pb2.WatchRunRequest.FromString(message)
        view = self._house.run(tenant_of(metadata), request.run_id)
        self._viewers.open(token, view, request.from_offset, Encoding.GRPC)

    # --- the end of a run -----------------------------------------------------------------------------------------

    def cancel_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`CancelRun`."""
        request = run_pb2.CancelRunRequest.FromString(message)
        check_text(request.reason, "/reason", REASON_CHARS_MAX)
        tenant = tenant_of(metadata)
        command = CancelRun(tenant, request.run_id, request.reason)
        self._house.engine.submit(command, partial(self._cancelled, token, tenant, request.run_id))

    def _cancelled(self, token: int, tenant: str, run_id: str, reply: Reply) -> None:
        outbox = self._house.outbox
        if not reply.code:
            answer = run_pb2.CancelRunResponse(state=state_number(reply.state), offset=reply.offset)
            outbox.grpc(token, answer.SerializeToString())
            return
        view = self._house.engine.run(tenant, run_id) if reply.code == "RUN_ENDED" else None
        if view is None or view.state != "CANCELLED":
            outbox.grpc_error(token, refusal_of(reply))
            return
        # Cancelled before: the same answer again.
        answer = run_pb2.CancelRunResponse(state=state_number(view.state), offset=view.offset)
        outbox.grpc(token, answer.SerializeToString())


def _check_zone(zone: str) -> None:
    if zone in {"", "UTC"}:
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise invalid("/time_zone", "not an IANA time zone") from None
    raise NotRunning("goals are read in UTC only: time zones are not running in this version")


def _state_name(index: int, state: common_pb2.RunState.ValueType) -> str:
    if state not in STATE_NAMES:
        raise invalid(f"/states/{index}", f"{state} is no state")
    return STATE_NAMES[state]


def _time(text: str, pointer: str) -> int | None:
    if not text:
        return None
    try:
        return time_ns_of(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{pointer}: not an RFC 3339 time", errors=[(pointer, f"not an RFC 3339 time: {error}")]
        ) from None
