"""The works as DBOS workflows: each step is a ``DBOS.step``, recorded in SQLite before the next."""

import asyncio

from dbos import DBOS

from bench.rivals.works import CHAIN_LENGTH, FAN_WIDTH


@DBOS.step()
async def step(value: int) -> int:
    """The no-op step."""
    return value + 1


@DBOS.workflow()
async def single(value: int) -> int:
    """One step."""
    return await step(value)


@DBOS.workflow()
async def chain(value: int) -> int:
    """Steps in a row."""
    for _ in range(CHAIN_LENGTH):
        value = await step(value)
    return value


@DBOS.workflow()
async def fan(value: int) -> int:
    """One step, many at once, one step."""
    first = await step(value)
    leaves = await asyncio.gather(*(step(first) for _ in range(FAN_WIDTH)))
    return await step(sum(leaves))
