"""`starts`: durable start of a 1-node workflow, acknowledged, over gRPC unary, the gRPC stream and HTTP.

Held against an empty handler on the same transport (health checks) and against fdatasync. The runs that were started
are worked off within the CPU window, so a start is charged with its whole run.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from apex_fast.cli.bench import disk, workflows
from apex_fast.cli.bench.load import Send, closed_loop
from apex_fast.cli.bench.measurement import NO_DURABILITY, Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import (
    CHECK,
    RUNS,
    Http,
    Stream,
    Unary,
    http_health,
    http_start,
    start_request,
)
from apex_fast.cli.bench.subject import Subject, measured, of_lap, subject

IN_FLIGHT: Final = 128
STREAM_IN_FLIGHT: Final = 1_024
EMPTY_GRPC: Final = "empty-grpc"
EMPTY_HTTP: Final = "empty-http"
WORKFLOW: Final = "single"


async def _starts(gateway: Subject, name: str, send: Send, in_flight: int, seconds: float) -> Measurement:
    """A lap of starts; the CPU window ends when the last run has ended."""
    cpu = gateway.cpu()
    lap = await closed_loop(send, in_flight, seconds)
    drain_s = await gateway.idle()
    found = of_lap(f"starts.{name}", "start", lap, cpu, in_flight)
    return msgspec.structs.replace(found, finished_per_s=lap.units / (lap.seconds + drain_s))


async def _empty(gateway: Subject, name: str, send: Send, seconds: float) -> Measurement:
    found = await measured(gateway, name, "start", send, IN_FLIGHT, seconds)
    return msgspec.structs.replace(found, durability=NO_DURABILITY)


async def measure(plan: Plan) -> list[Measurement]:
    """Three ways to start, two empty handlers, one disk."""
    async with subject(plan.folder, [workflows.single(WORKFLOW)]) as gateway:
        where = gateway.address
        unary = await Unary.connect(where, f"{RUNS}/StartRun", start_request(WORKFLOW))
        stream = await Stream.connect(where, WORKFLOW, wait=False)
        http = await Http.connect(where, http_start(where, WORKFLOW), IN_FLIGHT)
        check = await Unary.connect(where, CHECK, b"")
        health = await Http.connect(where, http_health(where), IN_FLIGHT)
        await gateway.warm_up(unary.send, IN_FLIGHT)
        await gateway.warm_up(stream.send, STREAM_IN_FLIGHT)
        await gateway.warm_up(http.send, IN_FLIGHT)

        async def sync() -> Measurement:
            return disk.fdatasync(plan.folder)

        sides: list[Callable[[], Awaitable[Measurement]]] = [
            partial(_starts, gateway, "grpc_unary", unary.send, IN_FLIGHT, plan.lap_s),
            partial(_empty, gateway, EMPTY_GRPC, check.send, plan.limit_lap_s),
            partial(_starts, gateway, "grpc_stream", stream.send, STREAM_IN_FLIGHT, plan.lap_s),
            partial(_starts, gateway, "http", http.send, IN_FLIGHT, plan.lap_s),
            partial(_empty, gateway, EMPTY_HTTP, health.send, plan.limit_lap_s),
            sync,
        ]
        found = await plan.interleaved(
            sides,
            {
                "starts.grpc_unary": (EMPTY_GRPC, disk.NAME),
                "starts.grpc_stream": (EMPTY_GRPC, disk.NAME),
                "starts.http": (EMPTY_HTTP, disk.NAME),
            },
        )
        for sender in (unary, stream, http, check, health):
            sender.close()
        return found
