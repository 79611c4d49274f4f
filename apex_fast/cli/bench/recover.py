"""`recover`: a gateway is killed under load; how long until the next one serves, with and without a snapshot.

The log has the given number of events: nine tenths written by a machine at full speed, the rest by a gateway under load
that is killed in the middle of it. Every round recovers a copy of that folder: until gRPC health says SERVING, and
until a run that is started then has ended. Beside it the same start on an empty folder: what is no recovery.
`recover.cold` is `recover.whole` with nothing of the folder in the page cache, as after a power loss.
"""

import asyncio
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.history import SNAPSHOT_AT, written
from apex_fast.cli.bench.load import closed_loop
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan, say
from apex_fast.cli.bench.restart import restart
from apex_fast.cli.bench.starters import Stream
from apex_fast.cli.bench.subject import FUNCTIONS, subject
from apex_fast.cli.process import GatewayProcess
from apex_fast.client import Client

EVENTS: Final = 1_000_000
IN_FLIGHT: Final = 128
LOAD_S_MAX: Final = 120.0
ENDED_S_MAX: Final = 60.0


async def measure(plan: Plan) -> list[Measurement]:
    """All three ways to recover."""
    events = plan.size or EVENTS
    folders = {name: plan.folder / name for name in ("whole", "snapshot")}
    for name, folder in folders.items():
        say(f"{name}: writing {events:,} events, then killing a gateway under load")
        await _killed(folder, events, name == "snapshot")
    sides = [
        partial(_recovered, plan, "whole", folders["whole"], is_cold=False),
        partial(_recovered, plan, "cold", folders["whole"], is_cold=True),
        partial(_recovered, plan, "snapshot", folders["snapshot"], is_cold=False),
    ]
    return await plan.interleaved(sides, {})


async def _killed(folder: Path, events: int, snapshot: bool) -> None:
    """Leave a log of ``events`` events or a little more, as SIGKILL left it."""
    data = folder / "data"
    written(data / "log", round(events * SNAPSHOT_AT), snapshot)
    async with subject(folder, [workflows.chain()]) as gateway:
        stream = await Stream.connect(gateway.address, "chain", wait=True)
        load = asyncio.create_task(closed_loop(stream.send, IN_FLIGHT, LOAD_S_MAX))
        await gateway.written(events)
        gateway.kill()
        load.cancel()
        stream.close()


def _forget(folder: Path) -> None:
    """Drop a folder from the page cache, as after a power loss."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


async def _recovered(plan: Plan, name: str, folder: Path, is_cold: bool) -> Measurement:
    """Recover a copy."""
    copy, empty = plan.folder / "copy", plan.folder / "empty"
    shutil.copytree(folder, copy)
    if is_cold:
        _forget(copy)
    gateway, nothing = (GatewayProcess(place / "data", FUNCTIONS) for place in (copy, empty))
    begin = time.perf_counter()
    try:
        found = await restart(gateway)
        async with Client(gateway.address) as client:
            run = await client.start("chain")
            await run.ended(timeout_s=ENDED_S_MAX)
        ended_s = time.perf_counter() - begin
    finally:
        gateway.kill()
    try:
        fresh = await restart(nothing)
    finally:
        nothing.kill()
    shutil.rmtree(copy)
    shutil.rmtree(empty)
    return Measurement(
        name=f"recover.{name}",
        unit="event",
        size=found.records,
        concurrency=IN_FLIGHT,
        rate_per_s=found.records / found.serving_s,
        seconds=ended_s,
        durability=FDATASYNC,
        p50_ms=found.serving_s * 1e3,
        cpu_us_per_unit=found.cpu_s * 1e6 / found.records,
        more={
            "ready_ms": found.ready_s * 1e3,
            "first_run_ended_ms": ended_s * 1e3,
            "empty_folder_ms": fresh.serving_s * 1e3,
            "fold_ms": found.fold_s * 1e3,
            "events_folded": found.replayed,
        },
    )
