"""Steering runs through both doors."""

import grpc
import pytest

from apex_fast.client import Client
from apex_fast.errors import NotFound, WrongState
from apex_fast.wire.apex.v1 import common_pb2
from tests.integration.gateway.conftest import Gateway
from tests.support.definitions import definition

STEPS = [
    {"id": "a", "type": "function", "config": {"name": "hold"}},
    {"id": "b", "type": "function", "config": {"name": "step"}},
]
EDGES = [{"from": "a", "to": "b"}]
NOBODY = "01912345-6789-7000-bfff-ffffffffffff"


async def test_a_paused_run_begins_nothing_until_it_is_resumed(gateway: Gateway) -> None:
    await gateway.register(definition("two", STEPS, edges=EDGES))
    run_id = await gateway.start("two")
    paused = await gateway.call("PauseRun", run_id=run_id, reason="look first")
    assert paused.state == common_pb2.RUN_STATE_PAUSED
    assert paused.checkpoint_id.startswith(run_id)
    async with gateway.http.post(f"/runs/{run_id}/pause") as response:
        again = await response.json()
    assert (response.status, again["checkpoint_id"]) == (200, paused.checkpoint_id)
    gateway.gate.set()
    async with Client(gateway.address) as client:
        seen = []
        async for event in client.run(run_id).watch():
            seen.append(event.type)
            if event.type == "ToolResultReceived":
                break
        assert seen[-4:] == ["ToolCallRequested", "CheckpointCreated", "RunPaused", "ToolResultReceived"]
        info = await client.run(run_id).info()
        assert (info.state, info.phase, info.percentage) == ("PAUSED", "paused", 50.0)
        async with gateway.http.post(again["resume_url"]) as response:
            assert (response.status, (await response.json())["run_id"]) == (200, run_id)
        assert (await client.run(run_id).ended(20)).state == "COMPLETED"
        with pytest.raises(WrongState):
            await client.run(run_id).pause()
        with pytest.raises(WrongState):
            await client.run(run_id).resume()
        with pytest.raises(NotFound):
            await client.run(NOBODY).pause()


async def test_what_is_not_there_or_over_says_so(gateway: Gateway) -> None:
    for verb in ("pause", "resume"):
        async with gateway.http.post(f"/runs/{NOBODY}/{verb}") as response:
            assert (response.status, (await response.json())["code"]) == (404, "RUN_NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("PauseRun", run_id="nonsense")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
