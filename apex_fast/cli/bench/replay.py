"""`replay`: events back into a machine, as at the start of a gateway: with and without a snapshot at nine tenths.

Held against reading the same bytes: the files as they are, and the log's own scan, which checks every record.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from apex_fast.adapters.embedded.event_log import EmbeddedEventLog
from apex_fast.adapters.embedded.history import SCAN_BYTES_MAX
from apex_fast.cli.bench.history import PARTITIONS, SEGMENT_BYTES, written
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan, say
from apex_fast.core import Log
from apex_fast.engine.recovery import recover

EVENTS: Final = 1_000_000
READ_BYTES: Final = 1 << 20
FILES: Final = "read-files"
SCAN: Final = "scan-log"


def _read(folder: Path) -> None:
    """Read every file once."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            while os.read(descriptor, READ_BYTES):
                pass
            os.close(descriptor)


def scanned(folder: Path) -> None:
    """Read every record through the log, which checks each."""
    with closing(Log.open(str(folder), SEGMENT_BYTES)) as log:
        position = 0
        while True:
            _, count = log.scan(position, SCAN_BYTES_MAX)
            if not count:
                return
            position += count


async def recovered(folder: Path) -> None:
    """Open the log and fold it, as `apex serve` does."""
    event_log = EmbeddedEventLog(folder, SEGMENT_BYTES)
    recover(event_log, PARTITIONS, {})
    await event_log.close()


def _measurement(name: str, events: int, bytes_: int, seconds: float, cpu_s: float) -> Measurement:
    return Measurement(
        name=name,
        unit="event",
        size=events,
        concurrency=1,
        rate_per_s=events / seconds,
        seconds=seconds,
        durability=FDATASYNC,
        p50_ms=seconds * 1e3,
        cpu_us_per_unit=cpu_s * 1e6 / events,
        more={"bytes_per_event": bytes_ / events},
    )


async def measure(plan: Plan) -> list[Measurement]:
    """One recovery a round for each of the two logs; the pages are in memory for all sides alike."""
    wanted = plan.size or EVENTS
    whole, short = plan.folder / "whole", plan.folder / "snapshot"
    say(f"writing two logs of {wanted:,} events")
    events = written(whole, wanted, snapshot=False)
    written(short, wanted, snapshot=True)
    bytes_ = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())

    async def recovery(name: str, folder: Path) -> Measurement:
        begin, begin_cpu_s = time.perf_counter(), time.process_time()
        await recovered(folder)
        return _measurement(name, events, bytes_, time.perf_counter() - begin, time.process_time() - begin_cpu_s)

    async def reading(name: str, read: Callable[[Path], None]) -> Measurement:
        begin, begin_cpu_s = time.perf_counter(), time.process_time()
        read(whole)
        return _measurement(name, events, bytes_, time.perf_counter() - begin, time.process_time() - begin_cpu_s)

    return await plan.interleaved(
        [
            lambda: recovery("replay.whole", whole),
            lambda: recovery("replay.snapshot", short),
            lambda: reading(FILES, _read),
            lambda: reading(SCAN, scanned),
        ],
        {"replay": (FILES, SCAN)},
    )
