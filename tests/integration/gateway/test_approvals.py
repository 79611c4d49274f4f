"""Approvals through both doors."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from apex_fast.wire.apex.v1 import approval_pb2
from tests.integration.gateway.conftest import Gateway
from tests.support.definitions import definition
from tests.support.patience import PATIENCE_S

GATE = {"id": "gate", "type": "approval", "config": {"prompt": "Ship?", "timeout_s": 60, "on_timeout": "reject"}}


async def waiting(gateway: Gateway, count: int) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            page = await gateway.call("ListApprovals")
            if len(page.approvals) == count:
                return page.approvals
            await asyncio.sleep(0.005)


async def test_an_approval_is_decided_once(gateway: Gateway) -> None:
    await gateway.register(definition("gated", [GATE]))
    first, second = await gateway.start("gated"), await gateway.start("gated")
    found = {approval.run_id: approval for approval in await waiting(gateway, 2)}
    assert found[first].prompt == "Ship?"
    assert found[first].workflow == "gated"
    done = await gateway.call(
        "ResolveApproval", ticket=found[first].ticket, decision=approval_pb2.APPROVAL_DECISION_APPROVE,
        reason="fine", edits_json=b'{"by": "sea"}',
    )  # fmt: skip
    assert done.approval.state == approval_pb2.APPROVAL_STATE_APPROVED
    output = json.loads((await gateway.call("GetRun", run_id=first, wait=True)).output_json)["gate"]
    assert (output["approved"], output["reason"], output["edits"]) == (True, "fine", {"by": "sea"})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call(
            "ResolveApproval", ticket=found[first].ticket, decision=approval_pb2.APPROVAL_DECISION_REJECT
        )
    assert caught.value.code() in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND}
    async with gateway.http.get(f"/approvals?run={second}") as response:
        (shown,) = (await response.json())["approvals"]
    async with gateway.http.post(f"/approvals/{shown['ticket']}", json={"decision": "reject"}) as response:
        assert (response.status, (await response.json())["decision"]) == (200, "reject")
    output = json.loads((await gateway.call("GetRun", run_id=second, wait=True)).output_json)["gate"]
    assert output["approved"] is False


async def test_bad_decisions(gateway: Gateway) -> None:
    async with gateway.http.post("/approvals/nobody~x", json={"decision": "approve"}) as response:
        assert (response.status, (await response.json())["code"]) == (404, "TICKET_NOT_FOUND")
    async with gateway.http.post("/approvals/t", json={"decision": "perhaps"}) as response:
        assert (await response.json())["errors"][0]["pointer"] == "/decision"
    async with gateway.http.post("/approvals/t", json={"decision": "approve", "edits": []}) as response:
        assert (await response.json())["errors"][0]["pointer"] == "/edits"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("ResolveApproval", ticket="t")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
