"""The look-up of a plan for a goal.

The order, each tier asked only when the one before has nothing:

1. template   the recognised template of the goal is that of a phrasing (one look-up in a map, in the core)
2. words      the words of a phrasing stand in the goal and what is between them fits its slots (in the core)
3. nearest    the nearest template by meaning; stands here, before the model, and proposes to tier 2 (later work)
4. model      if one is switched on; what it answers becomes a template, durable, and is found by tier 1 from then on

A goal that two templates serve equally well is served by none: no plan is better than a wrong one.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from typing import Final, Literal

import msgspec

from apex_fast.core import Catalogue, CoreError, Entity, Recognizer
from apex_fast.errors import InvalidInput, Overloaded, PlanNotFound
from apex_fast.planner.asking import learnt, question, slots_found
from apex_fast.planner.definition import definition_of, workflow_name
from apex_fast.planner.errors import ModelFailed, PlanInvalid
from apex_fast.planner.plan import PlanTemplate, check, decode, slots_used, tools_of
from apex_fast.planner.shipped import shipped_plans
from apex_fast.ports.model import Model, ModelError
from apex_fast.ports.plan_store import PlanStore

GOAL_CHARS_MAX: Final = 4096
TEMPLATES_MAX: Final = 100_000
"""Templates kept; beyond it plans of the model are used once and not learnt."""
PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 20.0
"""Before the model is asked again: doubled with each try, and never less than the provider asks for."""

SWITCH_ON: Final = (
    "to have a model plan it, set planner.model (APEX_PLANNER_MODEL, such as openai/gpt-5-mini) and its key "
    "(APEX_PLANNER_API_KEY or planner.api_key_file)"
)

log = logging.getLogger(__name__)


class Planned(msgspec.Struct, frozen=True):
    """A plan for a goal.

    ``source``: whether the plan cache had it or the model made it; ``tier``: which look-up found it. ``entities``:
    what was recognised in the goal (stripped), offsets in characters. ``slots``: the inputs of the run.
    ``definition_json``: the definition, the same bytes for every goal of the template.
    """

    template_id: str
    source: Literal["cache", "model"]
    tier: str
    entities: list[Entity]
    slots: dict[str, str]
    workflow_name: str
    definition_json: bytes


class _Kept(msgspec.Struct, frozen=True):
    """A template in the cache, compiled."""

    plan: PlanTemplate
    tools: frozenset[str]
    name: str
    definition: bytes


class Planner:
    """Finds and learns plans. Belongs to one event loop; ``lookup`` never waits."""

    def __init__(
        self,
        recognizer: Recognizer,
        store: PlanStore,
        model: Model | None = None,
        tools: Collection[str] = (),
        *,
        attempts_max: int = 2,
        calls_in_flight_max: int = 8,
        plans: Iterable[PlanTemplate] | None = None,
    ) -> None:
        """Warms the cache with ``plans`` (the shipped ones by default), then with what ``store`` holds.

        ``tools``: the registered functions, read anew at each look-up; a mapping gives each a description for the
        model. Plans whose tools are missing are kept but not served. ``attempts_max``: tries of the model for one
        goal; ``calls_in_flight_max``: goals it works on at once.
        Raises PlanInvalid for a plan of ``plans`` that breaks a rule; one of the store is left out with a warning.
        """
        self._recognizer = recognizer
        self._catalogue = Catalogue(recognizer)
        self._store = store
        self._model = model
        self._tools = tools
        self._attempts_max = attempts_max
        self._calls = asyncio.Semaphore(calls_in_flight_max)
        self._waiting_max = 16 * calls_in_flight_max
        self._kept: list[_Kept] = []
        self._ids: dict[str, int] = {}
        self._asked: dict[str, asyncio.Task[tuple[PlanTemplate, bool]]] = {}
        for plan in shipped_plans() if plans is None else plans:
            check(plan)
            self._keep(plan)
        for template_id, document in store.load_all():
            try:
                self._keep(decode(document))
            except PlanInvalid as error:
                log.warning("learnt plan %s is left out: %s", template_id, error)

    @property
    def template_ids(self) -> list[str]:
        """The templates in the cache, in the order they came."""
        return [kept.plan.template for kept in self._kept]

    def template(self, template_id: str) -> PlanTemplate | None:
        """A template of the cache."""
        place = self._ids.get(template_id)
        return None if place is None else self._kept[place].plan

    def lookup(self, goal: str) -> Planned | None:
        """The plan of a goal that a template of the cache serves with the registered tools.

        Raises InvalidInput (GOAL_INVALID) for a goal that is empty or over 4096 characters when stripped.
        """
        found = self._find(checked(goal))
        return None if found is None or self._missing(found[0]) else found[1]

    async def plan(self, goal: str) -> Planned:
        """The plan of a goal, from the model where no template serves it.

        Raises InvalidInput (GOAL_INVALID), PlanNotFound, ModelFailed, and Overloaded where too many goals wait for
        the model.
        """
        goal = checked(goal)
        found = self._find(goal)
        if found is not None:
            missing = self._missing(found[0])
            if missing:
                raise PlanNotFound(
                    f"the plan {found[1].template_id} serves this goal, but needs tools that are not registered: "
                    f"{', '.join(missing)}; register them with @app.function"
                )
            return found[1]
        if self._model is None:
            raise PlanNotFound(f"no template serves this goal; {SWITCH_ON}")
        if not self._tools:
            raise PlanNotFound("no template serves this goal, and no tool is registered that a model could plan with")
        return await self._learn(self._model, goal)

    def _find(self, goal: str) -> tuple[_Kept, Planned] | None:
        try:
            found = self._catalogue.find(goal)
        except UnicodeError:
            raise InvalidInput("a goal is Unicode text without lone surrogates", code="GOAL_INVALID") from None
        if found is None:
            return None
        kept = self._kept[found.template]
        planned = Planned(
            kept.plan.template, "cache", found.tier, found.entities, dict(found.slots), kept.name, kept.definition
        )
        return kept, planned

    def _missing(self, kept: _Kept) -> list[str]:
        return sorted(tool for tool in kept.tools if tool not in self._tools)

    def _keep(self, plan: PlanTemplate) -> None:
        """Puts a template into the cache, whole or not at all. Raises PlanInvalid."""
        if plan.template in self._ids:
            raise PlanInvalid(f"two plans are called {plan.template!r}")
        place = len(self._kept)
        kept = _Kept(plan, frozenset(tools_of(plan)), workflow_name(plan), definition_of(plan))
        try:
            self._catalogue.add(place, list(plan.phrasings))
        except CoreError as error:
            raise PlanInvalid(
                f"plan {plan.template!r}: {error.message}", errors=[("/phrasings", error.message)]
            ) from None
        self._kept.append(kept)
        self._ids[plan.template] = place

    async def _learn(self, model: Model, goal: str) -> Planned:
        """One question for all who ask the same goal at the same time."""
        entities = self._recognizer.extract(goal)
        task = self._asked.get(goal)
        if task is None:
            if len(self._asked) >= self._waiting_max:
                raise Overloaded(f"{len(self._asked)} goals wait for the model", retry_after_s=PAUSE_S_MAX)
            task = asyncio.get_running_loop().create_task(self._ask(model, goal, entities))
            self._asked[goal] = task
            task.add_done_callback(lambda task: self._answer_came(goal, task))
        plan, is_kept = await asyncio.shield(task)
        found = self._find(goal) if is_kept else None
        if found is not None and found[0].plan is plan:
            return msgspec.structs.replace(found[1], source="model", tier="model")
        named = slots_found(entities)
        slots = {slot: named[slot].text for slot in sorted(slots_used(plan))}
        return Planned(plan.template, "model", "model", entities, slots, workflow_name(plan), definition_of(plan))

    def _answer_came(self, goal: str, task: asyncio.Task[tuple[PlanTemplate, bool]]) -> None:
        del self._asked[goal]
        # Everyone who asked may have gone: then nobody else reads the failure.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("no plan was learnt: %s", error)

    async def close(self) -> None:
        """Drops the questions that the model has not answered."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, model: Model, goal: str, entities: list[Entity]) -> tuple[PlanTemplate, bool]:
        """The template that the model makes of a goal, and whether the cache took it."""
        async with self._calls:
            plan = await self._answered(model, goal, entities)
        if len(self._kept) >= TEMPLATES_MAX:
            log.warning("plan %s is not learnt: the cache holds %d templates", plan.template, TEMPLATES_MAX)
            return plan, False
        try:
            self._keep(plan)
        except PlanInvalid as error:
            # The plan is sound, but its phrasing would match too much to be looked up by.
            log.info("plan %s is used once: %s", plan.template, error.message)
            return plan, False
        try:
            await self._store.put(plan.template, msgspec.json.encode(plan))
        except OSError as error:
            log.warning("plan %s is learnt until the gateway stops: %s", plan.template, error)
        return plan, True

    async def _answered(self, model: Model, goal: str, entities: list[Entity]) -> PlanTemplate:
        complaint, failure = "", ""
        for attempt in range(self._attempts_max):
            try:
                answer = await model.answer(question(goal, entities, self._tools, complaint))
                plan = learnt(goal, entities, self._tools, answer.text)
            except ModelError as error:
                failure = f"{model.name} gave no answer, {error}"
                if not error.retryable:
                    raise ModelFailed(failure, retryable=False) from None
                if attempt + 1 < self._attempts_max:
                    await asyncio.sleep(pause_s(attempt, error.retry_after_s))
            except PlanInvalid as error:
                complaint = error.message
                failure = f"{model.name} gave a plan that cannot be used: {complaint}"
            else:
                if plan is None:
                    raise PlanNotFound(f"{model.name} finds no plan for this goal with the registered tools")
                return plan
        raise ModelFailed(failure)


def checked(goal: str) -> str:
    """The goal without white space at its ends. Raises InvalidInput (GOAL_INVALID)."""
    stripped = goal.strip()
    if not 1 <= len(stripped) <= GOAL_CHARS_MAX:
        said = "is empty" if not stripped else f"has {len(stripped)} characters"
        raise InvalidInput(
            f"a goal has 1 to {GOAL_CHARS_MAX} characters; this one {said}",
            errors=[("/goal", said)],
            code="GOAL_INVALID",
        )
    return stripped


def pause_s(attempt: int, retry_after_s: float | None) -> float:
    """Seconds to wait after try ``attempt`` (from 0)."""
    return min(max(PAUSE_S * 2.0**attempt, retry_after_s or 0.0), PAUSE_S_MAX)
