"""Approvals: decided at either door, once; or by time."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from apex_fast.client import Approval, Run
from apex_fast.errors import ApexError, NotFound, WrongState
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def gated(name: str, **config: Any) -> dict[str, Any]:
    """A gate with a node for each way out."""
    ways = [("yes", "nodes.gate.output.approved"), ("no", "!nodes.gate.output.approved")]
    return {
        "name": name,
        "version": "1",
        "nodes": [
            {"id": "gate", "type": "approval", "config": {"prompt": "Ship ${inputs.what}?", **config}},
            *({"id": way, "type": "function", "config": {"name": "echo"}, "input": {"value": way}} for way, _ in ways),
        ],
        "edges": [{"from": "gate", "to": way, "when": guard} for way, guard in ways],
        "output": {"gate": "${nodes.gate.output}", "yes": "${nodes.yes.output}", "no": "${nodes.no.output}"},
    }


async def waiting(house: Served, definition: dict[str, Any]) -> tuple[Run, Approval]:
    """A run that waits for its approval."""
    await house.client.register(definition)
    run = await house.client.start(definition["name"], {"what": "it"})
    async for event in run.watch():
        if event.type == "ApprovalRequested":
            break
    (approval,) = await house.client.approvals(run.id)
    assert (approval.run_id, approval.node, approval.prompt) == (run.id, "gate", "Ship it?")
    assert approval.ticket == f"{run.id}~gate"
    assert (await run.info()).state == "WAITING"
    return run, approval


@pytest.mark.parametrize("approve", [True, False])
@pytest.mark.parametrize("door", ["grpc", "http"])
async def test_decision(house: Served, door: str, approve: bool) -> None:
    run, approval = await waiting(house, gated(f"{door}-{approve}"))
    if door == "grpc":
        await house.client.resolve(approval.ticket, approve=approve, reason="as seen", edits={"count": 2})
    else:
        decision = "approve" if approve else "reject"
        body = {"decision": decision, "reason": "as seen", "edits": {"count": 2}}
        status, decided = await house.post(f"/approvals/{approval.ticket}", body)
        assert (status, decided["run_id"], decided["decision"]) == (200, run.id, decision)
    output = await run.result(PATIENCE_S)
    assert (output["yes"], output["no"]) == (("yes", None) if approve else (None, "no"))
    gate = output["gate"]
    assert (gate["approved"], gate["reason"], gate["edits"], gate["timed_out"]) == (
        approve,
        "as seen",
        {"count": 2},
        False,
    )
    assert await house.client.approvals(run.id) == []


async def test_decided_once(house: Served) -> None:
    """Fifty at once: one decides; who says the same again is right as well, who says the opposite is told so."""
    run, approval = await waiting(house, gated("once"))

    async def decide(number: int) -> bool:
        with suppress(WrongState):
            await house.client.resolve(approval.ticket, approve=number % 2 == 0, reason=str(number))
            return True
        return False

    accepted = await asyncio.gather(*(decide(number) for number in range(50)))
    gate = (await run.result(PATIENCE_S))["gate"]
    resolved = [event.payload for event in await run.timeline() if event.type == "ApprovalResolved"]
    assert [(one["decision"], one["reason"]) for one in resolved] == [(gate["decision"], gate["reason"])]
    assert accepted[int(gate["reason"])]
    assert gate["approved"] == (int(gate["reason"]) % 2 == 0)
    assert not any(accepted[number] for number in range(50) if (number % 2 == 0) != gate["approved"])
    status, problem = await house.post(f"/approvals/{approval.ticket}", {"decision": "approve"})
    assert (status, problem["code"]) == (409, "TICKET_RESOLVED"), "its run has ended"


async def test_unknown_tickets(house: Served) -> None:
    run, approval = await waiting(house, gated("unknown"))
    for ticket in (f"{run.id}~other", f"{run.id}", "nothing", approval.ticket + "x", approval.ticket.upper()[:-4]):
        with pytest.raises(NotFound) as refused:
            await house.client.resolve(ticket, approve=True)
        assert refused.value.code == "TICKET_NOT_FOUND"
        status, problem = await house.post(f"/approvals/{ticket}", {"decision": "approve"})
        assert (status, problem["code"]) == (404, "TICKET_NOT_FOUND")
    for body, pointer in (
        ({"decision": "maybe"}, "/decision"),
        ({}, "/decision"),
        ({"decision": "approve", "edits": [1]}, "/edits"),
        ({"decision": "approve", "reasons": "x"}, "/reasons"),
    ):
        status, problem = await house.post(f"/approvals/{approval.ticket}", body)
        assert (status, problem["code"], problem["errors"][0]["pointer"]) == (400, "INVALID_INPUT", pointer)
    await run.cancel()
    assert (await run.ended(PATIENCE_S)).state == "CANCELLED"
    with pytest.raises(ApexError) as late:
        await house.client.resolve(approval.ticket, approve=True)
    assert late.value.code in {"TICKET_NOT_FOUND", "TICKET_RESOLVED", "RUN_ENDED"}


@pytest.mark.parametrize("then", ["approve", "reject"])
async def test_time_decides(house: Served, then: str) -> None:
    await house.client.register(gated(f"timeout-{then}", timeout_s=0.3, on_timeout=then))
    run = await house.client.start(f"timeout-{then}", {"what": "it"})
    output = await run.result(PATIENCE_S)
    assert (output["gate"]["approved"], output["gate"]["timed_out"]) == (then == "approve", True)
    assert (output["yes"], output["no"]) == (("yes", None) if then == "approve" else (None, "no"))


async def test_time_fails(house: Served) -> None:
    await house.client.register(gated("timeout-fail", timeout_s=0.3, on_timeout="fail"))
    run = await house.client.start("timeout-fail", {"what": "it"})
    info = await run.ended(PATIENCE_S)
    assert (info.state, info.error_code) == ("FAILED", "NODE_FAILED")
    end = (await run.timeline())[-1].payload
    assert (end["error"]["type"], end["error"]["node"]) == ("ApprovalTimeout", "gate")


async def test_list_in_pages(house: Served) -> None:
    definition = gated("many")
    await house.client.register(definition)
    runs = await house.client.start_many("many", [{"what": str(number)} for number in range(25)])
    for run in runs:
        async for event in run.watch():
            if event.type == "ApprovalRequested":
                break
    seen: list[str] = []
    page = ""
    while True:
        status, found = await house.get(f"/approvals?page_size=7&page_token={page}")
        assert status == 200
        seen += [one["ticket"] for one in found["approvals"] if one["workflow"] == "many"]
        page = found["next_page_token"]
        if not page:
            break
    assert sorted(seen) == sorted(f"{run.id}~gate" for run in runs)
    await asyncio.gather(*(house.client.resolve(ticket, approve=True) for ticket in seen))
    for run in runs:
        assert (await run.result(PATIENCE_S))["yes"] == "yes"
