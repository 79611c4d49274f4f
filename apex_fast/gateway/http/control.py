"""Steering runs over HTTP, and asking them: pause, resume, migrate, signals, queries."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from apex_fast.domain import MigrateRun, PauseRun, PublishSignal, Reply, ResumeRun, RunView, SignalRun
from apex_fast.gateway.bodies import KEY_CHARS_MAX, NAME_CHARS_MAX, REASON_CHARS_MAX, Body, check_key, invalid
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import JSON, Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.http.runs import Offset, State, state_of
from apex_fast.gateway.registry import FIRST_TAG
from apex_fast.gateway.translate import checkpoint_of, migrated_of, runs_of

SIGNAL_KEY = {"Idempotency-Key": "A run takes one signal of a key (at most 255 characters)."}


class PauseBody(Body):
    """Why a run is paused."""

    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


class RunPaused(msgspec.Struct):
    """A run that is held, durably."""

    run_id: str
    state: State
    offset: int
    checkpoint_id: str
    """Names the state of the run when it was paused."""
    resume_url: str


class RunResumed(msgspec.Struct):
    """A run that goes on, durably."""

    run_id: str
    state: State
    offset: int


class MigrateBody(Body):
    """The version that a run is moved to."""

    version: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)] | None = None
    tag: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)] | None = None
    """Where it points now. Without version and tag: `main`."""


class RunMigrated(msgspec.Struct):
    """A run that goes on under another version, durably."""

    run_id: str
    state: State
    offset: int
    version: str
    epoch: int
    """Goes up with each migration."""
    existing: bool
    """It had that version already."""


class SignalBody(Body):
    """What a run is told."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    payload: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    idempotency_key: Annotated[str, Meta(max_length=KEY_CHARS_MAX)] = ""


class RunSignalled(msgspec.Struct):
    """A signal that was taken, durably."""

    run_id: str
    state: State
    offset: int
    existing: bool
    """The run has taken one with this key before."""


class SignalPublished(msgspec.Struct):
    """An event that was taken, durably, by every run that waits for it."""

    runs: int


class QueryQuery(Body):
    """What is asked."""

    expr: Annotated[str, Meta(min_length=1)]
    """`state`, `progress`, `nodes`, or CEL over `inputs`, `nodes` and `run`."""
    offset: Offset | None = None
    """Of the run as it stood after the event at this offset."""


_PAUSE = msgspec.json.Decoder(PauseBody)
_MIGRATE = msgspec.json.Decoder(MigrateBody)
_SIGNAL = msgspec.json.Decoder(SignalBody)


class ControlRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._histories = histories

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("POST", "/runs/{id}/pause", "pauseRun", "Request nothing new of a run until it is resumed", "runs",
                  self.pause, [Answer(200, "Paused, durably", RunPaused)], body=PauseBody, body_required=False,
                  problems=("RUN_NOT_FOUND", "RUN_ENDED", "WRONG_STATE")),
            Route("POST", "/runs/{id}/resume", "resumeRun", "Let a paused run go on", "runs", self.resume,
                  [Answer(200, "It goes on, durably", RunResumed)], problems=("RUN_NOT_FOUND", "RUN_ENDED")),
            Route("POST", "/runs/{id}/migrate", "migrateRun", "Move a run to another version of its workflow", "runs",
                  self.migrate, [Answer(200, "Moved, durably", RunMigrated)], body=MigrateBody, body_required=False,
                  problems=("RUN_NOT_FOUND", "RUN_ENDED", "WRONG_STATE", "WORKFLOW_NOT_FOUND",
                            "VERSION_INCOMPATIBLE")),
            Route("POST", "/runs/{id}/signal", "signalRun", "Tell a run something; kept until a node asks for it",
                  "runs", self.signal, [Answer(200, "Taken, durably", RunSignalled)], body=SignalBody,
                  headers=SIGNAL_KEY,
                  problems=("RUN_NOT_FOUND", "RUN_ENDED", "WRONG_STATE", "LIMIT_EXCEEDED")),
            Route("POST", "/events", "publishSignal", "Tell every run that waits for a signal of this name", "runs",
                  self.publish, [Answer(200, "Taken, durably, by those that wait", SignalPublished)],
                  body=SignalBody, headers=SIGNAL_KEY),
            Route("GET", "/runs/{id}/query", "queryRun", "Evaluate an expression over a run; changes nothing", "runs",
                  self.query, [Answer(200, "What it gives, any JSON value", msgspec.Raw)], query=QueryQuery,
                  problems=("RUN_NOT_FOUND", "RUN_ENDED", "EXPRESSION_INVALID", "EXPRESSION_FAILED",
                            "HISTORY_TRIMMED", "LIMIT_EXCEEDED")),
        ]  # fmt: skip

    def pause(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/pause`."""
        body = exchange.read(_PAUSE) if exchange.body else PauseBody()
        command = PauseRun(exchange.tenant, exchange.params["id"], body.reason)
        self._house.engine.submit(command, partial(self._paused, exchange))

    def _paused(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply))
            return
        url = f"/runs/{reply.run_id}/resume"
        exchange.answer(200, RunPaused(reply.run_id, state_of(reply), reply.offset, checkpoint_of(reply), url))

    def resume(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/resume`."""
        command = ResumeRun(exchange.tenant, exchange.params["id"])
        self._house.engine.submit(command, partial(self._resumed, exchange))

    def _resumed(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply))
            return
        exchange.answer(200, RunResumed(reply.run_id, state_of(reply), reply.offset))

    def migrate(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/migrate`."""
        body = exchange.read(_MIGRATE) if exchange.body else MigrateBody()
        if body.version and body.tag:
            raise invalid("/tag", "either a version or a tag")
        tag = None if body.version else body.tag or FIRST_TAG
        command = MigrateRun(exchange.tenant, exchange.params["id"], body.version, tag)
        self._house.engine.submit(command, partial(self._migrated, exchange))

    def _migrated(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply))
            return
        now = migrated_of(reply)
        moved = RunMigrated(reply.run_id, state_of(reply), reply.offset, now.version, now.epoch, reply.existing)
        exchange.answer(200, moved)

    def signal(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/signal`."""
        body = exchange.read(_SIGNAL)
        key = _key(body, exchange)
        command = SignalRun(exchange.tenant, exchange.params["id"], body.name, bytes(body.payload), key)
        self._house.engine.submit(command, partial(self._signalled, exchange), len(exchange.body))

    def _signalled(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply, "/payload"))
            return
        exchange.answer(200, RunSignalled(reply.run_id, state_of(reply), reply.offset, reply.existing))

    def publish(self, exchange: Exchange) -> None:
        """`POST /events`."""
        body = exchange.read(_SIGNAL)
        command = PublishSignal(exchange.tenant, body.name, bytes(body.payload), _key(body, exchange))
        self._house.engine.submit(command, partial(self._published, exchange), len(exchange.body))

    def _published(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply, "/payload"))
            return
        exchange.answer(200, SignalPublished(runs_of(reply)))

    def query(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/query`."""
        question = exchange.select(QueryQuery)
        engine, run_id = self._house.engine, exchange.params["id"]
        if question.offset is not None:
            work = self._query_at(exchange, self._house.run(exchange.tenant, run_id), question.offset, question.expr)
            exchange.when_durable(partial(exchange.beside, work))
            return
        json, _, _ = engine.query(exchange.tenant, run_id, question.expr)
        exchange.when_durable(lambda: exchange.answer_bytes(200, JSON, json))

    async def _query_at(self, exchange: Exchange, view: RunView, offset: int, expression: str) -> None:
        json, _, _ = await self._histories.query(view, offset, expression)
        exchange.answer_bytes(200, JSON, json)


def _key(body: SignalBody, exchange: Exchange) -> str:
    key = body.idempotency_key or exchange.headers.get("idempotency-key", "")
    check_key(key)
    return key
