"""The map node, with real functions."""

import json
from collections import Counter
from typing import Any

import pytest

from apex_fast.client import Run
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def function(node_id: str, name: str, **inputs: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "function", "config": {"name": name}, "input": inputs}


def mapped(name: str, body: dict[str, Any], over: Any = "${inputs.items}", **config: Any) -> dict[str, Any]:
    node = {"id": "m", "type": "map", "config": {"over": over, "body": body, **config}}
    return {"name": name, "version": "1", "nodes": [node], "output": {"all": "${nodes.m.output}"}}


async def run_of(house: Served, definition: dict[str, Any], items: Any) -> Run:
    await house.client.register(definition)
    return await house.client.start(definition["name"], {"items": items})


async def test_output_in_the_order_of_the_input(house: Served) -> None:
    """Later items end first."""
    pause = "${double(10 - index) / 100.0}"
    body = {"nodes": [function("a", "work", give={"item": "${item}", "index": "${index}"}, pause_s=pause)],
            "output": "${nodes.a.output}"}  # fmt: skip
    items: list[Any] = ["x", None, 3, {"k": [1]}, [], "", 2.5, True, "ü", -(2**63)]
    run = await run_of(house, mapped("order", body), items)
    assert await run.result(PATIENCE_S) == {"all": [{"item": item, "index": index} for index, item in enumerate(items)]}
    nodes = {entry.node for entry in house.ledger.started(run.id)}
    assert nodes == {f"m[{index}].a" for index in range(10)}
    counts = Counter(event.type for event in await run.timeline())
    assert (counts["ScopeOpened"], counts["ScopeClosed"]) == (10, 10)


@pytest.mark.parametrize("bound", [1, 3])
async def test_max_concurrency(house: Served, bound: int) -> None:
    body = {"nodes": [function("a", "work", pause_s=0.03)]}
    run = await run_of(house, mapped(f"bound-{bound}", body, max_concurrency=bound), list(range(12)))
    await run.result(PATIENCE_S)
    at_work, most = 0, 0
    for entry in sorted((e for e in house.ledger.entries() if e.run == run.id), key=lambda entry: entry.time_ns):
        at_work += 1 if entry.what == "started" else -1
        most = max(most, at_work)
    assert most == bound


@pytest.mark.parametrize("items", [[], None])
async def test_nothing_to_do(house: Served, items: Any) -> None:
    body = {"nodes": [function("a", "echo", value="${item}")]}
    assert await (await run_of(house, mapped("none", body), items)).result(PATIENCE_S) == {"all": []}


@pytest.mark.parametrize("items", [7, "text", {"a": 1}, True])
async def test_no_list(house: Served, items: Any) -> None:
    body = {"nodes": [function("a", "echo", value="${item}")]}
    info = await (await run_of(house, mapped("no-list", body), items)).ended(PATIENCE_S)
    assert (info.state, info.error_code) == ("FAILED", "EXPRESSION_FAILED")


async def test_item_that_fails_is_skipped(house: Served) -> None:
    body = {"nodes": [function("a", "number", value="${item}")], "output": "${nodes.a.output}"}
    run = await run_of(house, mapped("skip", body, on_item_error="skip"), [1, "two", 3, None, 5])
    assert await run.result(PATIENCE_S) == {"all": [1, None, 3, None, 5]}


async def test_item_that_fails_fails_the_map(house: Served) -> None:
    """What else is at work ends, and what was done is undone, newest first."""
    body = {
        "nodes": [function("book", "booking"), function("check", "number", value="${item}")],
        "edges": [{"from": "book", "to": "check"}],
    }
    run = await run_of(house, mapped("fails", body, max_concurrency=1), [1, 2, "three", 4])
    info = await run.ended(PATIENCE_S)
    assert info.state == "FAILED"
    end = (await run.timeline())[-1].payload
    assert end["error"]["type"] == "InvalidArguments"
    undone = [entry.node for entry in house.ledger.started(run.id) if entry.function == "undo"]
    assert undone == ["m[2].book", "m[1].book", "m[0].book"]
    assert [result["step_id"] for result in end["compensation_results"]] == undone
    assert not [entry for entry in house.ledger.started(run.id) if entry.node.startswith("m[3]")]


async def test_map_in_a_map(house: Served) -> None:
    inner = {
        "over": "${item.numbers}",
        "body": {
            "nodes": [function("n", "echo", value={"item": "${item}", "at": "${index}"})],
            "output": "${nodes.n.output}",
        },
    }
    body = {"nodes": [{"id": "inner", "type": "map", "config": inner}], "output": "${nodes.inner.output}"}
    items: list[dict[str, list[int]]] = [{"numbers": [1, 2, 3]}, {"numbers": []}, {"numbers": [4]}]
    run = await run_of(house, mapped("nested", body), items)
    expected = [[{"item": n, "at": at} for at, n in enumerate(item["numbers"])] for item in items]
    assert await run.result(PATIENCE_S) == {"all": expected}
    requested = {e.payload["node"] for e in await run.timeline() if e.type == "ToolCallRequested"}
    assert requested == {"m[0].inner[0].n", "m[0].inner[1].n", "m[0].inner[2].n", "m[2].inner[0].n"}


async def test_guards_joins_and_timers_in_a_body(house: Served) -> None:
    body = {
        "nodes": [
            function("odd", "echo", value="odd"),
            function("even", "echo", value="even"),
            function("start", "echo", value="${item}"),
            {"id": "pause", "type": "timer", "config": {"duration_s": 0.05}},
            {"id": "either", "type": "join", "join": "any"},
        ],
        "edges": [
            {"from": "start", "to": "pause"},
            {"from": "pause", "to": "odd", "when": "item % 2 == 1"},
            {"from": "pause", "to": "even", "when": "item % 2 == 0"},
            {"from": "odd", "to": "either"},
            {"from": "even", "to": "either"},
        ],
        "output": "${[nodes.odd.output, nodes.even.output]}",
    }
    run = await run_of(house, mapped("body", body), [1, 2, 3])
    assert await run.result(PATIENCE_S) == {"all": [["odd", None], [None, "even"], ["odd", None]]}


async def test_a_thousand_items(house: Served) -> None:
    body = {"nodes": [function("a", "echo", value="${item * 2}")], "output": "${nodes.a.output}"}
    run = await run_of(house, mapped("thousand", body, max_concurrency=64), list(range(1000)))
    assert await run.result(PATIENCE_S) == {"all": [2 * number for number in range(1000)]}


async def test_too_many_items(house: Served) -> None:
    body = {"nodes": [function("a", "echo")]}
    await house.client.register(mapped("too-many", body))
    # 100,001 items of two bytes each are far below the limit of a body.
    run = await house.client.start("too-many", {"items": json.loads("[" + "1," * 100_000 + "1]")})
    info = await run.ended(PATIENCE_S)
    assert info.state == "FAILED"
    assert (await run.timeline())[-1].payload["error"]["type"] == "LimitExceeded"
