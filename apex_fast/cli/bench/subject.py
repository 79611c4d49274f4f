"""The gateway under measurement: a child on a fresh folder, its CPU, its counters."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from apex_fast.cli.bench.cpu import process_cpu_s
from apex_fast.cli.bench.http1 import Http1Connection, get
from apex_fast.cli.bench.load import Lap, Send, closed_loop
from apex_fast.cli.bench.measurement import FDATASYNC, Measurement
from apex_fast.cli.bench.memory import resident_bytes, resident_peak_bytes
from apex_fast.cli.bench.restart import Restart, restart
from apex_fast.cli.process import GatewayProcess
from apex_fast.client import Client
from apex_fast.errors import Unavailable

FUNCTIONS: Final = "apex_fast.cli.bench.functions:app"
POLL_S: Final = 0.02
DRAIN_TIMEOUT_S: Final = 300.0
WARM_UP_S: Final = 0.5


class Cpu:
    """Stopwatch for the CPU of the child and of this process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._server_s = process_cpu_s(pid)
        self._load_s = time.process_time()

    def us_per(self, units: int) -> tuple[float | None, float | None]:
        """Microseconds per unit since this was made: of the child, of this process."""
        if not units:
            return None, None
        server_s = process_cpu_s(self._pid) - self._server_s
        return server_s * 1e6 / units, (time.process_time() - self._load_s) * 1e6 / units


class Subject:
    """A running gateway."""

    def __init__(self, gateway: GatewayProcess, side: Http1Connection) -> None:
        self._gateway = gateway
        self._side = side
        self.address = gateway.address

    def cpu(self) -> Cpu:
        """A stopwatch that starts now."""
        return Cpu(self._gateway.pid)

    def resident_bytes(self) -> int:
        """Resident memory of the child now."""
        return resident_bytes(self._gateway.pid)

    def resident_peak_bytes(self) -> int:
        """The most that was resident."""
        return resident_peak_bytes(self._gateway.pid)

    def kill(self) -> None:
        """SIGKILL."""
        self._gateway.kill()

    async def restart(self) -> Restart:
        """SIGKILL, and another gateway on the same folder."""
        self.close()
        self.kill()
        found = await restart(self._gateway)
        self.address = self._gateway.address
        self._side = await Http1Connection.connect(self.address)
        return found

    def close(self) -> None:
        """Close the connection; the child goes on."""
        self._side.close()

    async def gauges(self) -> dict[str, float]:
        """Metrics without labels, by name."""
        body = await self._metrics()
        return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", body.decode(), re.MULTILINE)}

    async def ended(self) -> int:
        """Runs that have ended since the gateway began."""
        body = await self._metrics()
        found = re.findall(r"^workflow_completed_total\{[^}]*\} (\S+)$", body.decode(), re.MULTILINE)
        return round(sum(map(float, found)))

    async def _metrics(self) -> bytes:
        if not self._side.is_open:
            self._side = await Http1Connection.connect(self.address)
        return (await self._side.fetch(get("/metrics", self.address)))[1]

    async def idle(self) -> float:
        """Wait until no run is open; how long that took, in seconds. Raises Unavailable after five minutes."""
        begin = time.perf_counter()
        while (await self.gauges())["engine_runs_open"]:
            if time.perf_counter() - begin > DRAIN_TIMEOUT_S:
                raise Unavailable("runs are still open after five minutes")
            await asyncio.sleep(POLL_S)
        return time.perf_counter() - begin

    async def settled(self) -> None:
        """Wait until all that was taken is decided and durable. Raises Unavailable after five minutes."""
        begin = time.perf_counter()
        while not _is_settled(await self.gauges()):
            if time.perf_counter() - begin > DRAIN_TIMEOUT_S:
                raise Unavailable("there is still something to decide after five minutes")
            await asyncio.sleep(POLL_S)

    async def written(self, events: int) -> None:
        """Wait until the log has this many durable events. Raises Unavailable after five minutes."""
        begin = time.perf_counter()
        while (await self.gauges())["engine_durable_total"] < events:
            if time.perf_counter() - begin > DRAIN_TIMEOUT_S:
                raise Unavailable(f"there are no {events:,} events after five minutes")
            await asyncio.sleep(POLL_S)

    async def warm_up(self, send: Send, in_flight: int) -> Lap:
        """A short lap that is not counted."""
        lap = await closed_loop(send, in_flight, WARM_UP_S)
        await self.idle()
        return lap


def _is_settled(gauges: dict[str, float]) -> bool:
    left = gauges["engine_inbox"] + gauges["engine_commands_waiting"] + gauges["engine_runs_with_backlog"]
    return not left and gauges["engine_durable_total"] == gauges["engine_position_total"]


@asynccontextmanager
async def subject(folder: Path, definitions: Iterable[bytes]) -> AsyncIterator[Subject]:
    """A gateway on a fresh log in ``folder`` with these workflows registered."""
    gateway = GatewayProcess(folder / "data", FUNCTIONS)
    await gateway.start()
    try:
        async with Client(gateway.address) as client:
            for definition in definitions:
                await client.register(definition, ["main"])
        found = Subject(gateway, await Http1Connection.connect(gateway.address))
        try:
            yield found
        finally:
            found.close()
    finally:
        await gateway.stop()


async def measured(
    gateway: Subject, name: str, unit: str, send: Send, in_flight: int, seconds: float, size: int = 1
) -> Measurement:
    """A closed loop whose answers come when runs have ended; ``size`` units a run."""
    cpu = gateway.cpu()
    return of_lap(name, unit, await closed_loop(send, in_flight, seconds), cpu, in_flight, size)


def of_lap(name: str, unit: str, lap: Lap, cpu: Cpu, in_flight: int, size: int = 1) -> Measurement:
    """The figures of a lap, each of its answers about ``size`` units. The window of the CPU ends now."""
    server_us, load_us = cpu.us_per(lap.units * size)
    return Measurement(
        name=name,
        unit=unit,
        size=size,
        concurrency=in_flight,
        rate_per_s=lap.rate_per_s * size,
        seconds=lap.seconds,
        durability=FDATASYNC,
        p50_ms=lap.ms(0.5),
        p99_ms=lap.ms(0.99),
        cpu_us_per_unit=server_us,
        load_cpu_us_per_unit=load_us,
        more={"refused_per_s": lap.refused / lap.seconds} if lap.refused else {},
    )
