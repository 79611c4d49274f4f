"""`fair`: runs of a small tenant, at a fixed rate, alone and beside a 100,000-item map of another tenant.

In this process on the engine, the embedded log and the function executor: over the wire everyone is one tenant until
there are credentials. The map is started again whenever it ends, so that it is there all the time.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from apex_fast.adapters.clock import SystemClock
from apex_fast.adapters.embedded.event_log import EmbeddedEventLog
from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.functions import app
from apex_fast.cli.bench.history import PARTITIONS, SEGMENT_BYTES
from apex_fast.cli.bench.load import Done, Lap, closed_loop, open_loop
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.core import compile
from apex_fast.domain import Machine, RegisterWorkflow, Reply, StartRun
from apex_fast.engine import Engine
from apex_fast.errors import ApexError
from apex_fast.executors.function import FunctionExecutor
from apex_fast.settings import FunctionSettings

ITEMS: Final = 100_000
SMALL_PER_S: Final = 100
SMALL: Final = "small"
LARGE: Final = "large"


class Kitchen:
    """An engine with its executor, and two tenants."""

    def __init__(self, folder: Path) -> None:
        self._log = EmbeddedEventLog(folder, SEGMENT_BYTES)
        self.engine = Engine(Machine(PARTITIONS, self._log.term), self._log, SystemClock())
        self._executor = FunctionExecutor(app.functions, self.engine.deliver, FunctionSettings())
        self.engine.start({"function": self._executor})

    async def register(self, tenant: str, definition: bytes) -> None:
        """Register a workflow for a tenant. Raises ApexError."""
        reply = await self.engine.call(RegisterWorkflow(tenant, compile(definition).canonical, "main"))
        if reply.code:
            raise ApexError(f"{reply.code}: {reply.message}")

    def send(self, tenant: str, workflow: str, inputs: bytes = b"{}") -> Callable[[Done], None]:
        """A `Send`: start a run, answered when it has ended."""
        engine = self.engine

        def send(done: Done) -> None:
            def replied(reply: Reply) -> None:
                if reply.code:
                    done(False)
                else:
                    engine.when_ended(reply.run_id, lambda: done(True))

            engine.submit(StartRun(tenant, workflow, tag="main", inputs=inputs), replied)

        return send

    async def close(self) -> None:
        """Stop, keep the log."""
        await self._executor.close(1.0)
        await self.engine.drain()
        await self._log.close()


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
