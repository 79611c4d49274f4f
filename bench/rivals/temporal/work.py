"""The works as Temporal workflows, each step an activity; and the worker process that runs them."""

import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.rivals.works import CHAIN_LENGTH, FAN_WIDTH

TASK_QUEUE = "bench"
STEP_TIMEOUT = timedelta(seconds=60)


@activity.defn
async def step(value: int) -> int:
    """The no-op step."""
    return value + 1


async def _step(value: int) -> int:
    return await workflow.execute_activity(step, value, start_to_close_timeout=STEP_TIMEOUT)


@workflow.defn
class Single:
    """One step."""

    @workflow.run
    async def run(self, value: int) -> int:
        return await _step(value)


@workflow.defn
class Chain:
    """Steps in a row."""

    @workflow.run
    async def run(self, value: int) -> int:
        for _ in range(CHAIN_LENGTH):
            value = await _step(value)
        return value


@workflow.defn
class Fan:
    """One step, many at once, one step."""

    @workflow.run
    async def run(self, value: int) -> int:
        first = await _step(value)
        leaves = await asyncio.gather(*(_step(first) for _ in range(FAN_WIDTH)))
        return await _step(sum(leaves))


async def serve(address: str) -> None:
    """Work until the process is ended."""
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[Single, Chain, Fan],
        activities=[step],
        # The sandbox guards against impure workflow code and costs time: off, as a tuned user has it.
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=1000,
        max_concurrent_workflow_tasks=200,
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
