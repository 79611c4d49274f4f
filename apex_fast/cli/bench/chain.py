"""`chain`: 10 nodes in a row, 128 runs at once."""

from typing import Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.measurement import Measurement
from apex_fast.cli.bench.plan import Plan
from apex_fast.cli.bench.through import throughput

IN_FLIGHT: Final = 128


async def measure(plan: Plan) -> list[Measurement]:
    """Nodes a second beside both limits."""
    nodes = workflows.CHAIN_LENGTH
    return await throughput(plan, "chain", workflows.chain(), nodes, IN_FLIGHT, lambda limit: limit.chain)
