"""`fan`: 1 → 100 → 1, 16 runs at once."""

from typing import Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.through import throughput

IN_FLIGHT: Final = 16


async def measure(plan: Plan) -> list[Measurement]:
    """Nodes a second beside both limits."""
    nodes = workflows.FAN_WIDTH + 2
    return await throughput(plan, "fan", workflows.fan(), nodes, IN_FLIGHT, lambda limit: limit.fan)
