"""Load: closed loops for throughput, open loops for latency. Callbacks, no tasks: a unit costs the load 2 µs here.

A `Send` sends one unit and calls back with whether it was taken. What is refused is sent again a little later, as a
client that reads `Retry-After` would; its time runs from the first attempt.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from apex_fast.cli.bench.measurement import quantile

Done: TypeAlias = Callable[[bool], None]
Send: TypeAlias = Callable[[Done], None]
AGAIN_S: Final = 0.02
STUCK_S: Final = 60.0


@dataclass
class Lap:
    """What one loop did. ``seconds`` ends with the last answer, so that units and time belong together."""

    units: int = 0
    seconds: float = 0.0
    refused: int = 0
    times_s: list[float] = field(default_factory=list)
    """Ordered."""

    @property
    def rate_per_s(self) -> float:
        """Units a second."""
        return self.units / self.seconds if self.seconds else 0.0

    def ms(self, share: float) -> float | None:
        """Quantile of the times, in milliseconds."""
        return quantile(self.times_s, share) * 1e3 if self.times_s else None


async def closed_loop(send: Send, in_flight: int, seconds: float, units: int = sys.maxsize) -> Lap:
    """Keep ``in_flight`` units in flight for ``seconds`` or ``units``, then wait for those on their way.

    Raises TimeoutError when nothing was answered for a minute.
    """
    loop = asyncio.get_running_loop()
    clock = time.perf_counter
    lap = Lap()
    times_s = lap.times_s
    begin = clock()
    deadline = begin + seconds
    left = units
    flying = min(in_flight, units)
    finished: asyncio.Future[None] = loop.create_future()

    def launch() -> None:
        nonlocal left
        left -= 1
        sent = clock()

        def done(taken: bool) -> None:
            nonlocal flying
            now = clock()
            if taken:
                times_s.append(now - sent)
            else:
                lap.refused += 1
                if now < deadline:
                    loop.call_later(AGAIN_S, send, done)
                    return
            if left and now < deadline:
                launch()
            else:
                flying -= 1
                if not flying:
                    lap.seconds = now - begin
                    finished.set_result(None)

        send(done)

    for _ in range(flying):
        launch()
    await asyncio.wait_for(finished, seconds + STUCK_S)
    times_s.sort()
    lap.units = len(times_s)
    return lap


async def open_loop(
    send: Send,
    rate_per_s: float,
    seconds: float,
    settle_s: float = STUCK_S,
    is_over: Callable[[], bool] = lambda: False,
) -> Lap:
    """Send at a fixed rate; times run from the moment at which each unit should have been sent.

    What is refused counts as refused and is not sent again. Ends after ``seconds`` or when ``is_over``, whichever is
    first, and waits up to ``settle_s`` for what is on its way.
    """
    loop = asyncio.get_running_loop()
    clock = time.perf_counter
    lap = Lap()
    begin = clock()
    total = max(1, round(rate_per_s * seconds))
    sent = answered = 0
    finished: asyncio.Future[None] = loop.create_future()

    def one(due: float) -> None:
        def done(taken: bool) -> None:
            nonlocal answered
            answered += 1
            if taken:
                lap.times_s.append(clock() - due)
            else:
                lap.refused += 1
            if answered == total and not finished.done():
                lap.seconds = clock() - begin
                finished.set_result(None)

        send(done)

    while sent < total:
        if is_over():
            total = sent
            break
        now = clock()
        while sent < total and begin + sent / rate_per_s <= now:
            one(begin + sent / rate_per_s)
            sent += 1
        await asyncio.sleep(max(0.0, begin + sent / rate_per_s - clock()) if sent < total else 0)
    if answered == total and not finished.done():  # ended early, with nothing on its way
        lap.seconds = clock() - begin
        finished.set_result(None)
    try:
        await asyncio.wait_for(finished, settle_s)
    except TimeoutError:
        lap.seconds = clock() - begin
    lap.times_s.sort()
    lap.units = len(lap.times_s)
    return lap
