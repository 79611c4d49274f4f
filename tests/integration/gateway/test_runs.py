"""Runs through both doors: started, followed, listed, ended."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from apex_fast.client import Client
from apex_fast.wire.apex.v1 import common_pb2, run_pb2
from tests.integration.gateway.conftest import Gateway
from tests.support.definitions import chain, definition, node
from tests.support.patience import PATIENCE_S

HOLD = {"config": {"name": "hold"}}


def details_of(error: grpc.aio.AioRpcError) -> tuple[str, list[str]]:
    """Reason and fields of a refusal."""
    raw = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(raw)
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    places: list[str] = []
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(fields):
            places = [violation.field for violation in fields.field_violations]
    return info.reason, places


async def read_on(call: Any) -> None:
    """Read a stream to its end."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def sse(gateway: Gateway, path: str, **headers: str) -> list[tuple[int, str, Any]]:
    """The events of a stream that ends."""
    found = []
    async with gateway.http.get(path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        text = (await response.read()).decode()
    for frame in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.splitlines() if not line.startswith(":"))
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


async def test_a_run_is_started_once_and_finishes(gateway: Gateway) -> None:
    await gateway.register(chain(3))
    first = await gateway.call("StartRun", workflow={"name": "chain"}, idempotency_key="k", inputs_json=b'{"a": 1}')
    again = await gateway.call("StartRun", workflow={"name": "chain"}, idempotency_key="k", inputs_json=b'{"a": 1}')
    assert (first.existing, again.existing) == (False, True)
    assert first.run_id == again.run_id
    run = await gateway.call("GetRun", run_id=first.run_id, wait=True)
    assert run.state == common_pb2.RUN_STATE_COMPLETED
    assert json.loads(run.output_json)
    assert json.loads(run.inputs_json) == {"a": 1}
    assert run.progress.percentage == 100
    assert run.ended_time >= run.started_time
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("StartRun", workflow={"name": "chain"}, idempotency_key="k", inputs_json=b'{"a": 2}')
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details_of(caught.value)[0] == "IDEMPOTENCY_KEY_REUSED"


async def test_the_key_may_come_as_metadata_and_the_field_wins(gateway: Gateway) -> None:
    await gateway.register(chain(1))
    metadata = (("idempotency-key", "m"),)
    first = await gateway.call("StartRun", metadata, workflow={"name": "chain"})
    again = await gateway.call("StartRun", metadata, workflow={"name": "chain"})
    other = await gateway.call("StartRun", metadata, workflow={"name": "chain"}, idempotency_key="f")
    assert first.run_id == again.run_id != other.run_id


async def test_many_starts_in_a_stream(gateway: Gateway) -> None:
    await gateway.register(chain(2))
    call = gateway.multi(
        "/apex.v1.RunService/StartRuns", run_pb2.StartRunsRequest, run_pb2.StartRunsResponse, "stream_stream"
    )(timeout=PATIENCE_S)
    good = run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name="chain"))
    bad = run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name="chain"), inputs_json=b"[1]")
    unknown = run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name="nobody"))
    for batch in range(5):
        await call.write(run_pb2.StartRunsRequest(batch_id=batch, items=[good] * 20 + [bad, unknown], wait=batch == 4))
    await call.done_writing()
    found: dict[tuple[int, int], run_pb2.StartRunsResult] = {}
    async for response in call:
        for result in response.results:
            assert (response.batch_id, result.index) not in found
            found[response.batch_id, result.index] = result
    assert len(found) == 5 * 22
    assert len({result.run_id for result in found.values() if result.run_id}) == 100
    refused = {result.error.code: result.error for result in found.values() if result.HasField("error")}
    assert refused["INVALID_INPUT"].pointer == "/inputs_json"
    assert refused["WORKFLOW_NOT_FOUND"].grpc_code == 5
    assert {found[4, index].state for index in range(20)} == {common_pb2.RUN_STATE_COMPLETED}


