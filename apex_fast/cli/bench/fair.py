"""`fair`: runs of a small tenant, at a fixed rate, alone and beside a 100,000-item map of another tenant.

In this process on the engine, the embedded log and the function executor: over the wire everyone is one tenant until
there are credentials. The map is started again whenever it ends, so that it is there all the time.
"""

import asyncio
import time
from typing import Final

import msgspec

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.kitchen import Kitchen
from apex_fast.cli.bench.load import Lap, closed_loop, open_loop
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan

ITEMS: Final = 100_000
SMALL_PER_S: Final = 100
SMALL: Final = "small"
LARGE: Final = "large"


async def measure(plan: Plan) -> list[Measurement]:
    """p50 and p99 of the small tenant, alone and beside the map."""
    items = plan.size or ITEMS
    kitchen = Kitchen(plan.folder / "data")
    await kitchen.register(SMALL, workflows.single())
    await kitchen.register(LARGE, workflows.wide_map())
    small = kitchen.send(SMALL, "single")
    large = kitchen.send(LARGE, "map", msgspec.json.encode({"items": list(range(items))}))
    await closed_loop(small, 4, 0.5)

    async def alone() -> Measurement:
        begin_s = time.process_time()
        lap = await open_loop(small, SMALL_PER_S, plan.lap_s)
        return _measurement("fair.alone", lap, time.process_time() - begin_s, 0.0)

    async def beside() -> Measurement:
        maps = 0
        over = False
        last: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        begin = time.perf_counter()

        def ended(_well: bool) -> None:
            nonlocal maps
            maps += 1
            if over:
                last.set_result(None)
            else:
                large(ended)

        large(ended)
        lap = await open_loop(small, SMALL_PER_S, plan.lap_s)
        over = True
        await last
        nodes_per_s = maps * items / (time.perf_counter() - begin)
        return _measurement("fair.beside_a_map", lap, None, nodes_per_s)

    found = await plan.interleaved([alone, beside], {"fair.beside_a_map": ()})
    await kitchen.close()
    return found


def _measurement(name: str, lap: Lap, cpu_s: float | None, map_nodes_per_s: float) -> Measurement:
    return Measurement(
        name=name,
        unit="run",
        size=1,
        concurrency=1,
        rate_per_s=lap.rate_per_s,
        seconds=lap.seconds,
        durability=FDATASYNC,
        p50_ms=lap.ms(0.5),
        p99_ms=lap.ms(0.99),
        cpu_us_per_unit=None if cpu_s is None else cpu_s * 1e6 / max(1, lap.units),
        more={"p95_ms": lap.ms(0.95) or 0.0, "map_nodes_per_s": map_nodes_per_s},
    )
