"""`/runs`: start, list, look, follow, cancel."""

from functools import partial
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta

from apex_fast.domain import CancelRun, Reply, RunView, StartRun
from apex_fast.errors import ApexError, InvalidInput
from apex_fast.gateway.bodies import (
    KEY_CHARS_MAX,
    NAME_CHARS_MAX,
    REASON_CHARS_MAX,
    Body,
    check_key,
    check_labels,
    invalid,
)
from apex_fast.gateway.faults import fault_of, refusal_of
from apex_fast.gateway.goals import FoundEntity, GoalRequest, Goals, GoalStarted
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import JSON, Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.listing import RunFilter, list_runs, page_size_of
from apex_fast.gateway.named_blobs import check_named
from apex_fast.gateway.registry import FIRST_TAG
from apex_fast.gateway.streams.viewers import Encoding, Viewers
from apex_fast.gateway.translate import (
    Compensation,
    Ending,
    Inputs,
    Progress,
    RunError,
    bounded_page,
    ending_of,
    error_of_run,
    progress_of,
    rfc3339,
    time_ns_of,
)

State = Literal["PENDING", "RUNNING", "WAITING", "PAUSED", "COMPENSATING", "COMPLETED", "FAILED", "CANCELLED"]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
HISTORY_TYPE = "application/vnd.apex.history"
IDEMPOTENCY = {"Idempotency-Key": "The same key gives the same run (at most 255 characters)."}
LAST_EVENT_ID = {"Last-Event-ID": "Offset of the last event seen; the stream goes on after it."}


class StartBody(Body):
    """A start: of a workflow with inputs, or of a goal."""

    workflow: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)] | None = None
    version: str | None = None
    tag: str | None = None
    """Without version and tag: `main`."""
    inputs: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    goal: str | None = None
    idempotency_key: Annotated[str, Meta(max_length=KEY_CHARS_MAX)] = ""
    priority: Literal["high", "medium", "low"] = "medium"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    fidelity: Literal["", "full", "fast"] = ""
    """What is recorded of it; nothing: the server's setting."""


class CancelBody(Body):
    """Why a run is cancelled."""

    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""
    compensate: bool = True
    """False: completed writes are not undone."""


class RunsQuery(Body):
    """What a page of runs selects."""

    state: list[State] = msgspec.field(default_factory=list)
    workflow: str = ""
    version: str = ""
    label: list[str] = msgspec.field(default_factory=list)
    """`name=value`"""
    started_after: str = ""
    started_before: str = ""
    parent_run_id: str = ""
    """Only runs that a composite node of this run started."""
    page_size: int = 0
    page_token: str = ""


class TimelineQuery(Body):
    """Which events of a run."""

    from_offset: Offset = msgspec.field(name="from", default=0)
    limit: Annotated[int, Meta(ge=0)] = 0


class RunQuery(Body):
    """A run now, or in its past."""

    offset: Offset | None = None
    """As it stood after the event at this offset."""


class EventsQuery(Body):
    """Where a stream begins."""

    from_offset: Offset = msgspec.field(name="from", default=0)


class RunStarted(msgspec.Struct, omit_defaults=True):
    """A run that was started, durably."""

    run_id: str
    offset: int
    existing: bool
    workflow: str = ""
    version: str = ""
    template: str = ""
    source: Literal["", "cache", "model"] = ""
    entities: list[FoundEntity] = []


class RunShown(msgspec.Struct, omit_defaults=True):
    """A run."""

    run_id: str
    workflow: str
    version: str
    state: State
    progress: Progress
    offset: int
    started_time: str
    ir_hash: str
    epoch: int
    priority: str
    labels: dict[str, str]
    fidelity: Literal["full", "fast"]
    correlation_id: str = ""
    ended_time: str = ""
    goal: str = ""
    parent_run_id: str = ""
    """The run whose composite node it runs for."""
    parent_node: str = ""
    tag: str = ""
    """The tag that it was started by, where that has arms."""
    arm: str = ""
    """The one that it came to: `control`, a version, or `<base version>+<set>`."""
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: RunError | None = None
    compensation_results: list[Compensation] = []


