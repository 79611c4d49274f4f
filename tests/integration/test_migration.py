"""A running run moves to another version, over both doors and over a kill."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from apex_fast.client import Run
from apex_fast.core import check_history
from apex_fast.errors import InvalidInput, NotFound, WrongState
from tests.support.gateway import Served, process_in
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def call(node: str, **more: Any) -> dict[str, Any]:
    return {"id": node, "type": "function", "config": {"name": "work"}, "input": {"give": node}, **more}


def workflow(name: str, version: str, *after: str, prompt: str = "Go on?") -> dict[str, Any]:
    """`a`, a question, and what comes after it, in a row."""
    row = ["a", "ask", *after]
    nodes = [call(node) for node in row if node != "ask"]
    nodes.insert(1, {"id": "ask", "type": "approval", "config": {"prompt": prompt}})
    edges = [{"from": before, "to": node} for before, node in itertools.pairwise(row)]
    return {"name": name, "version": version, "nodes": nodes, "edges": edges}


async def asked(run: Run) -> None:
    """Until somebody is asked."""
    async for event in run.watch():
        if event.type == "ApprovalRequested":
            return


async def test_a_waiting_run_goes_on_under_the_new_version(house: Served) -> None:
    await house.client.register(workflow("moved", "1", "gone"))
    run = await house.client.start("moved")
    await asked(run)
    before = (await run.info()).offset
    await house.client.register(workflow("moved", "2", "b", "c"))
    assert (await run.info()).version == "1", "a new version disturbs nothing"
    assert await run.migrate("2") == 1
    status, again = await house.post(f"/runs/{run.id}/migrate", {"version": "2"})
    assert (status, again["version"], again["epoch"], again["existing"]) == (200, "2", 1, True)
    info = await run.info()
    assert (info.version, info.epoch, info.state) == ("2", 1, "WAITING")
    then = await run.info(at_offset=before)
    assert (then.version, then.epoch) == ("1", 0)
    [approval] = await house.client.approvals(run.id)
    await house.client.resolve(approval.ticket, approve=True)
    await run.result(PATIENCE_S)
    assert [entry.node for entry in house.ledger.started(run.id)] == ["a", "b", "c"]
    epochs = {event.type: event.epoch for event in await run.timeline()}
    assert (epochs["RunStarted"], epochs["RunMigrated"], epochs["WorkflowCompleted"]) == (0, 0, 1)
    with pytest.raises(WrongState):
        await run.migrate("1")


async def test_a_tag_names_the_version_over_http(house: Served) -> None:
    await house.client.register(workflow("tagged", "1"))
    run = await house.client.start("tagged")
    await asked(run)
    await house.client.register(workflow("tagged", "2", "b"))
    status, moved = await house.post(f"/runs/{run.id}/migrate", {})
    assert (status, moved["version"], moved["existing"]) == (200, "1", True), "main points there"
    await house.client.tag("tagged", "2", "main")
    status, moved = await house.post(f"/runs/{run.id}/migrate", {"tag": "main"})
    assert (status, moved["version"], moved["epoch"], moved["existing"]) == (200, "2", 1, False)
    status, problem = await house.post(f"/runs/{run.id}/migrate", {"tag": "main", "version": "1"})
    assert (status, problem["errors"][0]["pointer"]) == (400, "/tag")
    status, problem = await house.post(f"/runs/{run.id}/migrate", {"version": "7"})
    assert (status, problem["code"]) == (404, "WORKFLOW_NOT_FOUND")
    with pytest.raises(NotFound):
        await house.client.run("0190a000-0000-7000-8000-000000000000").migrate("2")


async def test_what_has_begun_must_be_the_same(house: Served) -> None:
    await house.client.register(workflow("asked", "1"))
    run = await house.client.start("asked")
    await asked(run)
    await house.client.register(workflow("asked", "2", prompt="Really?"))
    with pytest.raises(InvalidInput) as caught:
        await run.migrate("2")
    assert caught.value.code == "VERSION_INCOMPATIBLE"
    assert caught.value.errors == [("/nodes/1/config", "config of ask is another one")]
    status, problem = await house.post(f"/runs/{run.id}/migrate", {"version": "2"})
    assert (status, problem["code"]) == (409, "VERSION_INCOMPATIBLE")
    assert problem["errors"] == [{"pointer": "/nodes/1/config", "detail": "config of ask is another one"}]
    assert (await run.info()).epoch == 0


async def test_a_migration_survives_a_kill_and_its_history_is_decided_again(tmp_path: Path) -> None:
    async with process_in(tmp_path) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        await house.client.register(workflow("killed", "1"))
        run = await house.client.start("killed")
        await asked(run)
        await house.client.register(workflow("killed", "2", "b"))
        await run.migrate("2")
        process.kill()
        await house.close()
    async with process_in(tmp_path) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        run = house.client.run(run.id)
        info = await run.info()
        assert (info.version, info.epoch) == ("2", 1)
        await house.client.resolve(f"{run.id}~ask", approve=True)
        await run.result(PATIENCE_S)
        assert [entry.node for entry in house.ledger.started(run.id)] == ["a", "b"]
        assert check_history(await run.history()).records == (await run.info()).offset + 1
        await house.close()
