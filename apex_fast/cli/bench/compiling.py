"""`compile`: a definition in layers becomes IR, in this process; against parsing the same bytes.

`json` and `msgspec` parse into a tree and check nothing more. Where NetworkX or rustworkx is installed, their
topological sort of the graph that is built already is shown beside it.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.measurement import Measurement, of_calls
from apex_fast.cli.bench.plan import Plan, say
from apex_fast.core import CompileError, compile

SIZES: Final = (10, 1_000, 100_000)
SORTERS: Final = ("networkx", "rustworkx")


async def timed(name: str, work: Callable[[], object], nodes: int, seconds: float) -> Measurement:
    """Call ``work`` for ``seconds``, three times at the least."""
    times_s: list[float] = []
    begin, begin_cpu_s = time.perf_counter(), time.process_time()
    while len(times_s) < 3 or time.perf_counter() - begin < seconds:
        called = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - called)
    cpu_s = time.process_time() - begin_cpu_s
    return of_calls(name, "node", nodes, times_s, time.perf_counter() - begin, cpu_s)


def _sorter(package: str, nodes: int) -> Callable[[], object]:
    """The topological sort of an installed package, on the same graph."""
    library: Any = importlib.import_module(package)
    edges = workflows.layered_edges(nodes, workflows.width(nodes))
    if package == "networkx":
        graph = library.DiGraph(edges)
        return lambda: list(library.topological_sort(graph))
    graph = library.PyDiGraph()
    graph.add_nodes_from(list(range(nodes)))
    graph.add_edges_from_no_data(edges)
    return lambda: library.topological_sort(graph)


async def measure(plan: Plan) -> list[Measurement]:
    """Each size, or the one that was asked for. A size that the compiler refuses is said, and left out."""
    sides: list[Callable[[], Any]] = []
    held: dict[str, tuple[str, ...]] = {}
    for nodes in (plan.size,) if plan.size else SIZES:
        document = workflows.layers(nodes, workflows.width(nodes))
        try:
            compile(document)
        except CompileError as refused:
            say(f"compile.{nodes}: {refused}")
            continue
        others: dict[str, Callable[[], object]] = {
            "json": partial(json.loads, document),
            "msgspec": partial(msgspec.json.decode, document),
        }
        others |= {package: _sorter(package, nodes) for package in SORTERS if find_spec(package) is not None}
        sides.append(partial(timed, f"compile.{nodes}", partial(compile, document), nodes, plan.limit_lap_s))
        sides += [partial(timed, f"{name}-{nodes}", work, nodes, plan.limit_lap_s / 4) for name, work in others.items()]
        held[f"compile.{nodes}"] = tuple(f"{name}-{nodes}" for name in others)
    if not sides:
        sys.exit("no size could be compiled")
    return await plan.interleaved(sides, held)
