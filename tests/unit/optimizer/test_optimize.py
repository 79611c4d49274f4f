"""The shipped passes as WASM, and passes that propose what is no definition."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from apex_fast.core import compile as compile_definition
from apex_fast.domain import Definition
from apex_fast.optimizer import OptimizedPatch, PassFolder, Refusal, optimize
from apex_fast.optimizer.optimize import ROUNDS_MAX, question
from tests.unit.optimizer.guests import UNHURRIED, saying

ROOT = Path(__file__).resolve().parents[3]
CASES = sorted((ROOT / "wasm-passes" / "passes").glob("*/cases/*.json"))
SCHEMA = json.loads((ROOT / "docs" / "formats" / "optimizer.schema.json").read_text())
SHIPPED = {one.name: one for one in PassFolder(limits=UNHURRIED).passes()}


def compiled(definition: dict[str, Any]) -> Definition:
    """The definition, compiled."""
    return compile_definition(json.dumps(definition).encode())


def fits(name: str, document: object) -> None:
    """Check a document against a part of the schema."""
    jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}"}).validate(document)


@pytest.mark.parametrize("file", CASES, ids=lambda file: f"{file.parent.parent.name}/{file.stem}")
def test_a_shipped_module_does_what_its_golden_case_says(file: Path) -> None:
    case = json.loads(file.read_text())
    definition = compiled(case["definition"])
    profile = json.dumps(case.get("profile")).encode()
    asked = question(definition, profile)
    fits("input", json.loads(asked))
    one = SHIPPED[file.parent.parent.name]
    said = one.guest.call(asked)
    assert not isinstance(said, Refusal), said
    if case["patch"] is None:
        assert said.patch is None
        assert optimize(definition, [one], profile).definition.hash == definition.hash
        return
    assert said.patch is not None
    assert json.loads(bytes(said.patch.operations)) == case["patch"]["operations"]
    fits("output", {"patch": case["patch"]})
    done = optimize(definition, [one], profile)
    assert all(isinstance(step.outcome, OptimizedPatch) for step in done.steps)
    assert (done.definition.hash == definition.hash) == (not case["patch"]["operations"])


def proposing(tmp_path: Path, operations: list[dict[str, Any]]) -> PassFolder:
    """A folder with one pass that always proposes these operations."""
    patch = {"operations": operations, "findings": [], "expected": {}}
    (tmp_path / "p.wasm").write_bytes(saying(json.dumps({"patch": patch})))
    return PassFolder([tmp_path], UNHURRIED)


DEFINITION: dict[str, Any] = {"name": "w", "version": "1", "nodes": [{"id": "a", "type": "join"}], "output": 1}


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "remove", "path": "/nodes/7"}],
        [{"op": "explode", "path": ""}],
        [{"op": "replace", "path": "/nodes/0/type", "value": "rocket"}],
        [{"op": "replace", "path": "/name", "value": "other"}],
        [{"op": "add", "path": "/edges", "value": [{"from": "a", "to": "a"}]}],
    ],
)
def test_a_patch_that_makes_no_definition_changes_nothing(tmp_path: Path, operations: list[dict[str, Any]]) -> None:
    before = compiled(DEFINITION)
    done = optimize(before, proposing(tmp_path, operations).passes())
    assert done.definition.hash == before.hash
    [step] = done.steps
    assert isinstance(step.outcome, Refusal)
    assert step.outcome.code == "PATCH_INVALID"


def test_a_patch_that_is_not_shown_to_keep_the_meaning_is_refused(tmp_path: Path) -> None:
    ship = {"id": "ship", "type": "function", "config": {"name": "ship"}, "effect": "write"}
    before = compiled({**DEFINITION, "nodes": [*DEFINITION["nodes"], ship]})
    done = optimize(before, proposing(tmp_path, [{"op": "remove", "path": "/nodes/1"}]).passes())
    assert done.definition.hash == before.hash
    [step] = done.steps
    assert isinstance(step.outcome, Refusal)
    assert step.outcome.code == "NOT_PROVED"
    assert "CALL_DROPPED" in step.outcome.reason


def test_a_pass_that_always_proposes_the_same_is_asked_until_nothing_changes(tmp_path: Path) -> None:
    operations = [{"op": "copy", "from": "/output", "path": "/output"}]
    before = compiled(DEFINITION)
    done = optimize(before, proposing(tmp_path, operations).passes())
    assert (len(done.steps), done.definition.hash) == (1, before.hash)


def test_a_pass_that_always_finds_more_is_asked_a_bounded_number_of_times(tmp_path: Path) -> None:
    lookups = [
        {"id": f"n{i}", "type": "function", "config": {"name": "look"}, "effect": "read", "input": {"i": i}}
        for i in range(40)
    ]
    before = compiled({"name": "w", "version": "1", "nodes": lookups, "output": 1})
    done = optimize(before, proposing(tmp_path, [{"op": "remove", "path": "/nodes/0"}]).passes())
    assert len(done.steps) == ROUNDS_MAX
    assert done.definition.node_count == len(lookups) - ROUNDS_MAX


def test_the_facts_name_what_every_expression_reads() -> None:
    definition = compiled(
        {
            "name": "w",
            "version": "1",
            "nodes": [
                {"id": "a", "type": "function", "config": {"name": "f"}, "effect": "read", "input": {"x": "${run.id}"}},
                {
                    "id": "m",
                    "type": "map",
                    "config": {
                        "over": "${nodes.a.output.list}",
                        "body": {"nodes": [{"id": "t", "type": "timer", "config": {"duration_s": "${item.s}"}}]},
                    },
                },
            ],
            "edges": [{"from": "a", "to": "m", "when": "nodes.a.status == 'ok' && nodes.a.output.list[0] > 1"}],
            "output": "${nodes.m.output}",
        }
    )
    facts = json.loads(definition.facts)
    nodes = {node["id"]: node for node in facts["nodes"]}
    assert nodes["a"] == {
        "id": "a",
        "at": "/nodes/0",
        "in": None,
        "type": "function",
        "effect": "read",
        "reads": [{"what": "run_id", "path": []}],
    }
    assert nodes["m"]["reads"] == [{"what": "output", "node": "a", "path": ["list"]}]
    assert (nodes["t"]["in"], nodes["t"]["at"]) == ("m", "/nodes/1/config/body/nodes/0")
    assert nodes["t"]["reads"] == [{"what": "item", "path": ["s"]}]
    [edge] = facts["edges"]
    assert (edge["at"], [read["what"] for read in edge["reads"]]) == ("/edges/0", ["status", "output"])
    assert facts["outputs"] == [
        {"of": None, "stated": True, "reads": [{"what": "output", "node": "m", "path": []}]},
        {"of": "m", "stated": False, "reads": []},
    ]
