"""The limits: what a plain event loop reaches with the same works, in this process.

`LoopLimit` only calls the functions. `FileLimit` also keeps one record for each start, step and end in a preallocated
file, and goes on when an fdatasync has covered it: group commit, all in Python. Both are load and system in one.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

from apex_fast.cli.bench.load import Done, closed_loop
from apex_fast.cli.bench.measurement import FDATASYNC, NO_DURABILITY, Measurement
from apex_fast.cli.bench.workflows import CHAIN_LENGTH, FAN_WIDTH

LOOP: Final = "limit-loop"
FILE: Final = "limit-file"
SEGMENT_BYTES = 64 << 20


async def step(value: int) -> int:
    """The no-op step."""
    return value + 1


class LoopLimit:
    """An event loop that only calls the functions."""

    name = LOOP
    durability = NO_DURABILITY

    def __init__(self) -> None:
        self._runs = 0

    def _run(self) -> int:
        self._runs += 1
        return self._runs

    async def _note(self, run: int, kind: str) -> None:
        """The start or the end of a run."""

    async def _step(self, _run: int, _name: str, value: int) -> int:
        return await step(value)

    async def _turn(self) -> None:
        """Between two links: the next one is the loop's to call, so that runs alternate, as in any engine."""
        await asyncio.sleep(0)

    async def start(self) -> Coroutine[None, None, int]:
        """A run of one step; returns once its start is kept, with what is left to be awaited."""
        run = self._run()
        await self._note(run, "RunStarted")
        return self._step(run, "only", 0)

    async def chain(self) -> None:
        """Steps in a row."""
        run = self._run()
        await self._note(run, "RunStarted")
        value = 0
        for link in range(CHAIN_LENGTH):
            value = await self._step(run, f"link{link}", value)
            await self._turn()
        await self._note(run, "WorkflowCompleted")

    async def fan(self) -> None:
        """1 → 100 → 1."""
        run = self._run()
        await self._note(run, "RunStarted")
        first = await self._step(run, "first", 0)
        leaves = await asyncio.gather(*(self._step(run, f"leaf{leaf}", first) for leaf in range(FAN_WIDTH)))
        await self._step(run, "last", sum(leaves))
        await self._note(run, "WorkflowCompleted")

    async def graph(self, nodes: int, edges: Sequence[tuple[int, int]]) -> None:
        """Any graph: a step begins when those it depends on have ended."""
        run = self._run()
        after: list[list[int]] = [[] for _ in range(nodes)]
        missing = [0] * nodes
        for source, target in edges:
            after[source].append(target)
            missing[target] += 1
        await self._note(run, "RunStarted")
        async with asyncio.TaskGroup() as group:

            async def node(index: int) -> None:
                await self._step(run, f"n{index}", index)
                for target in after[index]:
                    missing[target] -= 1
                    if not missing[target]:
                        group.create_task(node(target))

            for index in [index for index in range(nodes) if not missing[index]]:
                group.create_task(node(index))
        await self._note(run, "WorkflowCompleted")

    def close(self) -> None:
        """Nothing to give back."""


class AppendFile:
    """An append-only file with group commit: one write and one fdatasync for all that waits."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(self._fd, 0, SEGMENT_BYTES)
        os.fsync(self._fd)
        self._allocated = SEGMENT_BYTES
        self._offset = 0
        self._records: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None

    def append(self, record: bytes) -> "asyncio.Future[None]":
        """A future that is done when the record is on the disk."""
        loop = asyncio.get_running_loop()
        durable = loop.create_future()
        self._records.append(record)
        self._waiting.append(durable)
        if self._writer is None:
            self._writer = loop.create_task(self._write())
        return durable

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._records:
            records, self._records = self._records, []
            waiting, self._waiting = self._waiting, []
            await loop.run_in_executor(None, self._commit, b"".join(records))
            for durable in waiting:
                durable.set_result(None)
            await asyncio.sleep(0)  # lets those just woken append before the next group closes
        self._writer = None

    def _commit(self, group: bytes) -> None:
        if self._offset + len(group) > self._allocated:
            os.posix_fallocate(self._fd, self._allocated, SEGMENT_BYTES)
            self._allocated += SEGMENT_BYTES
        os.pwrite(self._fd, group, self._offset)
        self._offset += len(group)
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)


class FileLimit(LoopLimit):
    """The same loop with one durable record for each start, step and end."""

    name = FILE
    durability = FDATASYNC

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / "limit.log"
        self._file = AppendFile(self._path)

    def _append(self, run: int, kind: str, name: str, value: int) -> "asyncio.Future[None]":
        record = {"run": run, "type": kind, "node": name, "value": value, "time_ns": time.time_ns()}
        return self._file.append(json.dumps(record).encode() + b"\n")

    async def _note(self, run: int, kind: str) -> None:
        await self._append(run, kind, "", 0)

    async def _turn(self) -> None:
        """The wait for the disk is the turn."""

    async def _step(self, _run: int, _name: str, value: int) -> int:
        result = await step(value)
        await self._append(_run, "ToolResultReceived", _name, result)
        return result

    def close(self) -> None:
        """Drop the file."""
        self._file.close()
        self._path.unlink()


async def measured(
    limit: LoopLimit, once: Callable[[], Awaitable[None]], nodes: int, in_flight: int, seconds: float
) -> Measurement:
    """A lap of a limit: ``once`` is one run of ``nodes`` nodes."""
    loop = asyncio.get_running_loop()

    async def run() -> None:
        await once()

    def send(done: Done) -> None:
        loop.create_task(run()).add_done_callback(lambda task: done(task.exception() is None))

    begin_s = time.process_time()
    lap = await closed_loop(send, in_flight, seconds)
    cpu_s = time.process_time() - begin_s
    return Measurement(
        name=limit.name,
        unit="node",
        size=nodes,
        concurrency=in_flight,
        rate_per_s=lap.rate_per_s * nodes,
        seconds=lap.seconds,
        durability=limit.durability,
        p50_ms=lap.ms(0.5),
        p99_ms=lap.ms(0.99),
        cpu_us_per_unit=cpu_s * 1e6 / (lap.units * nodes),
    )
