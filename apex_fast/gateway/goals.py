"""From a goal to a start: the plan is looked up, its workflow registered once, then started.

The text of a goal never becomes part of a definition: slots are inputs of the run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from apex_fast.domain import RegisterWorkflow, Reply, StartRun
from apex_fast.errors import ApexError, NotRunning
from apex_fast.gateway.bodies import invalid
from apex_fast.gateway.faults import fault_of, refusal_of
from apex_fast.gateway.house import House
from apex_fast.planner import Planned

GOAL_CHARS_MAX = 4_096


@dataclass(frozen=True)
class GoalRequest:
    """A goal as it was asked for, whichever door it came through."""

    tenant: str
    goal: str
    idempotency_key: str
    priority: str = "medium"
    correlation: str = ""
    labels: Mapping[str, str] | None = None
    fidelity: str = ""
    pointer: str = "/goal"
    """JSON Pointer of the goal in the request."""


@dataclass(frozen=True)
class GoalStarted:
    """A goal whose run has started, durably."""

    reply: Reply
    planned: Planned
    template: str
    workflow: str
    version: str
    entities: list["FoundEntity"]


class FoundEntity(msgspec.Struct):
    """An entity as the wire shows it."""

    type: str
    text: str
    start: int
    end: int
    slot: str = ""


Started = Callable[[GoalStarted], None]
Failed = Callable[[ApexError], None]


def entities_of(planned: Planned, goal: str) -> list[FoundEntity]:
    """What was recognised in the goal, in order, with the slots of the plan that it fills.

    A slot that a phrasing of the plan bound, and nothing else recognised, is an entity of the slot's type too.
    """
    found = [FoundEntity(one.kind.upper(), one.text, one.start, one.end) for one in planned.entities]
    for slot, text in planned.slots.items():
        kind = slot.rstrip("0123456789").rstrip("_")
        for entity in found:
            if not entity.slot and entity.type == kind and entity.text == text:
                entity.slot = slot
                break
        else:
            start = goal.find(text)
            if start >= 0:
                found.append(FoundEntity(kind, text, start, start + len(text), slot))
    return sorted(found, key=lambda entity: (entity.start, entity.end))


def template_of(goal: str, slots: dict[str, str]) -> str:
    """The goal with its slots by name: `Book flight to {LOCATION} {DATE}`. ``slots`` are in the order of the goal."""
    parts: list[str] = []
    at = 0
    for name, text in slots.items():
        start = goal.find(text, at)
        if start >= 0:
            parts += [goal[at:start], "{", name, "}"]
            at = start + len(text)
    return "".join([*parts, goal[at:]])


class Goals:
    """Starts goals."""

    def __init__(self, house: House) -> None:
        self._house = house
        # (tenant, definition as planned) -> (name, version): what this process knows to be registered.
        self._registered: dict[tuple[str, bytes], tuple[str, str]] = {}

    def start(self, request: GoalRequest, started: Started, failed: Failed) -> None:
        """Plan and start; one of the callbacks is called once. Raises ApexError for what is wrong at once."""
        planner = self._house.planner
        if planner is None:
            raise NotRunning("no planner is running in this gateway")
        text = request.goal.strip()
        if not 1 <= len(text) <= GOAL_CHARS_MAX:
            raise invalid(request.pointer, f"a goal has 1 to {GOAL_CHARS_MAX} characters", code="GOAL_INVALID")
        metrics = self._house.metrics
        metrics.goals += 1
        with metrics.planning_time.time():
            planned = planner.lookup(text)
        if planned is not None:
            metrics.plan_hits += 1
            key = (request.tenant, planned.definition_json)
            known = self._registered.get(key)
            if known is not None:
                self._submit(request, planned, known, started, failed)
                return
        self._house.beside(self._plan(request, text, planned, started, failed), failed)

    async def _plan(
        self, request: GoalRequest, text: str, planned: Planned | None, started: Started, failed: Failed
    ) -> None:
        house = self._house
        if planned is None:
            assert house.planner is not None
            with house.metrics.planning_time.time():
                planned = await house.planner.plan(text)
        definition = await house.compile(planned.definition_json)
        reply = await house.engine.call(RegisterWorkflow(request.tenant, definition.canonical))
        if reply.code:
            failed(refusal_of(reply))
            return
        known = (definition.name, definition.version)
        if len(self._registered) >= 10_000:
            self._registered.clear()
        self._registered[request.tenant, planned.definition_json] = known
        self._submit(request, planned, known, started, failed)

    def _submit(
        self, request: GoalRequest, planned: Planned, known: tuple[str, str], started: Started, failed: Failed
    ) -> None:
        name, version = known
        text = request.goal.strip()
        entities = entities_of(planned, text)
        template = template_of(text, planned.slots)
        command = StartRun(
            request.tenant,
            name,
            version=version,
            inputs=msgspec.json.encode(planned.slots),
            idempotency_key=request.idempotency_key,
            correlation=request.correlation,
            priority=request.priority,
            labels=dict(request.labels) if request.labels else None,
            fidelity=request.fidelity,
            goal=(text, msgspec.json.encode(entities), template, planned.source, planned.definition_json),
        )

        def answered(reply: Reply) -> None:
            try:
                if reply.code:
                    failed(refusal_of(reply, request.pointer))
                else:
                    started(GoalStarted(reply, planned, template, name, version, entities))
            except Exception as error:
                failed(fault_of(error))

        self._house.engine.submit(command, answered)
