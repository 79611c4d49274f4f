"""What an agent is asked, and how its answer is taken apart."""

import json
from typing import Any

import msgspec
import pytest

from apex_fast.domain import PatchRule, PatchRules
from apex_fast.executors.agent import PatchTerms
from apex_fast.executors.agent.patching import REFUSED_BYTES_MAX, SHOWN_BYTES_MAX, Proposed, told
from apex_fast.executors.agent.question import OutputInvalid, Question
from apex_fast.ports.model import ModelAnswer

TERMS = PatchTerms(PatchRules(PatchRule(), PatchRule(), PatchRule()), nodes_max=5, agent_nodes_max=7)


def parts(said: Any, schema: Any = None) -> tuple[dict[str, Any], Proposed | None]:
    raw = msgspec.Raw() if schema is None else msgspec.Raw(json.dumps(schema).encode())
    question = Question("How?", output_schema=raw, may_patch=True)
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    output, patch = question.parts(ModelAnswer(text=text), "m")
    return json.loads(output), patch


def test_the_patch_is_cut_out_and_the_output_is_as_without_it() -> None:
    operations = [{"op": "remove", "path": "/nodes/1"}]
    output, patch = parts({"output": {"text": "so"}, "patch": {"operations": operations, "reason": "why"}})
    assert (output["text"], output["value"], "patch" in output) == ("so", None, False)
    assert patch is not None
    assert (json.loads(bytes(patch.operations)), patch.reason) == (operations, "why")


def test_an_output_keeps_every_digit() -> None:
    said = b'{"output": {"n": 9007199254740993, "x": 1.10}, "patch": null}'
    schema = {"type": "object"}
    raw = msgspec.Raw(json.dumps(schema).encode())
    output, patch = Question("?", output_schema=raw).parts(ModelAnswer(text=said), "m")
    assert b'"n": 9007199254740993, "x": 1.10' in output
    assert patch is None


@pytest.mark.parametrize("none", [{}, {"patch": None}, {"patch": {"operations": []}}, {"patch": {}}])
def test_no_patch(none: dict[str, Any]) -> None:
    assert parts({"output": {"text": "so"}, **none})[1] is None


@pytest.mark.parametrize("odd", ["nothing", 7, ["add"], {"operations": [], "reason": 7}])
def test_what_is_no_patch_goes_to_the_gates_as_it_is(odd: Any) -> None:
    patch = parts({"output": {"text": "so"}, "patch": odd})[1]
    assert patch is not None
    assert json.loads(bytes(patch.operations)) == odd


def test_an_output_that_does_not_fit_says_where() -> None:
    with pytest.raises(OutputInvalid, match="has no output"):
        parts({"patch": None})
    with pytest.raises(OutputInvalid, match="has no text"):
        parts({"output": "so"})
    with pytest.raises(OutputInvalid, match="/n"):
        parts({"output": {"n": "x"}}, {"type": "object", "properties": {"n": {"type": "integer"}}})
    assert parts({"output": {"value": [1]}}, {"type": "array"})[0]["value"] == [1]


def test_it_is_told_the_definition_and_its_limits() -> None:
    definition = b'{"name":"w","nodes":[{"id":"plan","type":"agent"}],"version":"1"}'
    text = told("m[3].plan", definition, 4, b"[]", TERMS)
    for part in ("m[3].plan", "epoch 4", "at most 5 nodes", "at most 7", definition.decode()):
        assert part in text
    request = Question("How?", may_patch=True).request(text)
    assert (request.strict, request.schema["required"]) == (False, ["output"])
    assert Question("How?").request().strict


def test_it_is_told_what_the_run_refused() -> None:
    def refused(places: int) -> str:
        errors = [{"pointer": f"/nodes/{at}", "detail": "no {such} thing"} for at in range(places)]
        one = {
            "patch_id": "r~p1",
            "author": "agent:plan",
            "code": "PATCH_SECURITY_REFUSED",
            "details": {"errors": errors},
        }
        return told("again", b'{"nodes":[]}', 0, json.dumps([one]).encode(), TERMS)

    assert "Patches of agents that this run refused" not in told("again", b'{"nodes":[]}', 0, b"[]", TERMS)
    for part in ("Patches of agents that this run refused", "PATCH_SECURITY_REFUSED", "/nodes/0", "no {such} thing"):
        assert part in refused(1)
    assert "PATCH_SECURITY_REFUSED" in refused(1_000)
    assert len(refused(1_000)) < REFUSED_BYTES_MAX, "without the places"


def test_of_a_large_definition_it_is_told_what_pointers_need() -> None:
    config = {"prompt": "x" * SHOWN_BYTES_MAX}
    nodes = [{"id": f"n{at}", "type": "agent", "config": config} for at in range(3)]
    edges = [{"from": "n0", "to": "n1"}]
    text = told("n0", json.dumps({"name": "w", "nodes": nodes, "edges": edges}).encode(), 0, b"[]", TERMS)
    assert len(text) < SHOWN_BYTES_MAX
    assert '"nodes":[{"id":"n0","type":"agent"},{"id":"n1","type":"agent"}' in text
    assert '"edges":[{"from":"n0","to":"n1"}]' in text