async def test_watching_gives_every_event_once(gateway: Gateway) -> None:
    """Viewers that come at any moment see the same events, in order, without gap or double."""
    nodes = [node(f"s{i}") for i in range(20)]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(19)]
    nodes[10] = node("s10", **HOLD)
    await gateway.register(definition("watched", nodes, edges))
    run_id = await gateway.start("watched")

    async def grpc_offsets(start: int) -> list[int]:
        return [event.offset async for event in gateway.watch(run_id, start)]

    async def sse_offsets(start: int) -> list[int]:
        return [offset for offset, _, _ in await sse(gateway, f"/runs/{run_id}/events?from={start}")]

    viewers = [asyncio.create_task(grpc_offsets(start)) for start in (0, 0, 3)]
    viewers += [asyncio.create_task(sse_offsets(start)) for start in (0, 3)]
    async with asyncio.timeout(PATIENCE_S):
        while (await gateway.call("GetRun", run_id=run_id)).progress.nodes_done != 10:  # noqa: ASYNC110 (asked)
            await asyncio.sleep(0.005)
    viewers += [asyncio.create_task(grpc_offsets(0)), asyncio.create_task(sse_offsets(5))]
    await asyncio.sleep(0)
    gateway.gate.set()
    seen = await asyncio.gather(*viewers)
    last = (await gateway.call("GetRun", run_id=run_id, wait=True)).offset
    for offsets in seen:
        assert offsets == list(range(offsets[0], last + 1))
    assert [offsets[0] for offsets in seen] == [0, 0, 3, 0, 3, 0, 5]
    assert await grpc_offsets(0) == list(range(last + 1))
    assert len(gateway.door.house.waiting) == 0


