"""Runs and loads DBOS in one process: it is a library within the application."""

import asyncio
import sys

from dbos import DBOS, DBOSConfig, WorkflowHandleAsync

from bench.rivals.dbos import work
from bench.rivals.load import converse


class DbosDriver:
    """``start_workflow_async`` is the durable start; chain and fan are awaited calls of the workflow."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._started: list[WorkflowHandleAsync[int]] = []

    async def open(self) -> None:
        config: DBOSConfig = {
            "name": "bench",
            "system_database_url": f"sqlite:///{self._folder}/dbos.sqlite",
            "run_admin_server": False,
            "log_level": "WARNING",
        }
        DBOS(config=config)
        DBOS.launch()
        await work.single(0)

    async def start(self) -> None:
        self._started.append(await DBOS.start_workflow_async(work.single, 0))

    async def drain(self) -> None:
        await asyncio.gather(*(handle.get_result() for handle in self._started))
        self._started.clear()

    async def chain(self) -> None:
        await work.chain(0)

    async def fan(self) -> None:
        await work.fan(0)

    async def close(self) -> None:
        DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(converse(DbosDriver(sys.argv[1])))
