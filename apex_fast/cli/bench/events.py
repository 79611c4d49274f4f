"""`events`: events that are appended, and followed by a reader until they are durable and read.

`events.watch`: a map on a gateway, its run watched over gRPC (`WatchRun`) by a client while it executes.
`events.log`: a machine at full speed, its turns appended to a log, read by another thread as they become durable; no
gateway.
"""

import asyncio
import shutil
import time
from functools import partial
from typing import Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.history import Writer
from apex_fast.cli.bench.http2 import Http2Connection
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import RUNS
from apex_fast.cli.bench.subject import Subject, subject
from apex_fast.client import Client
from apex_fast.errors import ApexError
from apex_fast.wire.apex.v1 import common_pb2, run_pb2

EVENTS: Final = 400_000
EVENTS_PER_ITEM: Final = 4
WATCH_S_MAX: Final = 300.0


async def measure(plan: Plan) -> list[Measurement]:
    """Both, the same number of events."""
    events = plan.size or EVENTS
    async with subject(plan.folder, [workflows.wide_map()]) as gateway:
        await _watched(gateway, min(events, 1_000))
        return await plan.interleaved([partial(_watched, gateway, events), partial(_read, plan, events)], {})


class Reader:
    """Follows one run from its first event on; where it is too slow it comes again, as a client does."""

    def __init__(self, address: str, run_id: str) -> None:
        self._address = address
        self._run_id = run_id
        self._last = b""
        self.events = 0
        self.connections = 0

    def _said(self, message: bytes) -> None:
        self.events += 1
        self._last = message

    async def read(self) -> None:
        """Until the last event of the run. Raises OSError; ApexError where it failed, or an event was missed."""
        last = common_pb2.Event()
        while not last.type.startswith("Workflow"):
            self.connections += 1
            connection = await Http2Connection.connect(self._address, f"{RUNS}/WatchRun")
            request = run_pb2.WatchRunRequest(run_id=self._run_id, from_offset=self.events)
            connection.follow(request.SerializeToString(), self._said)
            await connection.lost
            connection.close()
            last = common_pb2.Event.FromString(self._last)
        if last.type != "WorkflowCompleted" or last.offset + 1 != self.events:
            raise ApexError(f"{self.events} events came, the last one was {last.type} at {last.offset}")


async def _watched(gateway: Subject, events: int) -> Measurement:
    """A map whose run is watched from its first event on."""
    items = {"items": list(range(max(1, events // EVENTS_PER_ITEM)))}
    async with Client(gateway.address) as client:
        cpu = gateway.cpu()
        begin = time.perf_counter()
        run = await client.start("map", items)
        reader = Reader(gateway.address, run.id)
        await asyncio.wait_for(reader.read(), WATCH_S_MAX)
    seconds = time.perf_counter() - begin
    server_us, load_us = cpu.us_per(reader.events)
    return Measurement(
        name="events.watch",
        unit="event",
        size=reader.events,
        concurrency=1,
        rate_per_s=reader.events / seconds,
        seconds=seconds,
        durability=FDATASYNC,
        cpu_us_per_unit=server_us,
        load_cpu_us_per_unit=load_us,
        more={"connections": reader.connections},
    )


async def _read(plan: Plan, events: int) -> Measurement:
    """A machine and its log in this process."""
    folder = plan.folder / "log"
    writer = Writer(folder)
    loop = asyncio.get_running_loop()
    begin, begin_cpu_s = time.perf_counter(), time.process_time()
    writing = loop.run_in_executor(None, writer.write, events)
    position = 0
    while position < events:
        position = await loop.run_in_executor(None, writer.read, position)
    seconds, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu_s
    await writing
    writer.close()
    shutil.rmtree(folder)
    return Measurement(
        name="events.log",
        unit="event",
        size=events,
        concurrency=1,
        rate_per_s=position / seconds,
        seconds=seconds,
        durability=FDATASYNC,
        cpu_us_per_unit=cpu_s * 1e6 / position,
    )
