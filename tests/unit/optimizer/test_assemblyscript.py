"""A pass in a language that is not Rust: built from its source, asked, and proved."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from apex_fast.core import compile as compile_definition
from apex_fast.domain import Definition
from apex_fast.optimizer import Found, OptimizedPatch, PassFolder, optimize
from tests.unit.optimizer.guests import UNHURRIED

SOURCE = Path(__file__).resolve().parents[3] / "wasm-passes" / "assemblyscript"


@pytest.fixture(scope="module")
def skip_join(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The pass, as its `package.json` builds it."""
    assert shutil.which("npm"), "Node 20 or newer with npm is needed to build it: see CONTRIBUTING.md"
    folder = tmp_path_factory.mktemp("assemblyscript") / "skip-join"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "*.wasm"))
    for words in (["ci", "--fetch-retries=5", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        done = subprocess.run(["npm", *words], cwd=folder, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    [found] = PassFolder([folder], UNHURRIED).passes()
    return found


def flow(nodes: list[dict[str, Any]], edges: list[dict[str, Any]], output: object) -> Definition:
    """A workflow of these."""
    definition = {"name": "w", "version": "1", "nodes": nodes, "edges": edges, "output": output}
    return compile_definition(json.dumps(definition).encode())


def call(name: str) -> dict[str, Any]:
    """A write."""
    return {"id": name, "type": "function", "config": {"name": name}, "input": {}}


def edge(source: str, target: str, **more: str) -> dict[str, Any]:
    """A way."""
    return {"from": source, "to": target, **more}


JOIN = {"id": "j", "type": "join"}


def test_joins_that_only_pass_on_are_taken_out(skip_join: Found) -> None:
    nodes = [call("a"), JOIN, {"id": "k", "type": "join"}, call("b"), call("c")]
    edges = [edge("a", "j"), edge("j", "k"), edge("k", "b"), edge("k", "c")]
    before = flow(nodes, edges, {"said": 'é "quoted" \n', "b": "${nodes.b.output}"})
    done = optimize(before, [skip_join])
    assert [type(step.outcome) for step in done.steps] == [OptimizedPatch, OptimizedPatch]
    after = json.loads(done.definition.canonical)
    assert sorted(node["id"] for node in after["nodes"]) == ["a", "b", "c"]
    assert sorted((one["from"], one["to"]) for one in after["edges"]) == [("a", "b"), ("a", "c")]
    assert after["output"]["said"] == 'é "quoted" \n'


def test_in_a_body_too(skip_join: Found) -> None:
    body = {"nodes": [call("a"), JOIN, call("b")], "edges": [edge("a", "j"), edge("j", "b")]}
    before = flow([{"id": "m", "type": "map", "config": {"over": [1, 2], "body": body}}], [], "${nodes.m.output}")
    done = optimize(before, [skip_join])
    assert [type(step.outcome) for step in done.steps] == [OptimizedPatch]
    after = json.loads(done.definition.canonical)["nodes"][0]["config"]["body"]
    assert [(one["from"], one["to"]) for one in after["edges"]] == [("a", "b")]


@pytest.mark.parametrize(
    ("join", "edges", "output"),
    [
        (JOIN, [edge("a", "j"), edge("b", "j"), edge("j", "c")], 1),
        (JOIN, [edge("a", "j"), edge("j", "c", when="nodes.a.output.x")], 1),
        (JOIN, [edge("a", "j", on="error"), edge("j", "c")], 1),
        (JOIN, [edge("a", "j"), edge("a", "c"), edge("j", "c")], 1),
        (JOIN, [edge("a", "j"), edge("j", "c")], "${nodes.j.status}"),
        (JOIN, [edge("a", "j")], 1),
        ({**JOIN, "join": "any"}, [edge("a", "j"), edge("j", "c")], 1),
    ],
)
def test_a_join_that_does_more_stays(
    skip_join: Found, join: dict[str, Any], edges: list[dict[str, Any]], output: object
) -> None:
    before = flow([call("a"), call("b"), join, call("c")], edges, output)
    done = optimize(before, [skip_join])
    assert (done.steps, done.definition.hash) == ([], before.hash)
