"""The limits: what plain asyncio reaches with the same works, as contestants ``limit-*``.

``limit-loop`` only calls the functions. ``limit-file`` also appends one record for each start, step and end
to a preallocated file, and goes on when an fdatasync has covered it: group commit, all in Python. Both are
one process, so the load generator is within their figures.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.rivals.contestant import Contestant, Process
from bench.rivals.load import converse, quantile
from bench.rivals.works import CHAIN_LENGTH, FAN_WIDTH

LOOP = "limit-loop"
FILE = "limit-file"
SEGMENT_BYTES = 64 << 20


async def step(value: int) -> int:
    """The no-op step."""
    return value + 1


class LoopLimit:
    """An asyncio loop that only calls the functions; each run is a task, so that runs take turns."""

    async def open(self) -> None:
        pass

    async def start(self) -> None:
        await asyncio.create_task(step(0))

    async def drain(self) -> None:
        pass

    async def chain(self) -> None:
        await asyncio.create_task(self._chain())

    async def _chain(self) -> None:
        value = 0
        for _ in range(CHAIN_LENGTH):
            value = await step(value)
            await asyncio.sleep(0)  # the next link is the loop's to call: runs alternate, as in any engine

    async def fan(self) -> None:
        await asyncio.create_task(self._fan())

    async def _fan(self) -> None:
        first = await step(0)
        leaves = await asyncio.gather(*(step(first) for _ in range(FAN_WIDTH)))
        await step(sum(leaves))

    async def close(self) -> None:
        pass


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


class FileLimit:
    """The same loop with one durable record for each start, step and end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self._background: set[asyncio.Task[int]] = set()

    async def open(self) -> None:
        self._file = AppendFile(self._folder / "events.log")

    def _append(self, run: int, kind: str, name: str, value: int) -> "asyncio.Future[None]":
        record = {"run": run, "type": kind, "node": name, "value": value, "time_ns": time.time_ns()}
        return self._file.append(json.dumps(record).encode() + b"\n")

    def _run(self) -> int:
        self._runs += 1
        return self._runs

    async def _step(self, run: int, name: str, value: int) -> int:
        result = await step(value)
        await self._append(run, "ToolResultReceived", name, result)
        return result

    async def start(self) -> None:
        run = self._run()
        await self._append(run, "RunStarted", "", 0)
        rest = asyncio.get_running_loop().create_task(self._step(run, "only", 0))
        self._background.add(rest)
        rest.add_done_callback(self._background.discard)

    async def drain(self) -> None:
        if self._background:
            await asyncio.wait(self._background)

    async def chain(self) -> None:
        run = self._run()
        await self._append(run, "RunStarted", "", 0)
        value = 0
        for link in range(CHAIN_LENGTH):
            value = await self._step(run, f"link{link}", value)
        await self._append(run, "WorkflowCompleted", "", value)

    async def fan(self) -> None:
        run = self._run()
        await self._append(run, "RunStarted", "", 0)
        first = await self._step(run, "first", 0)
        leaves = await asyncio.gather(*(self._step(run, f"leaf{leaf}", first) for leaf in range(FAN_WIDTH)))
        last = await self._step(run, "last", sum(leaves))
        await self._append(run, "WorkflowCompleted", "", last)

    async def close(self) -> None:
        self._file.close()


def fdatasync_ms(folder: Path, samples: int = 300) -> tuple[float, float]:
    """p50 and p99 in milliseconds of a 256-byte write and its fdatasync, one at a time, preallocated file."""
    fd = os.open(folder / "fdatasync", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(fd, 0, 1 << 20)
        os.fsync(fd)
        times_ms: list[float] = []
        for sample in range(samples):
            begin = time.perf_counter()
            os.pwrite(fd, b"\x01" * 256, sample * 256)
            os.fdatasync(fd)
            times_ms.append((time.perf_counter() - begin) * 1e3)
    finally:
        os.close(fd)
    times_ms.sort()
    return quantile(times_ms, 0.5), quantile(times_ms, 0.99)


def contestants() -> list[Contestant]:
    """Both limits, driven by this file in the runner's own interpreter."""

    def processes(name: str) -> Callable[[Path], list[Process]]:
        return lambda data: [Process("load", (sys.executable, "-m", "bench.rivals.limits", name, str(data)))]

    return [
        Contestant(LOOP, "none", processes(LOOP), separable=False),
        Contestant(FILE, "fdatasync, group commit", processes(FILE), separable=False),
    ]


def main() -> None:
    """``python -m bench.rivals.limits NAME FOLDER``: the driver of one limit."""
    name, folder = sys.argv[1:]
    asyncio.run(converse(LoopLimit() if name == LOOP else FileLimit(Path(folder))))


if __name__ == "__main__":
    main()
