"""A run again from a node on, over both doors and over a kill."""

from pathlib import Path
from typing import Any

import pytest

from apex_fast.errors import InvalidInput, KeyReused, NotFound
from tests.support.gateway import Served, process_in
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def call(node: str, **more: Any) -> dict[str, Any]:
    config = {"name": "work"}
    return {"id": node, "type": "function", "config": config, "input": {"give": node}, "effect": "pure", **more}


ROW = {
    "name": "replayed",
    "version": "1",
    "nodes": [call("a"), call("b"), call("c", effect="write")],
    "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}],
}


def executed(house: Served, run_id: str) -> list[str]:
    return [entry.node for entry in house.ledger.started(run_id)]


async def test_only_what_follows_is_executed(house: Served) -> None:
    await house.client.register(ROW)
    run = await house.client.start("replayed", {"x": 1})
    await run.result(PATIENCE_S)
    again = await run.replay("b", allow_writes=True)
    assert again.id != run.id
    await again.result(PATIENCE_S)
    assert executed(house, again.id) == ["b", "c"]
    events = await again.timeline()
    assert [event.payload["node"] for event in events if event.payload.get("copied")] == ["a"]
    started = events[0].payload
    assert (started["origin_run"], started["origin_from"], started["mode"]) == (run.id, "b", "freeze")
    assert started["inputs"] == {"x": 1}


async def test_live_executes_all(house: Served) -> None:
    await house.client.register(ROW)
    run = await house.client.start("replayed")
    await run.result(PATIENCE_S)
    again = await run.replay(mode="live", allow_writes=True)
    await again.result(PATIENCE_S)
    assert executed(house, again.id) == ["a", "b", "c"]


async def test_refusals_say_where(house: Served) -> None:
    await house.client.register(ROW)
    run = await house.client.start("replayed")
    await run.result(PATIENCE_S)
    with pytest.raises(InvalidInput) as caught:
        await run.replay("b")
    assert caught.value.code == "WRITES_NOT_ALLOWED"
    assert caught.value.errors == [("/nodes/2", "c writes, and would run")]
    status, problem = await house.post(f"/runs/{run.id}/replay", {"from": "b"})
    assert (status, problem["code"]) == (409, "WRITES_NOT_ALLOWED")
    status, problem = await house.post(f"/runs/{run.id}/replay", {"from": "nowhere"})
    assert (status, problem["code"]) == (404, "NODE_NOT_FOUND")
    with pytest.raises(NotFound):
        await house.client.run("0190a000-0000-7000-8000-000000000000").replay()


async def test_a_key_gives_the_same_run(house: Served) -> None:
    await house.client.register(ROW)
    run = await house.client.start("replayed")
    await run.result(PATIENCE_S)
    first = await run.replay("c", allow_writes=True, idempotency_key="replay-1")
    second = await run.replay("c", allow_writes=True, idempotency_key="replay-1")
    assert (second.id, second.existing) == (first.id, True)
    with pytest.raises(KeyReused):
        await run.replay("b", allow_writes=True, idempotency_key="replay-1")


async def test_a_kill_lets_nothing_run_that_is_kept(tmp_path: Path) -> None:
    asks = {"id": "ask", "type": "approval", "config": {"prompt": "?"}}
    definition = {
        "name": "waits", "version": "1", "nodes": [call("a"), asks, call("b"), call("c")],
        "edges": [{"from": "a", "to": "b"}, {"from": "ask", "to": "c"}, {"from": "b", "to": "c"}],
    }  # fmt: skip
    async with process_in(tmp_path) as process:
        from tests.support.ledger import Ledger

        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        await house.client.register(definition)
        run = await house.client.start("waits")
        await house.client.resolve(f"{run.id}~ask", approve=True)
        await run.result(PATIENCE_S)
        again = await run.replay("ask")
        while not await house.client.approvals(again.id):
            pass
        run_id = again.id
        process.kill()
        await house.close()
    async with process_in(tmp_path) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        await house.client.resolve(f"{run_id}~ask", approve=True)
        await house.client.run(run_id).result(PATIENCE_S)
        assert executed(house, run_id) == ["c"]
        await house.close()
