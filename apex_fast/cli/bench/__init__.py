"""`apex bench NAME`: one benchmark of apex_fast on this machine.

A file per benchmark (`starts`, `single`, `chain`, …) with ``measure(plan)``; beside them what they share: the gateway
under measurement (`subject.py`), the load (`load.py`, `http1.py`, `http2.py`, `starters.py`), the limits they are held
against (`limits.py`, `disk.py`), the measurement and its medians. May know: every room, for it measures them from
outside or by themselves. Never: changes what it measures. Out: measurements as docs/decisions/0007 describes them.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

from apex_fast.cli.bench import (
    chain,
    compiling,
    dag,
    fair,
    fan,
    machine,
    overload,
    reads,
    replay,
    single,
    starts,
    table,
)
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.screen import Screen

BENCHMARKS: dict[str, tuple[Callable[[Plan], Awaitable[list[Measurement]]], str]] = {
    "starts": (starts.measure, "durable starts a second, over gRPC unary, the gRPC stream and HTTP"),
    "single": (single.measure, "one run of one node at a time, from start to end"),
    "chain": (chain.measure, "10 nodes in a row, 128 runs at once"),
    "fan": (fan.measure, "1 → 100 → 1, 16 runs at once"),
    "dag": (dag.measure, "1,000 nodes in layers, and a real graph of 1,312 tasks"),
    "compile": (compiling.measure, "definitions of 10 to 100,000 nodes, against parsing the same bytes"),
    "replay": (replay.measure, "1,000,000 events back into a machine, with and without a snapshot"),
    "reads": (reads.measure, "status and timeline of a run while 10,000 nodes a second execute"),
    "fair": (fair.measure, "a small tenant's runs beside a 100,000-item map of another tenant"),
    "overload": (overload.measure, "arrivals at 2 and 5 times of what can be done"),
}
SECONDS = 10.0
ROUNDS = 5


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "measure apex_fast on this machine"
    listing = "\n".join(f"  {name:<9} {text}" for name, (_, text) in BENCHMARKS.items())
    verb = verbs.add_parser(
        "bench",
        help=words,
        description=f"{words.capitalize()}. What is measured:\n\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("name", choices=BENCHMARKS, metavar="NAME", help="one of the above")
    verb.add_argument("--json", action="store_true", help="print a JSON list of measurements")
    verb.add_argument("--seconds", type=_positive, default=SECONDS, help=f"for each measurement (default {SECONDS:g})")
    verb.add_argument("--rounds", type=int, default=ROUNDS, help=f"laps that the seconds are split into ({ROUNDS})")
    verb.add_argument("--size", type=int, default=0, help="nodes, events or items, where the benchmark has a size")
    verb.add_argument(
        "--folder", type=Path, default=Path("."), help="where the log is written and removed (default: here)"
    )
    verb.set_defaults(run=run)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("seconds are more than 0")
    return value


def run(arguments: argparse.Namespace) -> int:
    """0 when everything was measured."""
    measure, _ = BENCHMARKS[arguments.name]
    where = machine.machine()
    with (
        tempfile.TemporaryDirectory(prefix=".apex-bench-", dir=arguments.folder) as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        plan = Plan(Path(folder).absolute(), arguments.seconds, max(1, arguments.rounds), arguments.size)
        found = runner.run(_measured(measure, plan))
    versions, commit = machine.versions(), machine.commit(Path(__file__).parent)
    if arguments.json:
        shared = {"machine": where, "versions": versions, "commit": commit}
        objects = [{**msgspec.to_builtins(one), **shared} for one in found]
        print(msgspec.json.format(msgspec.json.encode(objects), indent=1).decode())
        return 0
    screen = Screen()
    table.show(screen, found)
    screen.line()
    screen.line(
        f"{where['cores']} × {where['cpu']}, load {where['load_1m']}; apex_fast {versions['apex_fast']} {commit}"
    )
    return 0


async def _measured(measure: Callable[[Plan], Awaitable[list[Measurement]]], plan: Plan) -> list[Measurement]:
    return await measure(plan)
