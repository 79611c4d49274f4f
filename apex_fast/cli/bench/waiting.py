"""`waiting`: runs that wait for a person, and runs that wait for a time and fall due at one instant.

Each on a gateway of its own, started over the `StartRuns` stream; the first gateway is killed then, and another takes
over. Memory is the resident memory of the gateway's process beyond what it had before, with what the allocator keeps.
While the timers fire, a status read is sent 200 times a second: the longest is the longest pause of the loop.
"""

import asyncio
import shutil
import time
from datetime import UTC, datetime
from typing import Final

import msgspec

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.load import Lap, closed_loop, open_loop
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan, say
from apex_fast.cli.bench.starters import RUNS, Stream, Unary
from apex_fast.cli.bench.subject import Subject, of_lap, subject
from apex_fast.client import Client
from apex_fast.errors import ApexError, InvalidInput
from apex_fast.wire.apex.v1 import run_pb2

RUNS_WAITING: Final = 1_000_000
RUNS_MAX: Final = 1_000_000
"""Open runs of a tenant (`runs_open_per_tenant_max`)."""
IN_FLIGHT: Final = 1_024
FIRST: Final = 1_000
STARTS_PER_S_MIN: Final = 1_000
READS_PER_S: Final = 200
IDLE_S: Final = 3.0
SPARE_S: Final = 10.0
POLL_S: Final = 0.05


async def measure(plan: Plan) -> list[Measurement]:
    """Starts and memory of both, then the firing."""
    runs = plan.size or RUNS_WAITING
    if runs > RUNS_MAX:
        raise InvalidInput(f"--size: at most {RUNS_MAX:,} runs of a tenant may be open, not {runs:,}")
    async with subject(plan.folder / "approval", [workflows.approval()]) as gateway:
        stream = await Stream.connect(gateway.address, "approval", wait=False)
        baseline_bytes = gateway.resident_bytes()
        approval = await _started(gateway, stream, "approval", runs)
        stream.close()
        again = await _recovered(gateway, runs, baseline_bytes)
        gateway.kill()
    shutil.rmtree(plan.folder / "approval")

    async with subject(plan.folder / "timer", [workflows.single()]) as gateway:
        # Half as long again as the approvals took, so that none is due before the last is there.
        due_s = time.time() + 1.5 * runs / approval.rate_per_s + SPARE_S
        async with Client(gateway.address) as client:
            await client.register(workflows.timer(datetime.fromtimestamp(due_s, UTC)), ["main"])
            run = await client.start("single")
            await run.ended(timeout_s=60)
        request = run_pb2.GetRunRequest(run_id=run.id).SerializeToString()
        reads = await Unary.connect(gateway.address, f"{RUNS}/GetRun", request)
        stream = await Stream.connect(gateway.address, "timer", wait=False)
        timer = await _started(gateway, stream, "timer", runs)
        fire = await _fired(gateway, reads, runs, due_s)
        stream.close()
        reads.close()
        gateway.kill()
    shutil.rmtree(plan.folder / "timer")
    return [approval, again, timer, fire]


async def _started(gateway: Subject, stream: Stream, name: str, runs: int) -> Measurement:
    """Start ``runs`` runs that wait; all but the first few count."""
    first = min(FIRST, runs // 10)
    if first:
        await closed_loop(stream.send, IN_FLIGHT, first / STARTS_PER_S_MIN + 1, first)
    await gateway.settled()
    say(f"{name}: starting {runs:,} runs")
    before = await gateway.gauges()
    baseline_bytes = gateway.resident_bytes()
    cpu = gateway.cpu()
    lap = await closed_loop(stream.send, IN_FLIGHT, runs / STARTS_PER_S_MIN + 60, runs - first)
    await gateway.settled()
    found = of_lap(f"waiting.{name}", "run", lap, cpu, IN_FLIGHT)
    after = await gateway.gauges()
    if after["engine_runs_open"] < runs:
        raise ApexError(f"only {after['engine_runs_open']:,.0f} of {runs:,} runs are there: this machine is too busy")
    say(f"  {lap.rate_per_s:,.0f} starts a second")

    def per_run(bytes_: float) -> float:
        return bytes_ / lap.units

    return msgspec.structs.replace(
        found,
        size=runs,
        more={
            "memory_bytes_per_run": per_run(gateway.resident_bytes() - baseline_bytes),
            "memory_peak_bytes_per_run": per_run(gateway.resident_peak_bytes() - baseline_bytes),
            "memory_baseline_bytes": baseline_bytes,
            "log_bytes_per_run": per_run(after["engine_log_bytes"] - before["engine_log_bytes"]),
        },
    )


async def _recovered(gateway: Subject, runs: int, baseline_bytes: int) -> Measurement:
    """Kill it, start another one, and wait until that has looked at every run."""
    say(f"recovering {runs:,} runs")
    begin = time.perf_counter()
    found = await gateway.restart()
    await gateway.settled()
    return Measurement(
        name="waiting.recover",
        unit="run",
        size=runs,
        concurrency=1,
        rate_per_s=runs / found.serving_s,
        seconds=time.perf_counter() - begin,
        durability=FDATASYNC,
        p50_ms=found.serving_s * 1e3,
        cpu_us_per_unit=found.cpu_s * 1e6 / runs,
        more={
            "memory_bytes_per_run": (gateway.resident_bytes() - baseline_bytes) / runs,
            "fold_ms": found.fold_s * 1e3,
            "events_folded": found.replayed,
            "all_looked_at_s": time.perf_counter() - begin,
        },
    )


async def _fired(gateway: Subject, reads: Unary, runs: int, due_s: float) -> Measurement:
    """Wait until the timers fall due, and until the last run has ended."""
    before = await gateway.ended()
    if time.time() + IDLE_S > due_s:
        raise ApexError("the timers fell due before all runs were started: this machine is too busy, ask for fewer")
    await asyncio.sleep(due_s - time.time() - IDLE_S)
    idle = await open_loop(reads.send, READS_PER_S, IDLE_S, is_over=lambda: time.time() >= due_s)
    cpu = gateway.cpu()
    say(f"firing {runs:,} timers")
    firing = asyncio.create_task(_ends(gateway, before, runs, due_s))
    busy = await open_loop(reads.send, READS_PER_S, runs / STARTS_PER_S_MIN + 60, is_over=firing.done)
    first_s, last_s = await firing
    server_us, load_us = cpu.us_per(runs)

    def longest_ms(lap: Lap) -> float:
        return lap.ms(1.0) or 0.0

    return Measurement(
        name="waiting.fire",
        unit="run",
        size=runs,
        concurrency=runs,
        rate_per_s=runs / last_s,
        seconds=last_s,
        durability=FDATASYNC,
        p50_ms=busy.ms(0.5),
        p99_ms=busy.ms(0.99),
        cpu_us_per_unit=server_us,
        load_cpu_us_per_unit=load_us,
        more={
            "first_end_s": first_s,
            "last_end_s": last_s,
            "longest_read_ms": longest_ms(busy),
            "longest_read_idle_ms": longest_ms(idle),
        },
    )


async def _ends(gateway: Subject, before: int, runs: int, due_s: float) -> tuple[float, float]:
    """When the first and the last of the runs was seen to have ended, in seconds from when all were due."""
    first_s = 0.0
    while (ended := await gateway.ended() - before) < runs:
        if ended and not first_s:
            first_s = time.time() - due_s
        await asyncio.sleep(POLL_S)
    last_s = time.time() - due_s
    return first_s or last_s, last_s
