"""The order of look-ups, and learning from a model."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apex_fast.adapters.embedded.plan_store import EmbeddedPlanStore
from apex_fast.adapters.memory.plan_store import MemoryPlanStore
from apex_fast.core import Recognizer
from apex_fast.errors import InvalidInput, Overloaded, PlanNotFound
from apex_fast.planner import ModelFailed, Planner
from apex_fast.planner.planner import PAUSE_S_MAX, pause_s
from apex_fast.ports.model import ModelAnswer, ModelError, ModelRequest
from apex_fast.ports.plan_store import PlanStore

FLIGHT = "Book flight to Paris tomorrow and send confirmation to john@example.com"
TOOLS = {"search_flights", "book_flight", "cancel_flight", "send_email"}
RECOGNIZER = Recognizer()


def step(tool: str = "send_email", **inputs: str) -> dict[str, Any]:
    values = [{"name": name, "kind": "text", "value": value} for name, value in inputs.items()]
    return {"id": "s1", "tool": tool, "input": values, "depends_on": [], "compensation": None}


def answer(*steps: dict[str, Any], possible: bool = True) -> dict[str, Any]:
    return {"possible": possible, "description": "Says hello", "steps": list(steps)}


class ScriptedModel:
    """Answers in turn; an error in the script is raised."""

    name = "scripted"

    def __init__(self, *script: dict[str, Any] | ModelError) -> None:
        self.script = list(script)
        self.asked: list[ModelRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        self.asked.append(request)
        await self.gate.wait()
        said = self.script.pop(0)
        if isinstance(said, ModelError):
            raise said
        return ModelAnswer(text=json.dumps(said).encode())


def planner(model: ScriptedModel | None = None, store: PlanStore | None = None, **more: Any) -> Planner:
    return Planner(RECOGNIZER, store or MemoryPlanStore(), model, TOOLS, **more)


async def test_the_goal_of_the_demo_is_served_from_the_cache() -> None:
    desk = planner()
    planned = await desk.plan(f"  {FLIGHT}. ")
    assert (planned.template_id, planned.source, planned.tier) == ("book-flight", "cache", "template")
    assert planned.slots == {"LOCATION": "Paris", "DATE": "tomorrow", "EMAIL": "john@example.com"}
    assert [(one.kind, one.text, one.start, one.end) for one in planned.entities] == [
        ("LOCATION", "Paris", 15, 20),
        ("DATE", "tomorrow", 21, 29),
        ("EMAIL", "john@example.com", 55, 71),
    ]
    assert planned.workflow_name == "plan-book-flight"
    other = desk.lookup(FLIGHT.replace("Paris", "Reykjavík, Iceland"))
    assert other is not None
    assert other.definition_json == planned.definition_json
    assert other.slots["LOCATION"] == "Reykjavík, Iceland"


def test_a_slot_is_the_text_of_the_goal_and_nothing_else() -> None:
    planned = planner().lookup('Send an email to a@b.org saying "${nodes.s1.output} {EMAIL} <b>"')
    assert planned is not None
    assert planned.slots["QUOTED"] == "${nodes.s1.output} {EMAIL} <b>"
    assert b"<b>" not in planned.definition_json


@pytest.mark.parametrize("goal", ["", " \n ", "x" * 4097, "\ud800 book a flight"])
async def test_a_goal_out_of_bounds_is_refused(goal: str) -> None:
    desk = planner()
    with pytest.raises(InvalidInput) as caught:
        desk.lookup(goal)
    assert caught.value.code == "GOAL_INVALID"
    with pytest.raises(InvalidInput):
        await desk.plan(goal)


async def test_without_a_model_the_error_says_how_to_switch_one_on() -> None:
    desk = planner()
    assert desk.lookup("Sing me a song about rain") is None
    with pytest.raises(PlanNotFound) as caught:
        await desk.plan("Sing me a song about rain")
    assert caught.value.code == "PLAN_NOT_FOUND"
    for word in ("planner.model", "APEX_PLANNER_MODEL", "APEX_PLANNER_API_KEY"):
        assert word in caught.value.message


async def test_a_plan_whose_tools_are_missing_is_not_served() -> None:
    desk = planner()
    goal = "Restart the service 'web'"
    assert desk.lookup(goal) is None
    with pytest.raises(PlanNotFound, match="check_health, drain_service, restart_service"):
        await desk.plan(goal)


async def test_what_the_model_answers_is_learnt_and_found_again() -> None:
    model = ScriptedModel(answer(step(to="{EMAIL}", subject="Hello {PERSON}")))
    store = MemoryPlanStore()
    desk = planner(model, store)
    planned = await desk.plan("Say hello to John Smith at john@example.com")
    assert (planned.source, planned.slots) == ("model", {"PERSON": "John Smith", "EMAIL": "john@example.com"})
    assert "{PERSON} = John Smith" in model.asked[0].prompt
    again = await desk.plan("say hello to Zzyzx Qwrt at z@example.org")
    assert (again.source, again.template_id) == ("cache", planned.template_id)
    assert again.slots == {"PERSON": "Zzyzx Qwrt", "EMAIL": "z@example.org"}
    assert again.definition_json == planned.definition_json
    assert len(model.asked) == 1
    reopened = planner(None, store).lookup("Say hello to John Smith at john@example.com")
    assert reopened is not None
    assert (reopened.source, reopened.template_id) == ("cache", planned.template_id)


async def test_a_value_that_no_step_uses_stays_literal() -> None:
    desk = planner(ScriptedModel(answer(step(to="{EMAIL}", subject="Rain in Paris"))))
    planned = await desk.plan("Tell a@b.org that it rains in Paris")
    assert planned.slots == {"EMAIL": "a@b.org"}
    assert desk.lookup("Tell c@d.org that it rains in Paris") is not None
    assert desk.lookup("Tell c@d.org that it rains in Rome") is None


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (answer(step("launch_rocket", to="{EMAIL}")), "there is no tool 'launch_rocket'"),
        (answer(step(to="{PHONE}")), "the goal has no {PHONE}"),
        (answer(), "a plan needs a step"),
        ({"steps": []}, "does not fit the schema"),
        (answer({**step(to="{EMAIL}"), "depends_on": ["s7"]}), "'s7' is no other step"),
    ],
)
async def test_a_plan_that_cannot_be_used_is_complained_about_and_asked_for_again(
    bad: dict[str, Any], complaint: str
) -> None:
    model = ScriptedModel(bad, answer(step(to="{EMAIL}")))
    planned = await planner(model).plan("Greet a@b.org warmly today, will you")
    assert planned.source == "model"
    assert complaint in model.asked[1].prompt
    model = ScriptedModel(bad, bad)
    with pytest.raises(ModelFailed, match="cannot be used") as caught:
        await planner(model).plan("Greet a@b.org warmly today, will you")
    assert caught.value.code == "MODEL_FAILED"
    assert len(model.asked) == 2


async def test_the_model_may_say_that_it_cannot_be_done() -> None:
    with pytest.raises(PlanNotFound, match="finds no plan"):
        await planner(ScriptedModel(answer(possible=False))).plan("Sing me a song about rain")


async def test_a_refusal_of_the_provider_is_not_repeated() -> None:
    model = ScriptedModel(ModelError("REFUSED", "401", retryable=False))
    with pytest.raises(ModelFailed) as caught:
        await planner(model).plan("Sing me a song about rain")
    assert not caught.value.retryable
    assert len(model.asked) == 1


def test_the_pause_before_another_try_is_bounded() -> None:
    assert pause_s(0, None) < pause_s(1, None) <= PAUSE_S_MAX
    assert pause_s(0, 7.0) == 7.0
    assert pause_s(30, 3600.0) == PAUSE_S_MAX


async def test_one_question_for_all_who_ask_the_same_and_a_bound_for_others() -> None:
    model = ScriptedModel(answer(step(to="{EMAIL}")))
    model.gate.clear()
    desk = planner(model, calls_in_flight_max=1)
    goal = "Greet a@b.org warmly and with a song"
    asked = [asyncio.ensure_future(desk.plan(goal)) for _ in range(5)]
    others = [asyncio.ensure_future(desk.plan(f"Greet a@b.org with {n} songs about rain")) for n in range(15)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await desk.plan("Sing me a song about rain")
    assert len(model.asked) == 1
    model.gate.set()
    plans = await asyncio.gather(*asked)
    assert {planned.template_id for planned in plans} == {plans[0].template_id}
    await desk.close()
    assert all(isinstance(end, BaseException) for end in await asyncio.gather(*others, return_exceptions=True))


async def test_a_phrasing_that_would_fit_too_much_is_used_once() -> None:
    model = ScriptedModel(answer(step(to="{EMAIL}")), answer(step(to="{EMAIL}")))
    desk = planner(model)
    for _ in range(2):
        planned = await desk.plan("Greet a@b.org")
        assert (planned.source, planned.slots) == ("model", {"EMAIL": "a@b.org"})
    assert len(model.asked) == 2


def memory(_: Path) -> Callable[[], PlanStore]:
    store = MemoryPlanStore()
    return lambda: store


def embedded(folder: Path) -> Callable[[], PlanStore]:
    return lambda: EmbeddedPlanStore(folder / "plans")


@pytest.mark.parametrize("adapter", [memory, embedded])
async def test_the_promises_of_the_plan_store(
    adapter: Callable[[Path], Callable[[], PlanStore]], tmp_path: Path
) -> None:
    opened = adapter(tmp_path)
    await opened().put("b-2", b'{"x": 1}')
    await opened().put("a_1", b"old")
    await opened().put("a_1", b"new")
    assert opened().load_all() == [("a_1", b"new"), ("b-2", b'{"x": 1}')]
    for name in ("", "../up", "a/b", "x" * 129, "a.b"):
        with pytest.raises(ValueError, match="no plan id"):
            await opened().put(name, b"x")


async def test_half_a_write_and_a_damaged_plan_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = EmbeddedPlanStore(tmp_path)
    (tmp_path / ".learnt-1.new").write_bytes(b'{"templ')
    await store.put("learnt-2", b'{"template": ')
    desk = planner(None, store)
    assert "learnt-2" in caplog.text
    assert desk.lookup(FLIGHT) is not None
