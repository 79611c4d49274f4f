"""`overload`: what can be done in a closed loop, then arrivals at 2 and 5 times that rate; runs that end a second.

Arrivals are an open loop: they do not slow down because answers do. What the gateway refuses (OVERLOADED, with
RetryInfo) is not sent again. The load shares the cores with the gateway, so its CPU is stated.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.load import closed_loop, open_loop
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import Stream
from apex_fast.cli.bench.subject import of_lap, subject

TIMES: Final = (2, 5)
IN_FLIGHT: Final = 1_024
PEAK: Final = "peak"
SETTLE_S: Final = 30.0
GATHER_S: Final = 0.002
"""A client that sends for volume fills its messages; one start a message would measure its frames."""


async def measure(plan: Plan) -> list[Measurement]:
    """Runs that ended a second in each, against the peak."""
    peaks_per_s: list[float] = []
    async with subject(plan.folder, [workflows.single()]) as gateway:
        waiting = await Stream.connect(gateway.address, "single", wait=True)
        arriving = await Stream.connect(gateway.address, "single", wait=False, gather_s=GATHER_S)
        await gateway.warm_up(waiting.send, IN_FLIGHT)

        async def peak() -> Measurement:
            cpu = gateway.cpu()
            lap = await closed_loop(waiting.send, IN_FLIGHT, plan.lap_s)
            peaks_per_s.append(lap.rate_per_s)
            return of_lap(PEAK, "run", lap, cpu, IN_FLIGHT)

        async def over(times: int) -> Measurement:
            cpu = gateway.cpu()
            before, begin = await gateway.ended(), time.perf_counter()
            lap = await open_loop(arriving.send, peaks_per_s[-1] * times, plan.lap_s, SETTLE_S)
            sent_s = time.perf_counter() - begin
            await gateway.idle()
            ended, seconds = await gateway.ended() - before, time.perf_counter() - begin
            server_us, load_us = cpu.us_per(ended)
            return Measurement(
                name=f"overload.{times}x",
                unit="run",
                size=1,
                concurrency=0,
                rate_per_s=ended / seconds,
                seconds=seconds,
                durability=FDATASYNC,
                p50_ms=lap.ms(0.5),
                p99_ms=lap.ms(0.99),
                cpu_us_per_unit=server_us,
                load_cpu_us_per_unit=load_us,
                more={"arrivals_per_s": (lap.units + lap.refused) / sent_s, "refused_per_s": lap.refused / sent_s},
            )

        held = {f"overload.{times}x": (PEAK,) for times in TIMES}
        sides: list[Callable[[], Awaitable[Measurement]]] = [peak, *(partial(over, times) for times in TIMES)]
        found = await plan.interleaved(sides, held)
        waiting.close()
        arriving.close()
        return found