async def test_a_stream_goes_on_after_the_last_event_id(gateway: Gateway) -> None:
    await gateway.register(chain(3))
    run_id = await gateway.start("chain")
    await gateway.call("GetRun", run_id=run_id, wait=True)
    whole = await sse(gateway, f"/runs/{run_id}/events")
    assert whole[0][1] == "RunStarted"
    assert whole[-1][1] == "WorkflowCompleted"
    assert [offset for offset, _, _ in whole] == list(range(len(whole)))
    rest = await sse(gateway, f"/runs/{run_id}/events?from=0", **{"Last-Event-ID": "2"})
    assert rest == whole[3:]
    for seen in (len(whole) - 1, len(whole) + 50):
        async with gateway.http.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": str(seen)}) as response:
            assert (response.status, await response.read()) == (204, b""), "an EventSource must not come back"
    async with gateway.http.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": "x"}) as response:
        assert response.status == 400
    async with gateway.http.get("/runs/none/events") as response:
        assert (response.status, (await response.json())["code"]) == (404, "RUN_NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [event async for event in gateway.watch("01890000-0000-7000-8000-000000000000")]
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_long_past_comes_in_pages(gateway: Gateway) -> None:
    """More events than a page holds, both ways, and a timeline that says the same."""
    await gateway.register(chain(400, "long"))
    run_id = await gateway.start("long")
    last = (await gateway.call("GetRun", run_id=run_id, wait=True)).offset
    assert last > 512
    assert [event.offset async for event in gateway.watch(run_id)] == list(range(last + 1))
    assert [offset for offset, _, _ in await sse(gateway, f"/runs/{run_id}/events")] == list(range(last + 1))
    offsets: list[int] = []
    while True:
        page = await gateway.call("GetTimeline", run_id=run_id, from_offset=len(offsets), page_size=300)
        offsets += [event.offset for event in page.events]
        assert page.next_offset == len(offsets)
        if page.end:
            break
    assert offsets == list(range(last + 1))
    async with gateway.http.get(f"/runs/{run_id}/timeline?from={last}&limit=10") as response:
        body = await response.json()
    assert [event["type"] for event in body["events"]] == ["WorkflowCompleted"]
    assert (body["next_offset"], body["end"]) == (last + 1, True)


async def test_a_viewer_that_leaves_is_forgotten(gateway: Gateway) -> None:
    await gateway.register(definition("held", [node("a", **HOLD)]))
    run_id = await gateway.start("held")
    watching = gateway.watch(run_id)
    assert (await watching.read()).offset == 0
    waiting = asyncio.create_task(gateway.call("GetRun", run_id=run_id, wait=True))
    await gateway.until(lambda: gateway.door.house.waiting)
    watching.cancel()
    waiting.cancel()
    await gateway.until(lambda: not gateway.door.watching and not gateway.door.house.waiting)


async def test_runs_are_listed_and_filtered(gateway: Gateway) -> None:
    await gateway.register(chain(1))
    await gateway.register(definition("held", [node("a", **HOLD)]))
    ids = [await gateway.start("chain", labels={"n": str(i % 2)}) for i in range(6)]
    held = await gateway.start("held")
    for run_id in ids:
        await gateway.call("GetRun", run_id=run_id, wait=True)
    listed: list[run_pb2.Run] = []
    token = ""
    while True:
        page = await gateway.call("ListRuns", page_size=4, page_token=token)
        assert len(page.runs) <= 4
        listed += page.runs
        token = page.next_page_token
        if not token:
            break
    assert sorted(run.run_id for run in listed) == sorted([held, *ids])
    # Newest first: an id begins with its millisecond.
    assert [run.run_id[:13] for run in listed] == sorted((run.run_id[:13] for run in listed), reverse=True)
    odd = await gateway.call("ListRuns", labels={"n": "1"}, states=[common_pb2.RUN_STATE_COMPLETED])
    assert {run.run_id for run in odd.runs} == set(ids[1::2])
    async with gateway.http.get("/runs?state=RUNNING&state=WAITING") as response:
        assert [run["run_id"] for run in (await response.json())["runs"]] == [held]
    async with gateway.http.get("/runs?workflow=chain&label=n=0&page_size=1") as response:
        assert len((await response.json())["runs"]) == 1
    async with gateway.http.get("/runs?state=ODD") as response:
        problem = await response.json()
        assert (response.status, problem["errors"][0]["pointer"]) == (400, "/state/0")


async def test_a_run_is_cancelled(gateway: Gateway) -> None:
    await gateway.register(definition("held", [node("a", **HOLD)]))
    run_id = await gateway.start("held")
    async with gateway.http.post(f"/runs/{run_id}/cancel", json={"reason": "enough"}) as response:
        assert response.status == 202
    gateway.gate.set()
    run = await gateway.call("GetRun", run_id=run_id, wait=True)
    assert run.state == common_pb2.RUN_STATE_CANCELLED
    assert run.error.code == "CANCELLED"
    again = await gateway.call("CancelRun", run_id=run_id)
    assert again.state == common_pb2.RUN_STATE_CANCELLED
    await gateway.register(chain(1))
    ended = await gateway.start("chain")
    await gateway.call("GetRun", run_id=ended, wait=True)
    async with gateway.http.post(f"/runs/{ended}/cancel") as response:
        assert (response.status, (await response.json())["code"]) == (409, "RUN_ENDED")


async def test_a_failed_run_says_why(gateway: Gateway) -> None:
    await gateway.register(definition("failing", [node("a", config={"name": "fail"})]))
    run_id = await gateway.start("failing")
    run = await gateway.call("GetRun", run_id=run_id, wait=True)
    assert run.state == common_pb2.RUN_STATE_FAILED
    assert (run.error.code, run.error.node) == ("NODE_FAILED", "a")
    async with gateway.http.get(f"/runs/{run_id}") as response:
        body = await response.json()
    assert body["error"]["type"] == "ValueError"
    assert "no" in body["error"]["message"]


async def test_what_was_accepted_is_answered_at_a_stop(gateway: Gateway) -> None:
    await gateway.register(chain(2))
    starts = [asyncio.create_task(gateway.start("chain")) for _ in range(50)]
    watched = await gateway.start("chain")
    await asyncio.sleep(0.01)
    await gateway.door.stop(PATIENCE_S)
    answers = await asyncio.gather(*starts, return_exceptions=True)
    for answer in answers:
        if not isinstance(answer, str):
            assert isinstance(answer, grpc.aio.AioRpcError)
            assert answer.code() is grpc.StatusCode.UNAVAILABLE
    assert any(isinstance(answer, str) for answer in answers)
    views, _ = gateway.engine.runs("default", 1_000)
    known = {view.run_id for view in views}
    assert {answer for answer in answers if isinstance(answer, str)} | {watched} <= known


async def test_a_stop_answers_those_who_wait_for_an_end(gateway: Gateway) -> None:
    await gateway.register(definition("held", [node("a", **HOLD)]))
    run_id = await gateway.start("held")
    waiting = asyncio.create_task(gateway.call("GetRun", run_id=run_id, wait=True))
    call = gateway.multi(
        "/apex.v1.RunService/StartRuns", run_pb2.StartRunsRequest, run_pb2.StartRunsResponse, "stream_stream"
    )(timeout=PATIENCE_S)
    item = run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name="held"))
    # A client may use the number of a batch twice.
    for _ in range(2):
        await call.write(run_pb2.StartRunsRequest(batch_id=1, items=[item], wait=True))
    watching = gateway.watch(run_id)
    await watching.read()
    await gateway.until(lambda: gateway.door.house.waiting and gateway.engine.counts()["jobs_in_flight"] == 3)
    assert await gateway.door.stop(PATIENCE_S)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    results = [result async for response in call for result in response.results]
    assert [result.state for result in results] == [common_pb2.RUN_STATE_RUNNING] * 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_on(watching)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_client_starts_more_at_once_than_a_stream_may_hold(gateway: Gateway) -> None:
    await gateway.register(definition("held", [{"id": "a", "type": "approval", "config": {"prompt": "?"}}]))
    async with Client(gateway.address, PATIENCE_S) as client:
        runs = await client.start_many("held", [{}] * 20_000)
    assert len({run.id for run in runs}) == 20_000
