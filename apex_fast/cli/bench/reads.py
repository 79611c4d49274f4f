"""`reads`: status and timeline of a run over gRPC while nodes execute at a fixed rate, and while nothing does.

Open loop on both sides: chains of 10 nodes arrive at the rate that makes 10,000 nodes a second, reads at 200 a second
each way; the time of a read runs from the moment at which it should have been sent. The run that is read has 102 nodes;
the page of its timeline has the 100 events that a client gets by default.
"""

import asyncio
from functools import partial
from typing import Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.load import Lap, open_loop
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import RUNS, Stream, Unary
from apex_fast.cli.bench.subject import Cpu, Subject, subject
from apex_fast.client import Client
from apex_fast.wire.apex.v1 import run_pb2

NODES_PER_S: Final = 10_000
READS_PER_S: Final = 200
READS: Final = ("get_run", "get_timeline")


async def _target(address: str) -> str:
    async with Client(address) as client:
        run = await client.start("fan")
        await run.ended(timeout_s=60)
        return run.id


def _measurement(name: str, lap: Lap, cpu: Cpu, nodes_per_s: float) -> Measurement:
    server_us, load_us = cpu.us_per(lap.units)
    idle = not nodes_per_s
    return Measurement(
        name=name,
        unit="read",
        size=1,
        concurrency=1,
        rate_per_s=lap.rate_per_s,
        seconds=lap.seconds,
        durability=FDATASYNC,
        p50_ms=lap.ms(0.5),
        p99_ms=lap.ms(0.99),
        # Under load the CPU is the runs', not the reads'.
        cpu_us_per_unit=server_us if idle else None,
        load_cpu_us_per_unit=load_us if idle else None,
        more={"p95_ms": lap.ms(0.95) or 0.0, "nodes_per_s": nodes_per_s},
    )


async def _nodes(gateway: Subject, stream: Stream, seconds: float) -> float:
    """Chains at the fixed rate; nodes a second that were really done."""
    before = await gateway.ended()
    lap = await open_loop(stream.send, NODES_PER_S / workflows.CHAIN_LENGTH, seconds)
    return (await gateway.ended() - before) * workflows.CHAIN_LENGTH / lap.seconds


async def measure(plan: Plan) -> list[Measurement]:
    """p50, p95 and p99 of both reads, idle and under load."""
    async with subject(plan.folder, [workflows.chain(), workflows.fan()]) as gateway:
        run_id = await _target(gateway.address)
        messages = {
            "get_run": ("GetRun", run_pb2.GetRunRequest(run_id=run_id)),
            "get_timeline": ("GetTimeline", run_pb2.GetTimelineRequest(run_id=run_id)),
        }
        reads = {
            name: await Unary.connect(gateway.address, f"{RUNS}/{method}", message.SerializeToString())
            for name, (method, message) in messages.items()
        }
        stream = await Stream.connect(gateway.address, "chain", wait=True)
        await gateway.warm_up(stream.send, 32)
        for unary in reads.values():
            await gateway.warm_up(unary.send, 4)

        async def lap(name: str, busy: bool) -> Measurement:
            cpu = gateway.cpu()
            seconds = plan.lap_s
            if not busy:
                return _measurement(
                    f"reads.{name}.idle", await open_loop(reads[name].send, READS_PER_S, seconds), cpu, 0.0
                )
            read, nodes_per_s = await asyncio.gather(
                open_loop(reads[name].send, READS_PER_S, seconds), _nodes(gateway, stream, seconds)
            )
            await gateway.idle()
            return _measurement(f"reads.{name}", read, cpu, nodes_per_s)

        found = await plan.interleaved([partial(lap, name, busy) for name in READS for busy in (False, True)], {})
        for unary in reads.values():
            unary.close()
        stream.close()
        return found
