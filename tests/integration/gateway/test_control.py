"""Steering runs through both doors."""

import itertools
from datetime import datetime

import grpc
import pytest

from apex_fast.client import Client
from apex_fast.errors import NotFound, WrongState
from apex_fast.wire.apex.v1 import approval_pb2, common_pb2
from tests.integration.gateway.conftest import Gateway
from tests.support.definitions import definition
from tests.support.patience import PATIENCE_S

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
        assert (await client.run(run_id).ended(PATIENCE_S)).state == "COMPLETED"
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


WAIT = {"id": "wait", "type": "signal", "config": {"name": "paid", "match": "signal.payload.order == inputs.order"}}


async def test_a_signal_is_kept_chosen_and_taken_once(gateway: Gateway) -> None:
    await gateway.register(definition("order", [STEPS[0], WAIT], edges=[{"from": "a", "to": "wait"}]))
    run_id = await gateway.start("order", inputs_json=b'{"order": 7}')
    async with Client(gateway.address) as client:
        run = client.run(run_id)
        await run.signal("paid", {"order": 8})
        await run.signal("paid", {"order": 7, "by": "card"}, idempotency_key="pay-7")
        async with gateway.http.post(
            f"/runs/{run_id}/signal", json={"name": "paid", "idempotency_key": "pay-7"}
        ) as response:
            assert (response.status, (await response.json())["existing"]) == (200, True)
        gateway.gate.set()
        result = await run.result(PATIENCE_S)
        assert result == {"wait": {"payload": {"order": 7, "by": "card"}, "timed_out": False}}
        with pytest.raises(WrongState):
            await run.signal("paid")
    for body, pointer in [({}, "/name"), ({"name": ""}, "/name"), ({"name": "x", "more": 1}, "/more")]:
        async with gateway.http.post(f"/runs/{run_id}/signal", json=body) as response:
            found = await response.json()
            assert (response.status, found["errors"][0]["pointer"]) == (400, pointer)


async def test_an_event_reaches_all_that_wait(gateway: Gateway) -> None:
    await gateway.register(definition("waits", [WAIT]))
    runs = [await gateway.start("waits", inputs_json=b'{"order": %d}' % (n % 2)) for n in range(6)]
    async with Client(gateway.address) as client:
        assert await client.publish("paid", {"order": 1}) == 3
        assert await client.publish("nobody waits for this") == 0
        async with gateway.http.post("/events", json={"name": "paid", "payload": {"order": 0}}) as response:
            assert (response.status, await response.json()) == (200, {"runs": 3})
        assert {(await client.run(run).ended(PATIENCE_S)).state for run in runs} == {"COMPLETED"}


async def test_a_question_is_answered_and_changes_nothing(gateway: Gateway) -> None:
    nodes = [{**STEPS[1], "input": {"n": "${inputs.n}"}}, WAIT]
    output = {"got": "${nodes.b.output.got.n}"}
    await gateway.register(definition("asked", nodes, edges=[{"from": "b", "to": "wait"}], output=output))
    run_id = await gateway.start("asked", inputs_json=b'{"n": 4, "order": 1}')
    async with Client(gateway.address) as client:
        run = client.run(run_id)
        await gateway.until(lambda: (view := gateway.engine.run("default", run_id)) and view.state == "WAITING")
        before = (await run.info()).offset
        assert await run.query("state") == "WAITING"
        assert await run.query("nodes") == {"b": "ok", "wait": "running"}
        assert (await run.query("progress"))["active"] == ["wait"]
        assert await run.query("nodes.b.output.got.n + inputs.n") == 8
        async with gateway.http.get(f"/runs/{run_id}/query", params={"expr": "{'id': run.id}"}) as response:
            assert await response.json() == {"id": run_id}
        for expression, status, code in [
            ("1 +", 400, "EXPRESSION_INVALID"), ("nodes.x.status", 400, "EXPRESSION_INVALID"),
            ("inputs.none", 422, "EXPRESSION_FAILED"), ("", 400, "INVALID_INPUT"),
        ]:  # fmt: skip
            async with gateway.http.get(f"/runs/{run_id}/query", params={"expr": expression}) as response:
                assert (response.status, (await response.json())["code"]) == (status, code), expression
        assert (await run.info()).offset == before
        await run.signal("paid", {"order": 1})
        await run.ended(PATIENCE_S)
        assert await run.query("state") == "COMPLETED"
        with pytest.raises(WrongState):
            await run.query("inputs.n")
        with pytest.raises(NotFound):
            await client.run(NOBODY).query("state")


async def test_one_at_a_time_and_no_faster_than_the_rate(gateway: Gateway) -> None:
    locked = {**STEPS[0], "concurrency_key": "${inputs.k}"}
    await gateway.register(definition("locked", [locked]))
    first, second = [await gateway.start("locked", inputs_json=b'{"k": "account-1"}') for _ in range(2)]
    async with Client(gateway.address) as client:
        await gateway.until(lambda: (view := gateway.engine.run("default", first)) and view.state == "RUNNING")
        assert (await client.run(second).info()).state == "WAITING"
        gateway.gate.set()
        await client.run(second).ended(PATIENCE_S)
        names = [event.type for event in await client.run(second).timeline()]
        assert names[1:4] == ["LockAcquired", "LockAcquired", "ToolCallRequested"]
        rated = {**STEPS[1], "rate_limit": {"count": 1, "per_s": 0.2}}
        await gateway.register(definition("rated", [rated]))
        runs = [client.run(await gateway.start("rated")) for _ in range(3)]
        begun = []
        for run in runs:
            await run.ended(PATIENCE_S)
            [asked] = [event.time for event in await run.timeline() if event.type == "ToolCallRequested"]
            begun.append(datetime.fromisoformat(asked))
        assert all((later - earlier).total_seconds() > 0.19 for earlier, later in itertools.pairwise(sorted(begun)))


async def test_others_are_asked_after_a_while(gateway: Gateway) -> None:
    config = {"prompt": "Ship?", "escalate_to": ["ops"], "escalate_after_s": 0.05}
    await gateway.register(definition("gated", [{"id": "gate", "type": "approval", "config": config}]))
    run_id = await gateway.start("gated")
    async with Client(gateway.address) as client:
        async for event in client.run(run_id).watch():
            if event.type == "ApprovalEscalated":
                assert event.payload["to"] == ["ops"]
                break
        (approval,) = await client.approvals(run_id)
        assert approval.escalated_to == ["ops"]
        states = [approval_pb2.APPROVAL_STATE_PENDING]
        assert not (await gateway.call("ListApprovals", states=states)).approvals
        await client.resolve(approval.ticket, approve=True)
        assert (await client.run(run_id).ended(PATIENCE_S)).state == "COMPLETED"
