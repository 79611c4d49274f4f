"""The loop node, with real functions."""

from typing import Any

import pytest

from apex_fast.client import Run
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def function(node_id: str, name: str, **inputs: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "function", "config": {"name": name}, "input": inputs}


def looped(name: str, body: dict[str, Any], **config: Any) -> dict[str, Any]:
    node = {"id": "l", "type": "loop", "config": {"max_iterations": 100, "body": body, **config}}
    return {"name": name, "version": "1", "nodes": [node], "output": {"last": "${nodes.l.output}"}}


async def run_of(house: Served, definition: dict[str, Any]) -> Run:
    await house.client.register(definition)
    return await house.client.start(definition["name"], {"n": 3})


async def test_each_iteration_sees_the_one_before(house: Served) -> None:
    body = {"nodes": [function("f", "echo", value="${last == null ? [iteration] : last + [iteration]}")],
            "output": "${nodes.f.output}"}  # fmt: skip
    run = await run_of(house, looped("grows", body, **{"while": "iteration < inputs.n"}))
    assert await run.result(PATIENCE_S) == {"last": [0, 1, 2]}
    requested = [event.payload["node"] for event in await run.timeline() if event.type == "ToolCallRequested"]
    assert requested == ["l[0].f", "l[1].f", "l[2].f"]


async def test_no_iteration_gives_null(house: Served) -> None:
    body = {"nodes": [function("f", "echo", value=1)]}
    assert await (await run_of(house, looped("none", body, **{"while": "false"}))).result(PATIENCE_S) == {"last": None}


async def test_iteration_that_fails_fails_the_loop(house: Served) -> None:
    """What the iterations did is undone, newest first."""
    body = {
        "nodes": [function("book", "booking"), function("check", "number", value="${iteration < 2 ? 1 : 'three'}")],
        "edges": [{"from": "book", "to": "check"}],
    }
    run = await run_of(house, looped("fails", body, **{"while": "true"}))
    assert (await run.ended(PATIENCE_S)).state == "FAILED"
    end = (await run.timeline())[-1].payload
    assert (end["error"]["node"], end["error"]["type"]) == ("l", "InvalidArguments")
    undone = [entry.node for entry in house.ledger.started(run.id) if entry.function == "undo"]
    assert undone == ["l[2].book", "l[1].book", "l[0].book"]


async def test_a_thousand_iterations_in_a_map(house: Served) -> None:
    loop = looped("", {"nodes": [function("f", "echo", value="${item + iteration}")], "output": "${nodes.f.output}"},
                  **{"while": "iteration < 250", "max_iterations": 1000})["nodes"]  # fmt: skip
    node = {"id": "m", "type": "map", "config": {"over": [1, 2, 3, 4], "body": {"nodes": loop, "edges": [],
            "output": "${nodes.l.output}"}}}  # fmt: skip
    definition = {"name": "many", "version": "1", "nodes": [node], "output": "${nodes.m.output}"}
    assert await (await run_of(house, definition)).result(PATIENCE_S) == [250, 251, 252, 253]
