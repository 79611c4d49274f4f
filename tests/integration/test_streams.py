"""Live streams at both doors: in order, without gap or double, whatever happens to the connection."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from apex_fast.client import Run
from apex_fast.client.connection import error_from
from apex_fast.errors import ApexError, Overloaded
from apex_fast.wire.apex.v1 import common_pb2, run_pb2
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = {
    "name": "long",
    "version": "1",
    "nodes": [
        {
            "id": "m",
            "type": "map",
            "config": {
                "over": "${inputs.items}",
                "max_concurrency": 8,
                "body": {
                    "nodes": [
                        {"id": "a", "type": "function", "config": {"name": "work"}, "input": {"pause_s": 0.01}},
                        {"id": "b", "type": "function", "config": {"name": "echo"}, "input": {"value": "${item}"}},
                    ],
                    "edges": [{"from": "a", "to": "b"}],
                },
            },
        }
    ],
    "output": {},
}
"""About seven events an item."""
HEAVY = {
    "name": "heavy",
    "version": "1",
    "nodes": [
        {"id": "n0", "type": "signal", "config": {"name": "go"}},
        *(
            {
                "id": f"n{number}",
                "type": "function",
                "config": {"name": "echo"},
                "input": {"value": "${inputs.large}"},
            }
            for number in range(1, 61)
        ),
    ],
    "edges": [{"from": f"n{number}", "to": f"n{number + 1}"} for number in range(60)],
    "output": {},
}
"""Goes on when its viewer is there. Its events are as large as its input; far more of them than the sockets of a viewer
hold."""


async def long_run(house: Served, items: int) -> Run:
    await house.client.register(LONG)
    return await house.client.start("long", {"items": list(range(items))})


async def sse(house: Served, run_id: str, last: int | None) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """(id, data) of a stream of server-sent events, from after ``last``; it ends with the stream, or by a 204."""
    headers = {} if last is None else {"last-event-id": str(last)}
    fields: dict[str, str] = {}
    async with house.http.get(f"/runs/{run_id}/events", headers=headers) as answer:
        if answer.status == 204:
            assert last is not None, "only who has seen the end is told not to come back"
            return
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields.get("data"):
                yield int(fields["id"]), json.loads(fields["data"])
                fields = {}
            else:
                fields = {}


async def timeline_of(house: Served, run_id: str) -> list[dict[str, Any]]:
    """All events as HTTP shows them."""
    events: list[dict[str, Any]] = []
    while True:
        status, page = await house.get(f"/runs/{run_id}/timeline?from={len(events)}&limit=300")
        assert status == 200
        events += page["events"]
        if page["end"]:
            return events


async def test_reconnecting_again_and_again(house: Served) -> None:
    """Viewers that hang up at random and come back with Last-Event-ID, while the run goes on."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    run = await long_run(house, 150)

    async def viewer(patience: int) -> tuple[list[dict[str, Any]], int]:
        seen: list[dict[str, Any]] = []
        connections = 0
        while not seen or seen[-1]["type"] != "WorkflowCompleted":
            connections += 1
            left = chance.randrange(1, patience)
            async for number, event in sse(house, run.id, len(seen) - 1 if seen else None):
                assert number == event["offset"] == len(seen), f"gap or double at {number}, {len(seen)} seen"
                seen.append(event)
                left -= 1
                if not left:
                    break
        return seen, connections

    async with asyncio.timeout(PATIENCE_S):
        viewed = await asyncio.gather(*(viewer(patience) for patience in (4, 10, 40, 100, 100_000)))
    timeline = await timeline_of(house, run.id)
    for seen, connections in viewed:
        assert seen == timeline, f"after {connections} connections"
    assert viewed[0][1] > 50
    assert len(timeline) > 700


async def test_late_viewers_catch_up_with_a_run_that_goes_on(house: Served) -> None:
    """Pages of a past that grows meanwhile, then the present."""
    run = await long_run(house, 800)
    async for event in run.watch():
        if event.offset == 3_000:
            break
    async with asyncio.timeout(PATIENCE_S):
        viewed = await asyncio.gather(*(offsets(run, 0) for _ in range(20)))
    last = (await run.info()).offset
    assert last > 4_000
    assert all(seen == list(range(last + 1)) for seen in viewed)


async def test_many_viewers_see_the_same(house: Served) -> None:
    run = await long_run(house, 80)

    async def over_http() -> list[int]:
        return [number async for number, _ in sse(house, run.id, None)]

    async def over_grpc() -> list[int]:
        return [event.offset async for event in run.watch()]

    async with asyncio.timeout(PATIENCE_S):
        viewed = await asyncio.gather(*(over_http() if n % 2 else over_grpc() for n in range(40)))
    last = (await run.info()).offset
    assert all(seen == list(range(last + 1)) for seen in viewed)