class RunPage(msgspec.Struct):
    """Runs, newest first."""

    runs: list[RunShown]
    next_page_token: str


class RunCancelling(msgspec.Struct):
    """A run that is being cancelled."""

    run_id: str
    state: State
    offset: int


class EventShown(msgspec.Struct):
    """A durable event."""

    run_id: str
    offset: int
    type: str
    time: str
    epoch: int
    payload: msgspec.Raw


class Timeline(msgspec.Struct):
    """Events of a run, ascending."""

    events: list[EventShown]
    next_offset: int
    end: bool
    """The run has ended and nothing follows."""


_START = msgspec.json.Decoder(StartBody)
_CANCEL = msgspec.json.Decoder(CancelBody)


def shown(view: RunView, ending: Ending, inputs: bytes, now_ns: int | None = None) -> RunShown:
    """A run for HTTP; ``now_ns``: the time that it is shown at, where that is past."""
    return RunShown(
        run_id=view.run_id,
        workflow=view.workflow,
        version=view.version,
        state=view.state,
        progress=progress_of(view, now_ns),
        offset=view.offset,
        started_time=rfc3339(view.started_ns),
        ended_time=rfc3339(view.ended_ns),
        ir_hash=view.ir_hash,
        epoch=view.epoch,
        priority=view.priority,
        labels=view.labels,
        fidelity=view.fidelity,
        correlation_id=view.correlation,
        goal=view.goal,
        parent_run_id=view.parent_run_id,
        parent_node=view.parent_node,
        tag=view.tag,
        arm=view.arm,
        inputs=msgspec.Raw(inputs) if inputs else msgspec.UNSET,
        output=msgspec.Raw(ending.output) if ending.output else msgspec.UNSET,
        error=error_of_run(view),
        compensation_results=list(ending.compensations),
    )


def state_of(reply: Reply) -> State:
    """The state of the run that an answer is about."""
    return cast(State, reply.state)


class RunRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House, viewers: Viewers, goals: Goals, inputs: Inputs, histories: Histories) -> None:
        self._house = house
        self._viewers = viewers
        self._goals = goals
        self._inputs = inputs
        self._histories = histories

    def routes(self) -> list[Route]:
        """All routes of the group."""
        unknown = ("RUN_NOT_FOUND",)
        return [
            Route(
                "POST", "/runs", "startRun", "Start a workflow or a goal; answered when the start is durable",
                "runs", self.start,
                [Answer(202, "Started, durably", RunStarted, headers={"Location": "The run."})],
                body=StartBody, headers=IDEMPOTENCY,
                problems=("INPUTS_INVALID", "GOAL_INVALID", "PLAN_NOT_FOUND", "WORKFLOW_NOT_FOUND", "BLOB_NOT_FOUND",
                          "IDEMPOTENCY_KEY_REUSED", "LIMIT_EXCEEDED", "OVERLOADED"),
            ),
            Route("GET", "/runs", "listRuns", "Runs, newest first", "runs", self.list,
                  [Answer(200, "A page of runs", RunPage)], query=RunsQuery, many=frozenset({"state", "label"})),
            Route("GET", "/runs/{id}", "getRun", "State, progress, output or error of a run", "runs", self.get,
                  [Answer(200, "The run", RunShown)], query=RunQuery,
                  problems=(*unknown, "LIMIT_EXCEEDED", "HISTORY_TRIMMED")),
            Route("GET", "/runs/{id}/history", "getHistory", "All records of a run as a file", "runs", self.history,
                  [Answer(200, "The file (docs/formats/history.md)", None, HISTORY_TYPE)],
                  problems=(*unknown, "LIMIT_EXCEEDED", "HISTORY_TRIMMED")),
            Route("POST", "/runs/{id}/cancel", "cancelRun", "Start nothing new, undo completed writes, end",
                  "runs", self.cancel, [Answer(202, "Accepted, durably", RunCancelling)], body=CancelBody,
                  body_required=False, problems=(*unknown, "RUN_ENDED")),
            Route("GET", "/runs/{id}/timeline", "getTimeline", "Events of a run, a page at a time", "runs",
                  self.timeline, [Answer(200, "A page of events", Timeline)], query=TimelineQuery,
                  problems=unknown),
            Route("GET", "/runs/{id}/events", "watchRun", "Events of a run as they become durable", "runs",
                  self.events, [Answer(200, "Server-sent events: `id` is the offset, `event` the type, `data` the "
                                            "event; ends after the run's last event", None, "text/event-stream")],
                  query=EventsQuery, headers=LAST_EVENT_ID, problems=unknown),
        ]  # fmt: skip

    # --- start ----------------------------------------------------------------------------------------------------

    def start(self, exchange: Exchange) -> None:
        """`POST /runs`."""
        body = exchange.read(_START)
        key = body.idempotency_key or exchange.headers.get("idempotency-key", "")
        check_key(key)
        if body.labels:
            check_labels(body.labels)
        if body.goal is not None:
            self._start_goal(exchange, body, key)
            return
        if body.workflow is None:
            raise InvalidInput(
                "a start names a workflow or a goal", errors=[("/workflow", "missing, and no goal either")]
            )
        if body.version is not None and body.tag is not None:
            raise invalid("/tag", "version or tag, not both")
        inputs = bytes(body.inputs)
        if inputs.lstrip(b" \t\r\n")[:1] != b"{":
            raise invalid("/inputs", "a JSON object is expected")
        check_named(self._house.blobs, exchange.tenant, inputs, "/inputs")
        tag = None if body.version is not None else body.tag or FIRST_TAG
        command = StartRun(
            exchange.tenant,
            body.workflow,
            body.version,
            tag,
            inputs,
            key,
            "",
            body.priority,
            body.labels or None,
            fidelity=body.fidelity,
        )
        self._house.engine.submit(command, partial(self._started, exchange), len(exchange.body))

    def _started(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply, "/inputs"))
            return
        started = RunStarted(reply.run_id, reply.offset, reply.existing)
        exchange.answer(202, started, [("location", f"/runs/{reply.run_id}")])

    def _start_goal(self, exchange: Exchange, body: StartBody, key: str) -> None:
        for name in ("workflow", "version", "tag"):
            if getattr(body, name) is not None:
                raise invalid(f"/{name}", "a goal chooses its workflow by itself")
        if bytes(body.inputs) != b"{}":
            raise invalid("/inputs", "the inputs of a goal are what stands in it")
        assert body.goal is not None
        request = GoalRequest(
            exchange.tenant, body.goal, key, body.priority, labels=body.labels, fidelity=body.fidelity
        )
        self._goals.start(request, partial(self._goal_started, exchange), exchange.fail)

    def _goal_started(self, exchange: Exchange, started: GoalStarted) -> None:
        reply = started.reply
        answer = RunStarted(
            reply.run_id,
            reply.offset,
            reply.existing,
            started.workflow,
            started.version,
            started.template,
            started.planned.source,
            started.entities,
        )
        exchange.answer(202, answer, [("location", f"/runs/{reply.run_id}")])

    # --- reads ----------------------------------------------------------------------------------------------------

    def list(self, exchange: Exchange) -> None:
        """`GET /runs`."""
        query = exchange.select(RunsQuery, frozenset({"state", "label"}))
        labels: dict[str, str] = {}
        for index, text in enumerate(query.label):
            name, equals, value = text.partition("=")
            if not equals:
                raise invalid(f"/label/{index}", "a label is given as name=value")
            labels[name] = value
        check_labels(labels, "/label")
        wanted = RunFilter(
            states=frozenset(query.state),
            workflow=query.workflow,
            version=query.version,
            labels=labels,
            started_after_ns=_time(query.started_after, "/started_after"),
            started_before_ns=_time(query.started_before, "/started_before"),
            parent_run_id=query.parent_run_id,
        )
        size = page_size_of(query.page_size)
        views, page = list_runs(self._house.engine, exchange.tenant, wanted, size, query.page_token)
        exchange.when_durable(
            lambda: exchange.answer(200, RunPage([shown(view, Ending(), b"") for view in views], page))
        )

    def get(self, exchange: Exchange) -> None:
        """`GET /runs/{id}`."""
        view = self._house.run(exchange.tenant, exchange.params["id"])
        engine = self._house.engine
        offset = exchange.select(RunQuery).offset
        if offset is not None:
            exchange.when_durable(lambda: exchange.beside(self._show_at(exchange, view, offset)))
            return

        def show() -> None:
            exchange.answer(200, shown(view, ending_of(engine, view), self._inputs.of(engine, view)))

        exchange.when_durable(show)

    async def _show_at(self, exchange: Exchange, view: RunView, offset: int) -> None:
        then, time_ns = await self._histories.at(view, offset)
        engine = self._house.engine
        exchange.answer(200, shown(then, ending_of(engine, then), self._inputs.of(engine, view), time_ns))

    def history(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/history`."""
        view = self._house.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._show_history(exchange, view)))

    async def _show_history(self, exchange: Exchange, view: RunView) -> None:
        body = await self._histories.file(view)
        name = f'attachment; filename="{view.run_id}.apexhist"'
        exchange.answer_bytes(200, [("content-type", HISTORY_TYPE), ("content-disposition", name)], body)

    def timeline(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/timeline`."""
        query = exchange.select(TimelineQuery)
        view = self._house.run(exchange.tenant, exchange.params["id"])
        size = page_size_of(query.limit)

        def show() -> None:
            engine, start = self._house.engine, query.from_offset
            found = [] if start > view.offset else engine.timeline(view, start, size)
            events = bounded_page(found, self._house.options.page_bytes_max)
            following = events[-1].offset + 1 if events else start
            end = view.ended_ns is not None and following > view.offset
            # The core writes the JSON of an event; joined here, never parsed.
            body = b'{"events":[%b],"next_offset":%d,"end":%b}' % (
                b",".join([event.json() for event in events]),
                following,
                b"true" if end else b"false",
            )
            exchange.answer_bytes(200, JSON, body)

        exchange.when_durable(show)

    def events(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/events`."""
        start = exchange.select(EventsQuery).from_offset
        last = exchange.headers.get("last-event-id", "").strip()
        if last:
            if not (last.isascii() and last.isdigit() and len(last) <= 18):
                raise InvalidInput("Last-Event-ID is not an offset")
            start = int(last) + 1
        view = self._house.run(exchange.tenant, exchange.params["id"])
        if exchange.head:
            exchange.answer_bytes(200, [("content-type", "text/event-stream")], b"")
            return
        if last and view.ended_ns is not None and start > view.offset:
            # The viewer has seen the end: 204 is what stops an EventSource from coming back (WHATWG HTML, 9.2.3).
            exchange.answer_bytes(204, [], b"")
            return
        self._viewers.open(exchange.token, view, start, Encoding.SSE)

    # --- the end of a run -----------------------------------------------------------------------------------------

    def cancel(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/cancel`."""
        body = exchange.read(_CANCEL) if exchange.body else CancelBody()
        run_id = exchange.params["id"]
        command = CancelRun(exchange.tenant, run_id, body.reason, body.compensate)
        self._house.engine.submit(command, partial(self._cancelled, exchange, run_id))

    def _cancelled(self, exchange: Exchange, run_id: str, reply: Reply) -> None:
        if not reply.code:
            exchange.answer(202, RunCancelling(run_id, state_of(reply), reply.offset))
            return
        try:
            view = self._house.engine.run(exchange.tenant, run_id) if reply.code == "RUN_ENDED" else None
        except Exception as error:
            exchange.fail(fault_of(error))
            return
        if view is None or view.state != "CANCELLED":
            failure: ApexError = refusal_of(reply)
            exchange.fail(failure)
        else:
            # Cancelled before: the same answer again.
            exchange.answer(202, RunCancelling(run_id, "CANCELLED", view.offset))


def _time(text: str, pointer: str) -> int | None:
    if not text:
        return None
    try:
        return time_ns_of(text)
    except (ValueError, OverflowError):
        raise invalid(pointer, "not an RFC 3339 time") from None
