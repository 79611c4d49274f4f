"""A full house holds streams of starts back; nothing of them is refused, and all of it runs."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from apex_fast.client import Client
from apex_fast.wire.apex.v1 import common_pb2, run_pb2
from tests.support.gateway import Served, served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")
STARTS = 6_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A gateway that is full with 40 starts or 8 jobs."""
    bounds = {
        "APEX_ENGINE_STARTS_QUEUED_MAX": "40",
        "APEX_ENGINE_STARTS_PER_TURN_MAX": "16",
        "APEX_ENGINE_JOBS_PENDING_MAX": "8",
    }
    async with served(tmp_path_factory.mktemp("full"), bounds) as gateway:
        yield gateway


async def requests(count: int, items: int) -> AsyncIterator[run_pb2.StartRunsRequest]:
    for first in range(0, count, items):
        batch = [
            run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name="says"), inputs_json=b'{"value":%d}' % value)
            for value in range(first, first + items)
        ]
        yield run_pb2.StartRunsRequest(batch_id=first, items=batch)


@pytest.mark.parametrize("items", [1, 300])
async def test_nothing_is_refused_and_everything_runs_once(full: Served, items: int) -> None:
    call = full.channel.stream_stream(
        "/apex.v1.RunService/StartRuns",
        request_serializer=run_pb2.StartRunsRequest.SerializeToString,
        response_deserializer=run_pb2.StartRunsResponse.FromString,
    )(requests(STARTS, items))
    answered: dict[int, str] = {}
    async for answer in call:
        for result in answer.results:
            assert not result.HasField("error"), result.error
            assert answer.batch_id + result.index not in answered
            answered[answer.batch_id + result.index] = result.run_id
    assert sorted(answered) == list(range(STARTS))
    for value in (0, STARTS // 2, STARTS - 1):
        assert await full.client.run(answered[value]).result(PATIENCE_S) == {"said": value}


async def test_two_streams_share_the_room(full: Served) -> None:
    inputs = [{"value": n} for n in range(500)]
    async with Client(full.process.address) as other:
        runs = await asyncio.gather(*(client.start_many("says", inputs) for client in (full.client, other)))
    assert len({run.id for some in runs for run in some}) == 1_000


async def test_a_client_that_leaves_while_it_is_held_back_leaves_the_house_working(full: Served) -> None:
    call = full.channel.stream_stream(
        "/apex.v1.RunService/StartRuns",
        request_serializer=run_pb2.StartRunsRequest.SerializeToString,
        response_deserializer=run_pb2.StartRunsResponse.FromString,
    )(requests(STARTS, 300))
    async for _ in call:
        break
    call.cancel()
    await full.goes_on()
