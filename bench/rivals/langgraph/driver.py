"""Runs and loads LangGraph in one process: it is a library within the application."""

import asyncio
import itertools
import sys

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph.state import CompiledStateGraph

from bench.rivals.langgraph import work
from bench.rivals.load import converse


class LangGraphDriver:
    """Every run is a thread of its own with durability ``sync``.

    A start has no acknowledgement before the end of the run, so the start of a 1-step run is the whole run.
    """

    def __init__(self, folder: str) -> None:
        self._file = f"{folder}/checkpoints.sqlite"
        self._threads = itertools.count()

    async def open(self) -> None:
        self._store = AsyncSqliteSaver.from_conn_string(self._file)
        saver = await self._store.__aenter__()
        await saver.setup()
        self._single, self._chain, self._fan = work.single(saver), work.chain(saver), work.fan(saver)
        await self.start()

    async def _run(self, graph: CompiledStateGraph) -> None:
        config = {"configurable": {"thread_id": str(next(self._threads))}}
        await graph.ainvoke({"value": 0, "leaves": []}, config, durability="sync")

    async def start(self) -> None:
        await self._run(self._single)

    async def drain(self) -> None:
        pass

    async def chain(self) -> None:
        await self._run(self._chain)

    async def fan(self) -> None:
        await self._run(self._fan)

    async def close(self) -> None:
        await self._store.__aexit__(None, None, None)


if __name__ == "__main__":
    asyncio.run(converse(LangGraphDriver(sys.argv[1])))
