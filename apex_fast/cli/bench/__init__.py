"""`apex bench NAME`: one benchmark of apex_fast on this machine.

A file per benchmark (`starts`, `single`, `chain`, …) with ``measure(plan)``; beside them what they share: the gateway
under measurement (`subject.py`), the load (`load.py`, `http1.py`, `http2.py`, `starters.py`), the limits they are held
against (`limits.py`, `disk.py`), the measurement and its medians, pictures of it (`plot.py`). May know: every room, for
it measures them from outside or by themselves. Never: changes what it measures. Out: measurements as
docs/decisions/0007 describes them.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from apex_fast.cli.bench import (
    approvals,
    chain,
    compiling,
    dag,
    events,
    fair,
    fan,
    machine,
    overload,
    passes,
    patching,
    plot,
    reads,
    recover,
    replay,
    single,
    starts,
    table,
    waiting,
)
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan, say
from apex_fast.cli.screen import Screen
from apex_fast.errors import ApexError, InvalidInput


@dataclass(frozen=True)
class Benchmark:
    """``sized``: what `--size` counts, empty where there is no size. ``figures``: what `--plot` draws against it."""

    measure: Callable[[Plan], Awaitable[list[Measurement]]]
    words: str
    sized: str = ""
    figures: tuple[plot.Figure, ...] = (plot.CPU,)


BENCHMARKS: dict[str, Benchmark] = {
    "starts": Benchmark(starts.measure, "durable starts a second, over gRPC unary, the gRPC stream and HTTP"),
    "single": Benchmark(single.measure, "one run of one node at a time, from start to end"),
    "chain": Benchmark(chain.measure, "10 nodes in a row, 128 runs at once"),
    "fan": Benchmark(fan.measure, "1 → 100 → 1, 16 runs at once"),
    "dag": Benchmark(
        dag.measure, "1,000 nodes in layers, and a real graph of 1,312 tasks", "nodes", (plot.CPU, plot.TIME)
    ),
    "compile": Benchmark(
        compiling.measure, "definitions of 10 to 100,000 nodes, against parsing the same bytes", "nodes"
    ),
    "passes": Benchmark(passes.measure, "the optimizer's passes on a definition of 1,000 nodes", "nodes"),
    "patch": Benchmark(
        patching.measure, "a run of 1,000 nodes is patched 100 times while it executes", "nodes", (plot.CPU, plot.TIME)
    ),
    "replay": Benchmark(replay.measure, "1,000,000 events back into a machine, with and without a snapshot", "events"),
    "waiting": Benchmark(
        waiting.measure,
        "1,000,000 runs that wait for a person or a time: memory, a kill, timers that fall due together",
        "runs",
        (plot.MEMORY, plot.CPU),
    ),
    "recover": Benchmark(
        recover.measure,
        "a gateway with 1,000,000 events is killed under load: until the next one serves",
        "events",
        (plot.TIME, plot.CPU),
    ),
    "approvals": Benchmark(approvals.measure, "decisions of people, each acknowledged when it is durable", "runs"),
    "events": Benchmark(events.measure, "events appended, and followed by a reader", "events"),
    "reads": Benchmark(reads.measure, "status and timeline of a run while 10,000 nodes a second execute"),
    "fair": Benchmark(fair.measure, "a small tenant's runs beside a 100,000-item map of another tenant", "items"),
    "overload": Benchmark(overload.measure, "arrivals at 2 and 5 times of what can be done"),
}
SECONDS = 10.0
ROUNDS = 5


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "measure apex_fast on this machine"
    listing = "\n".join(f"  {name:<9} {one.words}" for name, one in BENCHMARKS.items())
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
    verb.add_argument(
        "--size",
        type=_sizes,
        default=(),
        metavar="N[,N…]",
        help="nodes, events, runs or items, where the benchmark has a size; several: one after the other",
    )
    verb.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the figures against the sizes, log-log")
    verb.add_argument(
        "--folder", type=Path, default=Path("."), help="where the log is written and removed (default: here)"
    )
    verb.set_defaults(run=run)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("seconds are more than 0")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError("sizes are whole numbers with commas between: 1000,10000") from None
    if sizes[0] < 1:
        raise argparse.ArgumentTypeError("sizes are more than 0")
    return sizes


def _check(arguments: argparse.Namespace) -> None:
    """Raises InvalidInput where an option says nothing to this benchmark."""
    name, sizes = arguments.name, arguments.size
    if sizes and not BENCHMARKS[name].sized:
        raise InvalidInput(f"--size: {name} has no size")
    if arguments.plot is not None and len(sizes) < 2:
        raise InvalidInput("--plot draws figures against sizes: name several with --size 1000,10000,100000")


def run(arguments: argparse.Namespace) -> int:
    """0 when everything was measured."""
    _check(arguments)
    benchmark, sizes = BENCHMARKS[arguments.name], arguments.size
    where = machine.machine()
    found: dict[int, list[Measurement]] = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for size in sizes or (0,):
            if len(sizes) > 1:
                say(f"{size:,} {benchmark.sized}")
            with tempfile.TemporaryDirectory(prefix=".apex-bench-", dir=arguments.folder) as folder:
                plan = Plan(Path(folder).absolute(), arguments.seconds, max(1, arguments.rounds), size)
                found[size] = runner.run(_measured(benchmark, plan))
    if arguments.plot is not None:
        panels = plot.against_size(benchmark.figures, found)
        if not panels:
            raise ApexError("--plot: nothing was measured at two sizes")
        arguments.plot.write_text(plot.svg(benchmark.sized, panels), encoding="utf-8")
    _show(arguments.json, where, _named(found))
    return 0


def _named(found: dict[int, list[Measurement]]) -> list[Measurement]:
    """All measurements in one list; names tell the sizes apart where there are several."""
    if len(found) == 1:
        return next(iter(found.values()))
    return [
        msgspec.structs.replace(one, name=f"{plot.series(one.name, size)}.{size}")
        for size, many in found.items()
        for one in many
    ]


def _show(as_json: bool, where: dict[str, str | int | float], found: Sequence[Measurement]) -> None:
    versions, commit = machine.versions(), machine.commit(Path(__file__).parent)
    if as_json:
        shared = {"machine": where, "versions": versions, "commit": commit}
        objects = [{**msgspec.to_builtins(one), **shared} for one in found]
        print(msgspec.json.format(msgspec.json.encode(objects), indent=1).decode())
        return
    screen = Screen()
    table.show(screen, found)
    screen.line()
    screen.line(
        f"{where['cores']} × {where['cpu']}, load {where['load_1m']}; apex_fast {versions['apex_fast']} {commit}"
    )


async def _measured(benchmark: Benchmark, plan: Plan) -> list[Measurement]:
    return await benchmark.measure(plan)
