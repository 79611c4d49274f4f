"""`single`: one run of one node at a time, from the start to its end. Held against fdatasync on the same disk.

A run of one node has two groups to wait for, its start and its result, so twice an fdatasync is the floor.
"""

from functools import partial

from apex_fast.cli.bench import disk, workflows
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.starters import Stream
from apex_fast.cli.bench.subject import measured, subject


async def measure(plan: Plan) -> list[Measurement]:
    """p50 and p99 of a run."""
    async with subject(plan.folder, [workflows.single()]) as gateway:
        stream = await Stream.connect(gateway.address, "single", wait=True)
        await gateway.warm_up(stream.send, 1)

        async def sync() -> Measurement:
            return disk.fdatasync(plan.folder)

        ours = partial(measured, gateway, "single", "run", stream.send, 1, plan.lap_s)
        found = await plan.interleaved([ours, sync], {"single": (disk.NAME,)})
        stream.close()
        return found
