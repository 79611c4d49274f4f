"""Runs from start to end, many at once: what `chain` and `fan` share."""

from collections.abc import Awaitable, Callable
from functools import partial

from apex_fast.cli.bench import limits
from apex_fast.cli.bench.limits import FileLimit, LoopLimit
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import Stream
from apex_fast.cli.bench.subject import measured, subject


async def throughput(
    plan: Plan,
    name: str,
    definition: bytes,
    nodes: int,
    in_flight: int,
    once: Callable[[LoopLimit], Callable[[], Awaitable[None]]],
) -> list[Measurement]:
    """Nodes a second of the workflow ``name`` beside both limits; ``once``: the same run on a limit."""
    async with subject(plan.folder, [definition]) as gateway:
        stream = await Stream.connect(gateway.address, name, wait=True)
        await gateway.warm_up(stream.send, in_flight)
        loop_limit, file_limit = LoopLimit(), FileLimit(plan.folder)

        def lap_of(limit: LoopLimit) -> Callable[[], Awaitable[Measurement]]:
            return partial(limits.measured, limit, once(limit), nodes, in_flight, plan.limit_lap_s)

        ours = partial(measured, gateway, name, "node", stream.send, in_flight, plan.lap_s, nodes)
        found = await plan.interleaved(
            [ours, lap_of(loop_limit), lap_of(file_limit)], {name: (limits.LOOP, limits.FILE)}
        )
        file_limit.close()
        stream.close()
        return found
