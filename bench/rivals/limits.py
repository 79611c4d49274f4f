"""The limits of `apex bench` as contestants: ``limit-loop`` and ``limit-file``, load and all in one process."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from apex_fast.cli.bench.limits import FILE, LOOP, FileLimit, LoopLimit
from bench.rivals.contestant import Contestant, Process
from bench.rivals.load import converse


class LimitDriver:
    """A limit as the runner's driver."""

    def __init__(self, make: Callable[[], LoopLimit]) -> None:
        self._make = make
        self._background: set[asyncio.Task[int]] = set()

    async def open(self) -> None:
        self._limit = self._make()

    async def start(self) -> None:
        rest = asyncio.get_running_loop().create_task(await self._limit.start())
        self._background.add(rest)
        rest.add_done_callback(self._background.discard)

    async def drain(self) -> None:
        if self._background:
            await asyncio.wait(self._background)

    async def chain(self) -> None:
        await asyncio.create_task(self._limit.chain())

    async def fan(self) -> None:
        await asyncio.create_task(self._limit.fan())

    async def close(self) -> None:
        self._limit.close()


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
    asyncio.run(converse(LimitDriver(LoopLimit if name == LOOP else lambda: FileLimit(Path(folder)))))


if __name__ == "__main__":
    main()
