"""What was done is undone, newest first, when a run fails or is cancelled."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from apex_fast.client import Event, Run
from apex_fast.errors import WrongState
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def node(node_id: str, name: str = "booking", **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "function", "config": {"name": name}, **more}


def row(name: str, nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Nodes one after the other."""
    ids = [one["id"] for one in nodes]
    edges = [{"from": a, "to": b} for a, b in pairwise(ids)]
    return {"name": name, "version": "1", "nodes": nodes, "edges": edges}


async def started(house: Served, definition: dict[str, Any]) -> Run:
    await house.client.register(definition)
    return await house.client.start(definition["name"])


def undone(house: Served, run: Run) -> list[tuple[str, str]]:
    """Nodes that were undone, in order, with the key that the function was given."""
    return [(entry.node, entry.key) for entry in house.ledger.started(run.id) if entry.function == "undo"]


def ending(events: list[Event]) -> dict[str, Any]:
    assert events[-1].type == "WorkflowFailed"
    return events[-1].payload


async def test_newest_first(house: Served) -> None:
    run = await started(house, row("trip", [node("flight"), node("hotel"), node("car"), node("mail", "fail")]))
    info = await run.ended(PATIENCE_S)
    assert (info.state, info.error_code) == ("FAILED", "NODE_FAILED")
    assert undone(house, run) == [(name, f"{run.id}/{name}/undo") for name in ("car", "hotel", "flight")]
    events = await run.timeline()
    end = ending(events)
    assert end["compensation_executed"] is True
    results = end["compensation_results"]
    assert [(result["step_id"], result["success"]) for result in results] == [
        ("car", True),
        ("hotel", True),
        ("flight", True),
    ]
    assert end["error"]["node"] == "mail"
    assert end["error"]["type"] == "Hopeless"
    asked = [event.payload for event in events if event.type == "CompensationRequested"]
    assert [one["node"] for one in asked] == ["car", "hotel", "flight"]
    assert asked[0]["input"]["output"]["reference"] == f"{run.id}/car"
    _, shown = await house.get(f"/runs/{run.id}")
    assert [result["step_id"] for result in shown["compensation_results"]] == ["car", "hotel", "flight"]
    assert (shown["state"], shown["error"]["node"]) == ("FAILED", "mail")


async def test_nothing_to_undo(house: Served) -> None:
    run = await started(house, row("nothing", [node("a", "echo"), node("b", "fail")]))
    await run.ended(PATIENCE_S)
    end = ending(await run.timeline())
    assert (end["compensation_executed"], end["compensation_results"]) == (False, [])


async def test_one_that_cannot_be_undone_does_not_stop_the_others(house: Served) -> None:
    stuck = node("hotel", input={"stuck": True})
    run = await started(house, row("stuck", [node("flight"), stuck, node("mail", "fail")]))
    await run.ended(PATIENCE_S)
    results = ending(await run.timeline())["compensation_results"]
    assert [(result["step_id"], result["success"]) for result in results] == [("hotel", False), ("flight", True)]
    assert "cannot be undone" in str(results[0]["error"])
    assert [name for name, _ in undone(house, run)][-1] == "flight"


async def test_compensation_stated_by_the_node(house: Served) -> None:
    """A name and an input of its own win over what the function says."""
    own = node("flight", compensation={"name": "work", "input": {"give": "${nodes.flight.output.reference}"}})
    run = await started(house, row("own", [own, node("mail", "fail")]))
    await run.ended(PATIENCE_S)
    asked = [event.payload for event in await run.timeline() if event.type == "CompensationRequested"]
    assert [(one["name"], one["input"]) for one in asked] == [("work", {"give": f"{run.id}/flight"})]
    assert undone(house, run) == []


async def test_write_in_flight_when_another_fails(house: Served) -> None:
    """Its outcome is unknown after the cancel, so it counts as done."""
    nodes = [node("slow", input={"pause_s": 30}), node("mail", "fail", input={"message": "down"})]
    run = await started(house, {"name": "beside", "version": "1", "nodes": nodes})
    info = await run.ended(PATIENCE_S)
    assert info.state == "FAILED"
    assert [name for name, _ in undone(house, run)] == ["slow"]


async def test_handled_failure_undoes_nothing(house: Served) -> None:
    """An edge on error, or `on_error: continue`."""
    definition = row("handled", [node("flight"), node("mail", "fail"), node("letter", "echo", input={"value": "post"})])
    definition["edges"][1]["on"] = "error"
    run = await started(house, definition)
    assert await run.result(PATIENCE_S) == {"letter": "post"}
    assert undone(house, run) == []

    definition = row("goes-on", [node("flight"), node("mail", "fail", on_error="continue"), node("never", "echo")])
    run = await started(house, definition)
    assert (await run.ended(PATIENCE_S)).state == "COMPLETED"
    events = await run.timeline()
    assert [event.payload["node"] for event in events if event.type == "NodeSkipped"] == ["never"]
    assert undone(house, run) == []


async def requested(run: Run, node_id: str) -> None:
    """Wait until a node is at work."""
    async for event in run.watch():
        if event.type == "ToolCallRequested" and event.payload["node"] == node_id:
            return


async def test_cancel_undoes_and_ends(house: Served) -> None:
    definition = row("cancelled", [node("flight"), node("hotel", input={"pause_s": 600}), node("car")])
    run = await started(house, definition)
    async with asyncio.timeout(PATIENCE_S):
        await requested(run, "hotel")
    await run.cancel("changed my mind")
    await run.cancel("really")
    info = await run.ended(PATIENCE_S)
    assert (info.state, info.error_code) == ("CANCELLED", "CANCELLED")
    assert [name for name, _ in undone(house, run)] == ["hotel", "flight"]
    events = await run.timeline()
    assert [event.payload["reason"] for event in events if event.type == "RunCancelled"] == ["changed my mind"]
    assert "car" not in {event.payload.get("node") for event in events}
    await run.cancel("again")
    status, answer = await house.post(f"/runs/{run.id}/cancel", b"{}")
    assert (status, answer["state"]) == (202, "CANCELLED")


async def test_cancel_without_undoing(house: Served) -> None:
    run = await started(house, row("kept", [node("flight"), node("hotel", input={"pause_s": 600})]))
    async with asyncio.timeout(PATIENCE_S):
        await requested(run, "hotel")
    status, answer = await house.post(f"/runs/{run.id}/cancel", {"reason": "leave it", "compensate": False})
    assert status == 202, answer
    assert (await run.ended(PATIENCE_S)).state == "CANCELLED"
    assert undone(house, run) == []


async def test_cancel_of_an_ended_run(house: Served) -> None:
    run = await started(house, row("ended", [node("a", "echo")]))
    await run.ended(PATIENCE_S)
    with pytest.raises(WrongState) as refused:
        await run.cancel()
    assert refused.value.code == "RUN_ENDED"
    status, problem = await house.post(f"/runs/{run.id}/cancel", b"{}")
    assert (status, problem["code"]) == (409, "RUN_ENDED")
