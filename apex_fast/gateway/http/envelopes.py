"""`POST /workflows`: an EventEnvelope from another system starts a goal.

The envelope is the wire form that other systems speak: JSON, camelCase, every field checked at the door.
"""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apex_fast.errors import Forbidden, InvalidInput
from apex_fast.gateway.bodies import KEY_CHARS_MAX, invalid, token_of
from apex_fast.gateway.goals import FoundEntity, GoalRequest, Goals, GoalStarted
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.translate import time_ns_of

GOAL_RECEIVED = "orchestrator:agent.goal_received"
SCHEMA_MAJOR = "1"

Identifier = Annotated[str, Meta(min_length=1, max_length=KEY_CHARS_MAX)]
AppName = Annotated[str, Meta(min_length=1, max_length=128)]


class TraceContext(msgspec.Struct, rename="camel"):
    """Where the request stands in a trace; further fields are the sender's."""

    trace_id: Annotated[str, Meta(min_length=1, max_length=128)]
    span_id: Annotated[str, Meta(min_length=1, max_length=128)]


class EventEnvelope(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The envelope, as it is sent."""

    event_id: Identifier
    correlation_id: Identifier
    idempotency_key: Identifier
    tenant_id: Identifier
    event_type: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*:[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$")]
    payload: msgspec.Raw
    timestamp: str
    """RFC 3339."""
    source: AppName
    target: AppName | Annotated[list[AppName], Meta(min_length=1, max_length=64)] | None = None
    trace: TraceContext
    chaos: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    """Faults to put in: refused unless a setting allows it."""
    schema_version: Annotated[str, Meta(pattern=r"^\d{1,6}\.\d{1,6}\.\d{1,6}$")]


class GoalPayload(msgspec.Struct):
    """Payload of a goal; further fields are the sender's."""

    goal: str


class GoalAccepted(msgspec.Struct, rename="camel"):
    """A goal whose run has started, durably. camelCase, as the envelope."""

    workflow_id: str
    """Id of the run, as in `/runs/{id}`."""
    correlation_id: str
    existing: bool
    """The idempotency key named a run that was there before."""
    template: str
    source: Literal["cache", "model"]
    entities: list[FoundEntity]
    status_url: str
    events_url: str


_ENVELOPE = msgspec.json.Decoder(EventEnvelope)
_PAYLOAD = msgspec.json.Decoder(GoalPayload)


class EnvelopeRoutes:
    """The handler; `routes` is the table."""

    def __init__(self, house: House, goals: Goals) -> None:
        self._house = house
        self._goals = goals

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("POST", "/workflows", "receiveEnvelope", "Start the goal of an EventEnvelope", "workflows",
                  self.receive,
                  [Answer(202, "Started, durably", GoalAccepted, headers={"Location": "The run."})],
                  body=EventEnvelope,
                  problems=("SCHEMA_VERSION_UNSUPPORTED", "EVENT_TYPE_UNSUPPORTED", "TENANT_MISMATCH",
                            "CHAOS_REFUSED", "GOAL_INVALID", "PLAN_NOT_FOUND", "IDEMPOTENCY_KEY_REUSED",
                            "OVERLOADED")),
        ]  # fmt: skip

    def receive(self, exchange: Exchange) -> None:
        """`POST /workflows`."""
        envelope = exchange.read(_ENVELOPE)
        if envelope.schema_version.split(".")[0] != SCHEMA_MAJOR:
            raise invalid(
                "/schemaVersion",
                f"major version {SCHEMA_MAJOR} is spoken here",
                code="SCHEMA_VERSION_UNSUPPORTED",
            )
        try:
            time_ns_of(envelope.timestamp)
        except (ValueError, OverflowError):
            raise invalid("/timestamp", "not an RFC 3339 time") from None
        if envelope.tenant_id != exchange.tenant:
            raise Forbidden(
                f"the caller's tenant is {exchange.tenant!r}; the envelope names another", code="TENANT_MISMATCH"
            )
        if bytes(envelope.chaos) != b"null" and not self._house.options.chaos:
            raise Forbidden("faults are not asked for by envelopes here", code="CHAOS_REFUSED")
        if envelope.event_type != GOAL_RECEIVED:
            raise invalid("/eventType", f"only {GOAL_RECEIVED} starts something", code="EVENT_TYPE_UNSUPPORTED")
        request = GoalRequest(
            exchange.tenant,
            _goal_of(bytes(envelope.payload)),
            envelope.idempotency_key,
            correlation=envelope.correlation_id,
            pointer="/payload/goal",
        )
        started = partial(self._started, exchange, envelope.correlation_id)
        self._goals.start(request, started, exchange.fail)

    def _started(self, exchange: Exchange, correlation_id: str, started: GoalStarted) -> None:
        run_id = started.reply.run_id
        place = f"/runs/{run_id}"
        answer = GoalAccepted(
            run_id,
            correlation_id,
            started.reply.existing,
            started.template,
            started.planned.source,
            started.entities,
            place,
            f"{place}/events",
        )
        exchange.answer(202, answer, [("location", place)])


def _goal_of(payload: bytes) -> str:
    try:
        return _PAYLOAD.decode(payload).goal
    except msgspec.ValidationError as error:
        pointer = "/payload" + (token_of("goal") if "goal" in str(error) else "")
        raise InvalidInput(
            f"{pointer}: a goal is expected", errors=[(pointer, "an object with a goal, a string, is expected")]
        ) from None
