"""`dag`: one run at a time of 1,000 nodes in layers, and of a real graph (Montage, 1,312 tasks), from start to end.

Held against both limits on the same graph. The waves of the compiled graph are checked against the oracle that ships
with it, and the timeline of a run against the dependencies.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from apex_fast.cli import dags
from apex_fast.cli.bench import limits, workflows
from apex_fast.cli.bench.limits import FileLimit, LoopLimit
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import Stream
from apex_fast.cli.bench.subject import measured, subject
from apex_fast.cli.demo.graphs import in_order
from apex_fast.client import Client
from apex_fast.core import compile
from apex_fast.errors import ApexError

NODES: Final = 1_000
Edges = Sequence[tuple[int, int]]


async def _proof(address: str, dag: dags.Dag) -> None:
    """Raises ApexError where the waves are not the oracle's, or a task went before one that it depends on."""
    if compile(dags.definition(dag, dags.Task("step", 0.0), "montage")).levels != dag.oracle.level_widths:
        raise ApexError("the waves of the compiled graph are not those of the oracle")
    async with Client(address) as client:
        run = await client.start("montage")
        await run.ended(timeout_s=120)
        if not in_order(await run.timeline(), dag):
            raise ApexError("a task was requested before the result of one that it depends on")


async def measure(plan: Plan) -> list[Measurement]:
    """Nodes a second, and the time of a whole run."""
    nodes = plan.size or NODES
    dag = dags.load()
    place = {node.id: index for index, node in enumerate(dag.nodes)}
    graphs: dict[str, tuple[int, Edges]] = {
        "layers": (nodes, workflows.layered_edges(nodes)),
        "montage": (len(dag.nodes), [(place[a], place[b]) for a, b in dag.edges]),
    }
    definitions = [workflows.layers(nodes), dags.definition(dag, dags.Task("step", 0.0), "montage")]
    async with subject(plan.folder, definitions) as gateway:
        await _proof(gateway.address, dag)
        loop_limit, file_limit = LoopLimit(), FileLimit(plan.folder)
        streams: list[Stream] = []
        sides: list[Callable[[], Awaitable[Measurement]]] = []
        held: dict[str, tuple[str, str]] = {}
        for name, (count, edges) in graphs.items():
            stream = await Stream.connect(gateway.address, name, wait=True)
            streams.append(stream)
            await gateway.warm_up(stream.send, 1)
            sides.append(partial(measured, gateway, f"dag.{name}", "node", stream.send, 1, plan.lap_s / 2, count))
            held[f"dag.{name}"] = (f"{limits.LOOP}-{name}", f"{limits.FILE}-{name}")
            sides += [
                partial(_limit, limit, name, count, edges, plan.limit_lap_s) for limit in (loop_limit, file_limit)
            ]
        found = await plan.interleaved(sides, held)
        file_limit.close()
        for stream in streams:
            stream.close()
    levels = {"dag.layers": -(-nodes // workflows.LAYER_WIDTH), "dag.montage": dag.oracle.levels}
    # A run waits for one group a level at the least: what a level costs is what is left to win.
    return [
        msgspec.structs.replace(
            one, more={**one.more, "levels": levels[one.name], "ms_per_level": (one.p50_ms or 0.0) / levels[one.name]}
        )
        for one in found
    ]


async def _limit(limit: LoopLimit, name: str, nodes: int, edges: Edges, seconds: float) -> Measurement:
    found = await limits.measured(limit, lambda: limit.graph(nodes, edges), nodes, 1, seconds)
    return msgspec.structs.replace(found, name=f"{limit.name}-{name}")
