"""The closed loop, and the conversation between the runner and a driver.

A driver is a process in its rival's own environment. It reads one JSON command a line from its standard input
and answers one JSON line; what libraries print goes to its standard error.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypedDict


class Command(TypedDict):
    """One measurement that the runner asks for."""

    work: str
    concurrency: int
    seconds: float


class Lap(TypedDict):
    """What one closed loop did; times are seconds, except where the name says otherwise."""

    runs: int
    seconds: float
    drain_s: float
    p50_ms: float
    p99_ms: float


class Driver(Protocol):
    """What a rival's folder must offer."""

    async def open(self) -> None:
        """Get ready: returns when the first command may come."""

    async def start(self) -> None:
        """Start a 1-step workflow; return when the system says that the start is durable."""

    async def drain(self) -> None:
        """Return when everything that ``start`` started has finished."""

    async def chain(self) -> None:
        """One run of the chain, start to finish."""

    async def fan(self) -> None:
        """One run of the fan, start to finish."""

    async def close(self) -> None:
        """Let go of what ``open`` took."""


def quantile(ordered: list[float], share: float) -> float:
    """The value below which ``share`` of the ordered values lie (nearest rank)."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def closed_loop(once: Callable[[], Awaitable[None]], concurrency: int, seconds: float) -> Lap:
    """Keep ``concurrency`` calls in flight for ``seconds``, then wait for those in flight.

    Everything begun is counted and the clock stops at the last end, so that units, time and CPU belong
    together even when one call takes longer than the window.
    """
    latencies: list[float] = []
    clock = time.perf_counter
    begin = clock()
    deadline = begin + seconds

    async def lane() -> None:
        now = clock()
        while now < deadline:
            await once()
            end = clock()
            latencies.append(end - now)
            now = end

    await asyncio.gather(*(lane() for _ in range(concurrency)))
    elapsed = clock() - begin
    latencies.sort()
    return {
        "runs": len(latencies),
        "seconds": elapsed,
        "drain_s": 0.0,
        "p50_ms": quantile(latencies, 0.50) * 1e3,
        "p99_ms": quantile(latencies, 0.99) * 1e3,
    }


async def lap(driver: Driver, command: Command) -> Lap:
    """Carry out one command."""
    once = {"starts": driver.start, "chain": driver.chain, "fan": driver.fan}[command["work"]]
    result = await closed_loop(once, command["concurrency"], command["seconds"])
    if command["work"] == "starts":
        begin = time.perf_counter()
        await driver.drain()
        result["drain_s"] = time.perf_counter() - begin
    return result


async def wait_until(ready: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 60.0) -> None:
    """Ask ``ready`` until it is true; an ``OSError`` counts as not yet.

    Raises ``TimeoutError`` that names ``what``.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if await ready():
                return
        except OSError:
            pass
        await asyncio.sleep(0.02)
    raise TimeoutError(f"{what} was not ready within {timeout_s:.0f} s")


async def converse(driver: Driver) -> None:
    """Serve the runner until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    await driver.open()
    print(json.dumps({"ready": True}), file=answers)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await lap(driver, json.loads(line))), file=answers)
    await driver.close()
