"""The composite node, with real functions."""

from typing import Any

import pytest

from apex_fast.client import Run
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def function(node_id: str, name: str, **inputs: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "function", "config": {"name": name}, "input": inputs}


def composite(node_id: str, workflow: str, tag: str = "main", **inputs: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "composite", "config": {"workflow": workflow, "tag": tag, "inputs": inputs}}


async def run_of(house: Served, name: str, nodes: list[Any], edges: list[Any] | None = None, **more: Any) -> Run:
    await house.client.register({"name": name, "version": "1", "nodes": nodes, "edges": edges or [], **more})
    return await house.client.start(name, {"n": 3})


async def children_of(house: Served, run: Run) -> list[Run]:
    page = await house.client.runs(parent_run_id=run.id)
    return [house.client.run(info.run_id) for info in page.runs]


async def test_the_output_of_the_child_is_that_of_the_node(house: Served) -> None:
    inner = {"name": "twice", "version": "1", "nodes": [function("f", "echo", value="${inputs.n * 2}")],
             "output": "${nodes.f.output}"}  # fmt: skip
    await house.client.register(inner)
    run = await run_of(house, "outer", [composite("c", "twice", n="${inputs.n}")])
    assert await run.result(PATIENCE_S) == {"c": 6}
    [child] = await children_of(house, run)
    info = await child.info()
    assert (info.workflow, info.state, info.output) == ("twice", "COMPLETED", 6)
    assert (info.parent_run_id, info.parent_node) == (run.id, "c")
    types = [event.type for event in await run.timeline()]
    assert types == ["RunStarted", "ChildStarted", "ChildEnded", "WorkflowCompleted"]
    _, body = await house.get(f"/runs/{child.id}")
    assert (body["parent_run_id"], body["parent_node"]) == (run.id, "c")
    _, listed = await house.get(f"/runs?parent_run_id={run.id}")
    assert [one["run_id"] for one in listed["runs"]] == [child.id]
    assert (await house.get("/runs?parent_run_id=nobody"))[0] == 400


async def test_a_failure_comes_up_and_what_other_children_did_is_undone(house: Served) -> None:
    await house.client.register({"name": "books", "version": "1", "nodes": [function("book", "booking")]})
    await house.client.register({"name": "breaks", "version": "1", "nodes": [function("b", "number", value="three")]})
    nodes = [composite("first", "books"), composite("second", "books"), composite("third", "breaks")]
    edges = [{"from": "first", "to": "second"}, {"from": "second", "to": "third"}]
    run = await run_of(house, "saga-of-runs", nodes, edges)
    assert (await run.ended(PATIENCE_S)).state == "FAILED"
    end = (await run.timeline())[-1].payload
    assert (end["error"]["node"], end["error"]["type"]) == ("third", "InvalidArguments")
    steps = [(step["step_id"], step["success"]) for step in end["compensation_results"]]
    assert steps == [("second/book", True), ("first/book", True)]
    states = sorted([(await child.info()).state for child in await children_of(house, run)])
    assert states == ["COMPLETED", "COMPLETED", "FAILED"]


async def test_a_cancel_goes_down(house: Served) -> None:
    gate = {"id": "gate", "type": "approval", "config": {"prompt": "?"}}
    edges = [{"from": "book", "to": "gate"}]
    inner = {"name": "waits", "version": "1", "nodes": [function("book", "booking"), gate], "edges": edges}
    await house.client.register(inner)
    run = await run_of(house, "outer-waits", [composite("c", "waits")])
    async for event in run.watch():
        if event.type == "ChildStarted":
            break
    [child] = await children_of(house, run)
    async for event in child.watch():
        if event.type == "ApprovalRequested":
            break
    await run.cancel("enough")
    assert (await run.ended(PATIENCE_S)).state == "CANCELLED"
    assert (await child.ended(PATIENCE_S)).state == "CANCELLED"
    assert [entry.node for entry in house.ledger.started(child.id) if entry.function == "undo"] == ["book"]


async def test_a_child_that_is_cancelled_fails_its_node(house: Served) -> None:
    gate = {"id": "gate", "type": "approval", "config": {"prompt": "?"}}
    await house.client.register({"name": "waits-too", "version": "1", "nodes": [gate]})
    run = await run_of(house, "outer-waits-too", [composite("c", "waits-too")])
    async for event in run.watch():
        if event.type == "ChildStarted":
            break
    [child] = await children_of(house, run)
    await child.cancel("not this one")
    assert (await run.ended(PATIENCE_S)).state == "FAILED"
    assert (await run.timeline())[-1].payload["error"]["type"] == "Cancelled"


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        (composite("c", "nowhere"), "WorkflowNotFound"),
        (composite("c", "typed", "canary"), "WorkflowNotFound"),
        (composite("c", "typed", n="text"), "InputsInvalid"),
        (composite("c", "itself"), "LimitExceeded"),
    ],
)
async def test_what_cannot_start_says_why(house: Served, node: dict[str, Any], wanted: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    await house.client.register({"name": "typed", "version": "1", "inputs": schema, "nodes": [function("f", "echo")]})
    await house.client.register({"name": "itself", "version": "1", "nodes": [composite("c", "itself")]})
    name = f"{wanted}-{node['config']['workflow']}-{node['config']['tag']}"
    run = await run_of(house, name, [node])
    assert (await run.ended(PATIENCE_S)).state == "FAILED"
    assert (await run.timeline())[-1].payload["error"]["type"] == wanted


async def test_a_map_of_five_hundred_children(house: Served) -> None:
    inner = {"name": "one", "version": "1", "nodes": [function("f", "echo", value="${inputs.n * 2}")],
             "output": "${nodes.f.output}"}  # fmt: skip
    await house.client.register(inner)
    body = {"nodes": [composite("c", "one", n="${item}")], "edges": [], "output": "${nodes.c.output}"}
    node = {"id": "m", "type": "map", "config": {"over": list(range(500)), "body": body}}
    run = await run_of(house, "many-children", [node], output="${nodes.m.output}")
    assert await run.result(PATIENCE_S) == [2 * number for number in range(500)]
