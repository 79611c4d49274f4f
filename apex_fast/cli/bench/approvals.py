"""`approvals`: decisions of people, each acknowledged when it is durable: many at once, and one at a time.

Over gRPC unary, on runs that were started before and wait; each ends with its decision, and that is within the CPU.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from apex_fast.cli.bench import disk, workflows
from apex_fast.cli.bench.load import Done, closed_loop
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import APPROVALS, Stream, Unary
from apex_fast.cli.bench.subject import Subject, of_lap, subject
from apex_fast.errors import ApexError
from apex_fast.wire.apex.v1 import approval_pb2

WAITING: Final = 100_000
IN_FLIGHT: Final = 128
STARTS_IN_FLIGHT: Final = 1_024
ONE_SHARE: Final = 0.02
"""One at a time takes longer, and needs fewer to be known."""
SECONDS_MAX: Final = 600.0
PAGE: Final = 1_000


async def measure(plan: Plan) -> list[Measurement]:
    """Both, on shares of the same runs."""
    runs = max(plan.size or WAITING, plan.rounds * 2)
    async with subject(plan.folder, [workflows.approval()]) as gateway:
        stream = await Stream.connect(gateway.address, "approval", wait=False)
        await closed_loop(stream.send, STARTS_IN_FLIGHT, SECONDS_MAX, runs)
        stream.close()
        decisions = iter(await _decisions(gateway.address))
        one = max(1, round(runs / plan.rounds * ONE_SHARE))
        many = runs // plan.rounds - one
        resolve = await Unary.connect(gateway.address, f"{APPROVALS}/ResolveApproval", b"")

        async def sync() -> Measurement:
            return disk.fdatasync(plan.folder)

        found = await plan.interleaved(
            [
                partial(_resolved, gateway, resolve, decisions, "approvals.many", IN_FLIGHT, many),
                partial(_resolved, gateway, resolve, decisions, "approvals.one_at_a_time", 1, one),
                sync,
            ],
            {"approvals": (disk.NAME,)},
        )
        resolve.close()
        return found


async def _decisions(address: str) -> list[bytes]:
    """A request for each approval that is open."""
    found: list[bytes] = []
    page = await Unary.connect(address, f"{APPROVALS}/ListApprovals", b"")
    token = ""
    while True:
        request = approval_pb2.ListApprovalsRequest(page_size=PAGE, page_token=token)
        answer = approval_pb2.ListApprovalsResponse.FromString(await page.ask(request.SerializeToString()))
        for approval in answer.approvals:
            decision = approval_pb2.ResolveApprovalRequest(
                ticket=approval.ticket, decision=approval_pb2.APPROVAL_DECISION_APPROVE, reason="as measured"
            )
            found.append(decision.SerializeToString())
        token = answer.next_page_token
        if not token:
            page.close()
            return found


async def _resolved(
    gateway: Subject, resolve: Unary, decisions: Iterator[bytes], name: str, in_flight: int, count: int
) -> Measurement:
    def send(done: Done) -> None:
        resolve.send_message(next(decisions), done)

    cpu = gateway.cpu()
    lap = await closed_loop(send, in_flight, SECONDS_MAX, count)
    await gateway.settled()
    if lap.refused:
        raise ApexError(f"{lap.refused} decisions were refused")
    return of_lap(name, "decision", lap, cpu, in_flight)
