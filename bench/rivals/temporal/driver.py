"""Loads Temporal's dev server through its Python client."""

import asyncio
import sys
import uuid

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from bench.rivals.load import converse, wait_until
from bench.rivals.temporal.work import TASK_QUEUE, Chain, Fan, Single


class TemporalDriver:
    """``start_workflow`` is the durable start; chain and fan wait for the result."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._started: list[WorkflowHandle[Single, int]] = []

    async def open(self) -> None:
        await wait_until(self._serves, "the server")

    async def _serves(self) -> bool:
        try:
            self._client = await Client.connect(self._address)
            await self._client.execute_workflow(Single.run, 0, id=self._id(), task_queue=TASK_QUEUE)
        except (RPCError, RuntimeError):
            return False
        return True

    @staticmethod
    def _id() -> str:
        return uuid.uuid4().hex

    async def start(self) -> None:
        handle = await self._client.start_workflow(Single.run, 0, id=self._id(), task_queue=TASK_QUEUE)
        self._started.append(handle)

    async def drain(self) -> None:
        await asyncio.gather(*(handle.result() for handle in self._started))
        self._started.clear()

    async def chain(self) -> None:
        await self._client.execute_workflow(Chain.run, 0, id=self._id(), task_queue=TASK_QUEUE)

    async def fan(self) -> None:
        await self._client.execute_workflow(Fan.run, 0, id=self._id(), task_queue=TASK_QUEUE)

    async def close(self) -> None:
        pass


if __name__ == "__main__":
    asyncio.run(converse(TemporalDriver(sys.argv[1])))
