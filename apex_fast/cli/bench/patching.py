"""`patch`: a run of 1,000 nodes is patched 100 times while it executes, in this process.

A turn with a patch is measured whole: the three gates, the definition that it makes and its IR, the record, and what
the run then goes on with. Held against compiling that definition, and against python-jsonpatch, which only applies the
operations to the document, where it is installed.
"""

import importlib
import json
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.compiling import timed
from apex_fast.cli.bench.history import BEGAN_NS, MS, PARTITIONS, TENANT
from apex_fast.cli.bench.measurement import NO_DURABILITY, Measurement, quantile
from apex_fast.cli.bench.plan import Plan
from apex_fast.core import compile
from apex_fast.domain import (
    ApplyPatch,
    Command,
    JobResult,
    Machine,
    PatchRule,
    PatchRules,
    RegisterWorkflow,
    StartRun,
)
from apex_fast.errors import ApexError

NODES: Final = 1_000
RULES: Final = PatchRules(PatchRule(), PatchRule(), PatchRule())
PATCHES: Final = 100
RESULTS_BETWEEN: Final = 5
COMPILE: Final = "recompile"
JSONPATCH: Final = "python-jsonpatch"


def operations(number: int, nodes: int) -> list[dict[str, Any]]:
    """Adds a node between one of the last layer but one and one of the last layer."""
    width = workflows.width(nodes)
    source, target = nodes - 2 * width + number % width, nodes - width + number % width
    node = {
        "id": f"p{number}",
        "type": "function",
        "config": {"name": "step"},
        "input": {"x": f"${{nodes.n{source}.output}}"},
    }
    return [
        {"op": "add", "path": f"/nodes/{nodes // 2}", "value": node},
        {"op": "add", "path": "/edges/-", "value": {"from": f"n{source}", "to": f"p{number}"}},
        {"op": "add", "path": "/edges/-", "value": {"from": f"p{number}", "to": f"n{target}"}},
    ]


class _Patched:
    """A run that executes, five results at a time, with a patch between them."""

    def __init__(self, document: bytes, nodes: int) -> None:
        self._nodes = nodes
        self._machine = Machine(PARTITIONS, 1)
        self._now_ns = BEGAN_NS
        self._results: list[JobResult] = []
        self._run_id = ""
        self.ended = False
        self._turn(
            [(1, RegisterWorkflow(TENANT, compile(document).canonical, "main")), (2, StartRun(TENANT, "layers"))]
        )

    def patch(self, number: int) -> None:
        """One turn with one patch."""
        patch = json.dumps(operations(number, self._nodes)).encode()
        self._turn([(3, ApplyPatch(TENANT, self._run_id, patch, RULES, "measured"))])

    def work(self) -> None:
        """One turn with some results."""
        taken, self._results = self._results[:RESULTS_BETWEEN], self._results[RESULTS_BETWEEN:]
        self._turn([(0, result) for result in taken])

    def _turn(self, commands: list[tuple[int, Command]]) -> None:
        self._now_ns += MS
        turn = self._machine.step(self._now_ns, commands)
        jobs, _, replies, ended = self._machine.advance(turn.position)
        self._results += [JobResult.ok(job.id, job.attempt, b"1") for job in jobs]
        self.ended = self.ended or bool(ended)
        for reply in replies:
            if reply.code:
                raise ApexError(f"{reply.code}: {reply.message}")
            self._run_id = reply.run_id or self._run_id


async def patched(document: bytes, nodes: int, seconds: float) -> Measurement:
    """One run after the other for ``seconds``, two at the least. Every figure is of the turns with a patch."""
    wall_s: list[float] = []
    cpu_s: list[float] = []
    begin = time.perf_counter()
    while len(wall_s) < 2 * PATCHES or time.perf_counter() - begin < seconds:
        run = _Patched(document, nodes)
        for number in range(PATCHES):
            run.work()
            began, began_cpu = time.perf_counter(), time.thread_time()
            run.patch(number)
            cpu_s.append(time.thread_time() - began_cpu)
            wall_s.append(time.perf_counter() - began)
        while not run.ended:
            run.work()
    wall_s.sort()
    cpu_s.sort()
    return Measurement(
        name="patch",
        unit="patch",
        size=nodes,
        concurrency=1,
        rate_per_s=1 / quantile(wall_s, 0.5),
        seconds=time.perf_counter() - begin,
        durability=NO_DURABILITY,
        p50_ms=quantile(wall_s, 0.5) * 1e3,
        p99_ms=quantile(wall_s, 0.99) * 1e3,
        cpu_us_per_unit=sum(cpu_s) * 1e6 / len(cpu_s),
        more={
            "turn_cpu_p50_ms": quantile(cpu_s, 0.5) * 1e3,
            "turn_cpu_p99_ms": quantile(cpu_s, 0.99) * 1e3,
            "turn_cpu_longest_ms": cpu_s[-1] * 1e3,
        },
    )


def _rivals(document: bytes, nodes: int) -> dict[str, Callable[[], object]]:
    """What else could be done for a patch, each on the same definition and operations."""
    whole = compile(document).patched(json.dumps(operations(0, nodes)).encode()).canonical
    rivals: dict[str, Callable[[], object]] = {COMPILE: partial(compile, whole)}
    if find_spec("jsonpatch") is not None:
        library: Any = importlib.import_module("jsonpatch")
        tree = json.loads(document)
        rivals[JSONPATCH] = lambda: library.apply_patch(tree, operations(0, nodes))
    return rivals


async def measure(plan: Plan) -> list[Measurement]:
    """The patches, and what they are held against, in turns."""
    nodes = plan.size or NODES
    document = workflows.layers(nodes, workflows.width(nodes))
    rivals = _rivals(document, nodes)

    sides: list[Callable[[], Any]] = [lambda: patched(document, nodes, plan.lap_s)]
    # One patch a call, whatever the number of nodes.
    sides += [partial(timed, name, work, 1, plan.limit_lap_s) for name, work in rivals.items()]
    return await plan.interleaved(sides, {"patch": tuple(rivals)})