async def test_from_any_offset(house: Served) -> None:
    """Of a run that goes on and of one that has ended; also from ahead of what has happened."""
    run = await long_run(house, 30)
    async with asyncio.timeout(PATIENCE_S):
        live = await asyncio.gather(*(offsets(run, start) for start in (0, 1, 7, 50, 100)))
    last = (await run.info()).offset
    for start, seen in zip((0, 1, 7, 50, 100), live, strict=True):
        assert seen == list(range(start, last + 1))
    for start in (0, 3, last - 1, last, last + 1, last + 1000):
        assert await offsets(run, start) == list(range(start, last + 1))
        numbers = [number async for number, _ in sse(house, run.id, start - 1 if start else None)]
        assert numbers == list(range(start, last + 1))


async def offsets(run: Run, start: int) -> list[int]:
    return [event.offset async for event in run.watch(start)]


async def test_bad_places(house: Served) -> None:
    run = await long_run(house, 1)
    await run.ended(PATIENCE_S)
    for last in ("x", "-1", "1.5", "9" * 30, "٣"):
        async with house.http.get(f"/runs/{run.id}/events", headers={"last-event-id": last}) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (400, "INVALID_INPUT"), last
    for query in ("from=-1", "from=x", "form=1"):
        status, problem = await house.get(f"/runs/{run.id}/events?{query}")
        assert (status, problem["code"]) == (400, "INVALID_INPUT"), query
    status, problem = await house.get("/runs/nobody/events")
    assert (status, problem["code"]) == (404, "RUN_NOT_FOUND")
    with pytest.raises(ApexError) as unknown:
        await offsets(house.client.run("nobody"), 0)
    assert unknown.value.code == "RUN_NOT_FOUND"


async def heavy_run(house: Served) -> Run:
    await house.client.register(HEAVY)
    return await house.client.start("heavy", {"large": "x" * 150_000})


async def test_slow_viewer_over_grpc_is_told_where_it_was(house: Served) -> None:
    """The run does not wait for it; going on from the last offset gives the rest."""
    run = await heavy_run(house)
    watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = house.channel.unary_stream("/apex.v1.RunService/WatchRun")
    messages = aiter(watch(run_pb2.WatchRunRequest(run_id=run.id).SerializeToString()))
    seen = [common_pb2.Event.FromString(await anext(messages)).offset]
    await run.signal("go")
    info = await run.ended(PATIENCE_S)
    assert info.state == "COMPLETED", "it ended while its viewer did nothing"
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await read_into(seen, messages)
    error = error_from(told.value)
    assert isinstance(error, Overloaded)
    assert error.code == "SUBSCRIBER_TOO_SLOW"
    assert seen == list(range(len(seen)))
    assert f"{seen[-1]}" in str(told.value.trailing_metadata()), "last_offset is told"
    assert len(seen) < info.offset
    assert seen + await offsets(run, len(seen)) == list(range(info.offset + 1))


async def read_into(seen: list[int], messages: AsyncIterator[bytes]) -> None:
    async for message in messages:
        seen.append(common_pb2.Event.FromString(message).offset)  # noqa: PERF401 (kept where the stream breaks)


async def test_slow_viewer_over_sse_is_told_where_it_was(house: Served) -> None:
    host, _, port = house.process.address.partition(":")
    run = await heavy_run(house)
    closed_before = await metric(house, "front_slow_closed")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"GET /runs/{run.id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        line.settimeout(PATIENCE_S)
        received = await asyncio.to_thread(line.recv, 1 << 10)
        await run.signal("go")
        # What is left for it is there for ten seconds, however long the run takes.
        async with asyncio.timeout(PATIENCE_S):
            while await metric(house, "front_slow_closed") == closed_before:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.02)
        while part := await asyncio.to_thread(line.recv, 1 << 20):
            received += part
    text = received.decode(errors="replace")
    ids = [int(row.partition(":")[2]) for row in text.splitlines() if row.startswith("id:")]
    assert "event: error" in text, text[-300:]
    told = json.loads(text.rpartition("event: error")[2].partition("data:")[2].splitlines()[0])
    info = await run.ended(PATIENCE_S)
    assert told["last_offset"] == ids[-1] < info.offset
    assert ids == list(range(len(ids)))
    rest = [number async for number, _ in sse(house, run.id, ids[-1])]
    assert (await run.info()).state == "COMPLETED"
    assert ids + rest == list(range(info.offset + 1))


async def test_viewers_that_leave_are_forgotten(house: Served) -> None:
    gate = {"id": "gate", "type": "approval", "config": {"prompt": "?"}}
    await house.client.register({"name": "waits", "version": "1", "nodes": [gate]})
    run = await house.client.start("waits")
    for _ in range(30):
        async for _event in sse(house, run.id, None):
            break
    async with asyncio.timeout(PATIENCE_S):
        while await metric(house, "gateway_streams_open"):  # noqa: ASYNC110 (nobody tells when the last one is gone)
            await asyncio.sleep(0.02)
    await run.cancel()


async def metric(house: Served, name: str) -> float:
    async with house.http.get("/metrics") as answer:
        for line in (await answer.text()).splitlines():
            if line.startswith((f"{name} ", f"{name}_total ")):
                return float(line.split()[1])
    raise AssertionError("no such metric")
