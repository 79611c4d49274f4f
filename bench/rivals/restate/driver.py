"""Loads Restate through its HTTP ingress, as a client would."""

import asyncio
import sys

import aiohttp
import uvloop

from bench.rivals.load import converse, wait_until


class RestateDriver:
    """A closed loop of HTTP/1.1 requests on pooled connections; ``/send`` is the durable start."""

    def __init__(self, ingress: str, admin: str, worker: str) -> None:
        self._ingress = ingress
        self._admin = admin
        self._worker = worker
        self._started = 0

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120)
        )
        await wait_until(lambda: self._answers(f"{self._worker}/finished"), "the service")
        await wait_until(lambda: self._answers(f"{self._admin}/health"), "the server's admin port")
        await wait_until(self._registered, "the registration")
        await wait_until(self._runs, "the ingress")

    async def _answers(self, url: str) -> bool:
        async with self._session.get(url) as response:
            return response.status == 200

    async def _registered(self) -> bool:
        body = {"uri": self._worker}
        async with self._session.post(f"{self._admin}/deployments", json=body) as response:
            return response.status in (200, 201)

    async def _runs(self) -> bool:
        async with self._session.post(f"{self._ingress}/bench/chain", json=0) as response:
            return response.status == 200

    async def _call(self, path: str) -> None:
        async with self._session.post(f"{self._ingress}/bench/{path}", json=0) as response:
            await response.read()
            response.raise_for_status()

    async def start(self) -> None:
        await self._call("single/send")
        self._started += 1

    async def drain(self) -> None:
        await wait_until(self._drained, "the end of the backlog", timeout_s=300)

    async def _drained(self) -> bool:
        await asyncio.sleep(0.05)
        async with self._session.get(f"{self._worker}/finished") as response:
            return int(await response.text()) >= self._started

    async def chain(self) -> None:
        await self._call("chain")

    async def fan(self) -> None:
        await self._call("fan")

    async def close(self) -> None:
        await self._session.close()


if __name__ == "__main__":
    uvloop.run(converse(RestateDriver(*sys.argv[1:])))
