"""ghz against the gateway: a real gRPC client in Go, 200 workers on 8 connections. ``python -m bench.ghz GHZ SECONDS``.

`StartRun` and the empty `Check` by turns, on one gateway; a start is charged with its whole run, as in `apex bench
starts`.
"""

import asyncio
import resource
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from apex_fast.cli.bench import machine, workflows
from apex_fast.cli.bench.measurement import FDATASYNC, NO_DURABILITY, Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.subject import Subject, subject

WORKERS: Final = 200
CONNECTIONS: Final = 8
ROUNDS: Final = 5
START: Final = "apex.v1.RunService.StartRun"
CHECK: Final = "grpc.health.v1.Health.Check"
EMPTY: Final = "empty-grpc"
ROOT: Final = Path(__file__).resolve().parents[1]


def children_cpu_s() -> float:
    """CPU of the children that have ended: ghz, for the gateway still runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def ghz(program: str, gateway: Subject, call: str, data: str, seconds: float) -> dict[str, Any]:
    """One run of ghz; its report. Raises RuntimeError where a call failed."""
    argv = [program, "--insecure", "--call", call, "-d", data, "-c", str(WORKERS), "--connections", str(CONNECTIONS)]
    argv += ["-z", f"{seconds:g}s", "--duration-stop", "wait", "-O", "json", gateway.address]
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    report: dict[str, Any] = msgspec.json.decode(output)
    failed = {code: count for code, count in report["statusCodeDistribution"].items() if code != "OK"}
    if failed:
        raise RuntimeError(f"{call}: {failed}")
    return report


async def lap(
    program: str, gateway: Subject, name: str, call: str, data: str, durability: str, seconds: float
) -> Measurement:
    """One lap, up to the end of the last run."""
    cpu, load_s = gateway.cpu(), children_cpu_s()
    report = await ghz(program, gateway, call, data, seconds)
    await gateway.idle()
    count: int = report["count"]
    at_ms = {row["percentage"]: row["latency"] / 1e6 for row in report["latencyDistribution"]}
    return Measurement(
        name=name,
        unit="start",
        size=1,
        concurrency=WORKERS,
        rate_per_s=report["rps"],
        seconds=report["total"] / 1e9,
        durability=durability,
        p50_ms=at_ms.get(50),
        p99_ms=at_ms.get(99),
        cpu_us_per_unit=cpu.us_per(count)[0],
        load_cpu_us_per_unit=(children_cpu_s() - load_s) * 1e6 / count,
    )


async def measure(program: str, plan: Plan) -> list[Measurement]:
    """Starts, held against the empty handler."""
    async with subject(plan.folder, [workflows.single()]) as gateway:
        start = '{"workflow":{"name":"single"}}'
        sides = [
            partial(lap, program, gateway, "starts.ghz", START, start, FDATASYNC, plan.lap_s),
            partial(lap, program, gateway, EMPTY, CHECK, "{}", NO_DURABILITY, plan.lap_s),
        ]
        await sides[0]()
        return await plan.interleaved(sides, {"starts.ghz": (EMPTY,)})


def main() -> None:
    """Print the JSON list."""
    program, seconds = sys.argv[1:]
    shared = {"machine": machine.machine(), "versions": machine.versions(), "commit": machine.commit(ROOT)}
    with tempfile.TemporaryDirectory(prefix=".apex-bench-", dir=ROOT) as folder:
        found = asyncio.run(measure(program, Plan(Path(folder), float(seconds), ROUNDS)))
    objects = [{**msgspec.to_builtins(one), **shared} for one in found]
    print(msgspec.json.format(msgspec.json.encode(objects), indent=1).decode())


if __name__ == "__main__":
    main()
