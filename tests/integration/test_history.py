"""The past of a run, over both doors: its state at an offset, its history as a file."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from apex_fast.core import check_history
from apex_fast.errors import InvalidInput, NotFound
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROW = {
    "name": "row",
    "version": "1",
    "nodes": [
        {"id": "a", "type": "function", "config": {"name": "echo"}, "input": {"value": 1}},
        {"id": "b", "type": "timer", "config": {"duration_s": 0.05}},
    ],
    "edges": [{"from": "a", "to": "b"}],
}


async def apex_history(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "apex_fast.cli.main", "history", *words]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


async def test_state_at_every_offset(house: Served) -> None:
    await house.client.register(ROW)
    run = await house.client.start("row")
    end = await run.ended(PATIENCE_S)
    events = await run.timeline()
    states = []
    for event in events:
        then = await run.info(at_offset=event.offset)
        status, shown = await house.get(f"/runs/{run.id}?offset={event.offset}")
        assert status == 200
        assert (shown["state"], shown["offset"]) == (then.state, event.offset)
        states.append((event.type, then.state, shown["progress"]["nodes_done"]))
    assert states == [
        ("RunStarted", "PENDING", 0),
        ("ToolCallRequested", "RUNNING", 0),
        ("ToolResultReceived", "RUNNING", 1),
        ("TimerStarted", "WAITING", 1),
        ("TimerFired", "RUNNING", 2),
        ("WorkflowCompleted", "COMPLETED", 2),
    ]
    last = await run.info(at_offset=events[-1].offset)
    assert (last.output, last.offset) == (end.output, end.offset)


async def test_an_offset_that_is_not_there(house: Served) -> None:
    await house.client.register(ROW)
    run = await house.client.start("row")
    await run.ended(PATIENCE_S)
    with pytest.raises(InvalidInput, match="the last event of the run has the offset 5") as caught:
        await run.info(at_offset=6)
    assert [pointer for pointer, _ in caught.value.errors] == ["/offset"]
    status, problem = await house.get(f"/runs/{run.id}?offset=6")
    assert (status, problem["code"], problem["errors"][0]["pointer"]) == (400, "INVALID_INPUT", "/offset")


async def test_a_question_about_the_past(house: Served) -> None:
    ask = {"id": "ask", "type": "approval", "config": {"prompt": "Go on?"}}
    await house.client.register({**ROW, "name": "asked", "nodes": [ROW["nodes"][0], ask], "edges": []})
    run = await house.client.start("asked", {"x": 1})
    async for event in run.watch():
        if event.type == "ToolResultReceived":
            break
    stamp = {"op": "add", "path": "/nodes/-", "value": {"id": "stamp", "type": "join"}}
    await run.patch([stamp, {"op": "add", "path": "/edges/-", "value": {"from": "ask", "to": "stamp"}}])
    await house.client.resolve(f"{run.id}~ask", approve=True)
    await run.ended(PATIENCE_S)
    asked = next(event.offset for event in await run.timeline() if event.type == "PatchApplied") - 1
    assert await run.query("nodes", at_offset=asked) == {"a": "ok", "ask": "running"}
    assert await run.query("[nodes.a.status, inputs.x + 1]", at_offset=asked) == ["ok", 2]
    assert await run.query("state", at_offset=0) == "PENDING"
    # What a patch added can be asked for from there on, and not before.
    assert await run.query("nodes.stamp.status", at_offset=asked + 1) is None
    with pytest.raises(InvalidInput, match="no node"):
        await run.query("nodes.stamp.status", at_offset=asked)
    with pytest.raises(InvalidInput, match="the last event of the run"):
        await run.query("state", at_offset=99)
    status, value = await house.get(f"/runs/{run.id}/query?expr={{'a':nodes.a.status}}&offset={asked}")
    assert (status, value) == (200, {"a": "ok"})
    status, problem = await house.get(f"/runs/{run.id}/query?expr=nodes.a.status")
    assert (status, problem["code"]) == (409, "RUN_ENDED")


async def test_the_file_is_the_same_by_both_doors_and_decided_again(house: Served, tmp_path: Path) -> None:
    await house.client.register(ROW)
    run = await house.client.start("row")
    await run.ended(PATIENCE_S)
    data = await run.history()
    async with house.http.get(f"/runs/{run.id}/history") as answer:
        assert answer.headers["content-type"] == "application/vnd.apex.history"
        assert await answer.read() == data
    checked = check_history(data)
    assert (checked.run_id, checked.records, checked.decided) == (run.id, 6, 3)
    file = tmp_path / "run.apexhist"
    wrote = await apex_history("export", run.id, str(file), "--address", house.process.address)
    assert wrote.stdout == f"{file}: {len(data)} bytes\n"
    assert file.read_bytes() == data
    bad = tmp_path / "bad.apexhist"
    bad.write_bytes(data[:-1])
    found = await apex_history("replay", str(file), str(bad))
    assert found.returncode == 1
    assert found.stdout == f"{file}: 6 records, 3 of them decided again, all the same\n"
    assert found.stderr == f"{bad}: the history is cut short within a record\n"


async def test_a_run_that_goes_on_has_a_history(house: Served) -> None:
    definition = {"name": "asks", "version": "1",
                  "nodes": [{"id": "ask", "type": "approval", "config": {"prompt": "?"}}]}  # fmt: skip
    await house.client.register(definition)
    run = await house.client.start("asks")
    while not await house.client.approvals(run.id):
        pass
    assert check_history(await run.history()).records == 2


async def test_no_such_run(house: Served) -> None:
    with pytest.raises(NotFound):
        await house.client.run("0190a000-0000-7000-8000-000000000000").history()
