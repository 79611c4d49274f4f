"""What makes a plan template valid, and what it compiles to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_fast.core import compile as compile_definition
from apex_fast.planner import PlanInvalid, PlanTemplate, Step, shipped_plans
from apex_fast.planner.definition import definition_of
from apex_fast.planner.plan import check, decode, slots_used, tools_of


def plan(**change: Any) -> dict[str, Any]:
    steps = [
        {"id": "s1", "tool": "search", "input": {"to": "{LOCATION}"}},
        {"id": "s2", "tool": "book", "input": {"flight": {"ref": "s1.flights.0"}}, "depends_on": ["s1"]},
    ]
    return {"template": "t", "phrasings": ["Go to {LOCATION} now"], "steps": steps, **change}


def step(**change: Any) -> dict[str, Any]:
    return {"id": "s1", "tool": "search", "input": {"to": "{LOCATION}"}, **change}


def pointers(document: dict[str, Any]) -> list[str]:
    with pytest.raises(PlanInvalid) as caught:
        decode(json.dumps(document))
    assert caught.value.code == "PLAN_INVALID"
    return [pointer for pointer, _ in caught.value.errors]


def test_at_least_twenty_plans_ship_and_all_compile() -> None:
    plans = shipped_plans()
    assert len(plans) >= 20
    for one in plans:
        compiled = compile_definition(definition_of(one), None)
        assert compiled.name == f"plan-{one.template}"
        assert compiled.node_count == len(one.steps)
        assert set(compiled.functions) == tools_of(one)


def test_the_flight_is_searched_booked_and_confirmed() -> None:
    flight = next(one for one in shipped_plans() if one.template == "book-flight")
    assert [step.tool for step in flight.steps] == ["search_flights", "book_flight", "send_email"]
    undo = flight.steps[1].compensation
    assert undo is not None
    assert undo.tool == "cancel_flight"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"steps": [step(), step()]}, "/steps/1/id"),
        ({"steps": [step(depends_on=["s9"])]}, "/steps/0/depends_on/0"),
        ({"steps": [step(depends_on=["s1"])]}, "/steps/0/depends_on/0"),
        ({"steps": [step(input={"to": "{LOCATION}", "x": {"ref": "s9.id"}})]}, "/steps/0/input/x/ref"),
        ({"steps": [step(input={"to": "{LOCATION}", "x": [{"ref": "s1..id"}]})]}, "/steps/0/input/x/0/ref"),
        ({"steps": [step(input={"to": "{LOCATION}", "at": "{TIME}"})]}, "/phrasings/0"),
        ({"phrasings": ["Go to {LOCATION} on {DATE}"]}, "/phrasings/0"),
        ({"steps": [step(depends_on=["b"]), step(id="b", depends_on=["s1"])]}, "/steps"),
        ({"steps": []}, "/steps"),
        ({"steps": [step(colour="red")]}, "/steps/0"),
        ({"steps": [step(id="a b")]}, "/steps/0/id"),
        ({"template": "../up"}, "/template"),
    ],
)
def test_a_broken_rule_is_named_with_its_place(change: dict[str, Any], pointer: str) -> None:
    assert any(found.startswith(pointer.rsplit("/", 1)[0]) for found in pointers(plan(**change)))
    if "phrasings" in pointer or "ref" in pointer or "depends_on" in pointer:
        assert pointer in pointers(plan(**change))


def test_an_unknown_tool_is_refused_where_the_tools_are_known() -> None:
    one = decode(json.dumps(plan()))
    check(one, {"search", "book"})
    with pytest.raises(PlanInvalid, match="there is no tool 'book'"):
        check(one, {"search"})


def test_nesting_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]
    with pytest.raises(PlanInvalid, match="more than 16 levels"):
        decode(json.dumps(plan(steps=[step(input={"to": "{LOCATION}", "deep": deep})])))


def test_slots_references_and_literals_become_expressions() -> None:
    inputs: dict[str, object] = {
        "slot": "{LOCATION}",
        "mixed": "From {LOCATION_2} to {LOCATION}",
        "ref": {"ref": "s0.flights.0.in"},
        "list": [{"ref": "s0"}, 1, True, None],
        "dollar": "${LOCATION}",
        "expression": "${nodes.s0.output}",
        "no_slot": "{PLACE} {x}",
    }
    steps = (Step(id="s0", tool="a"), Step(id="s1", tool="b", input=inputs))
    body = json.loads(definition_of(PlanTemplate(template="t", phrasings=("x",), steps=steps)))
    assert body["nodes"][1]["input"] == {
        "slot": "${inputs.LOCATION}",
        "mixed": "From ${inputs.LOCATION_2} to ${inputs.LOCATION}",
        "ref": '${nodes.s0.output.flights[0]["in"]}',
        "list": ["${nodes.s0.output}", 1, True, None],
        "dollar": '${"$"}${inputs.LOCATION}',
        "expression": '${"$"}{nodes.s0.output}',
        "no_slot": "{PLACE} {x}",
    }
    assert body["edges"] == [{"from": "s0", "to": "s1"}]
    assert body["inputs"]["required"] == ["LOCATION", "LOCATION_2"]
    assert compile_definition(json.dumps(body).encode(), None).node_count == 2


@given(st.text(alphabet="${}\"'\\ab{LOCATION}", max_size=30))
def test_any_text_of_a_plan_compiles(text: str) -> None:
    one = PlanTemplate(template="t", phrasings=("x",), steps=(Step(id="s", tool="a", input={"x": text}),))
    assert compile_definition(definition_of(one), None).node_count == 1


def test_the_version_follows_the_content() -> None:
    one = decode(json.dumps(plan()))
    other = decode(json.dumps(plan(steps=[step()])))
    assert definition_of(one) == definition_of(one)
    versions = [json.loads(definition_of(each))["version"] for each in (one, other)]
    assert versions[0] != versions[1]
    assert slots_used(one) == {"LOCATION"}
