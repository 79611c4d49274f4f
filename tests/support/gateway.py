"""A gateway in a process of its own with clients for both of its doors, for one test or one module of tests."""

import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio

from apex_fast.cli.process import GatewayProcess
from apex_fast.client import Client
from apex_fast.wire.grpc.health.v1 import health_pb2
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
FUNCTIONS = "tests.support.functions:app"
HEALTH = "/grpc.health.v1.Health/Check"
SAYS = {
    "name": "says",
    "version": "1",
    "nodes": [{"id": "say", "type": "function", "config": {"name": "echo"}, "input": {"value": "${inputs.value}"}}],
    "output": {"said": "${nodes.say.output}"},
}
"""A workflow that ends with its input `value`."""


class Served:
    """A running gateway."""

    def __init__(self, process: GatewayProcess, ledger: Ledger) -> None:
        self.process = process
        self.ledger = ledger
        self.client = Client(process.address, PATIENCE_S)
        self.http = aiohttp.ClientSession(f"http://{process.address}")
        self.channel = grpc.aio.insecure_channel(
            process.address, options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        )

    async def close(self) -> None:
        """Give the clients back; the process goes on."""
        await self.http.close()
        await self.channel.close()
        await self.client.close()

    async def grpc(self, method: str, message: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        """A unary call in bytes: `method` is SERVICE/NAME within apex.v1. Raises AioRpcError."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(f"/apex.v1.{method}")
        return await call(message, timeout=timeout_s)

    async def health(self) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
        """What the standard health service says of the whole."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(HEALTH)
        return health_pb2.HealthCheckResponse.FromString(await call(b"", timeout=PATIENCE_S)).status

    async def post(self, path: str, body: bytes | dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        """POST as JSON: status and the JSON that came back."""
        return await self.send("POST", path, body, **headers)

    async def put(self, path: str, body: bytes | dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        """PUT as JSON: status and the JSON that came back."""
        return await self.send("PUT", path, body, **headers)

    async def send(
        self, method: str, path: str, body: bytes | dict[str, Any], **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """A request with a body of JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"content-type": "application/json", **headers}
        async with self.http.request(method, path, data=io.BytesIO(data), headers=head) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return answer.status, found

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """GET: status and JSON."""
        async with self.http.get(path) as answer:
            found: dict[str, Any] = await answer.json(content_type=None)
            return answer.status, found

    async def goes_on(self) -> None:
        """It serves: both doors say so, and a run completes."""
        assert await self.health() == health_pb2.HealthCheckResponse.SERVING
        status, _ = await self.get("/health")
        assert status == 200
        run = await self.client.start("says", {"value": "still here"})
        assert await run.result(PATIENCE_S) == {"said": "still here"}


def environment_of(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a gateway of the tests gets: where the functions are, and the ledger."""
    ledger = Ledger(folder / "ledger.jsonl")
    return {"PYTHONPATH": python_path(), **ledger.environment, **(more or {})}


def python_path() -> str:
    """Where a child finds the functions of the tests."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def process_in(folder: Path, more: Mapping[str, str] | None = None, data: Path | None = None) -> GatewayProcess:
    """A gateway on ``folder/data``, not started yet."""
    return GatewayProcess(data or folder / "data", FUNCTIONS, environment_of(folder, more))


@asynccontextmanager
async def served(folder: Path, more: Mapping[str, str] | None = None) -> AsyncIterator[Served]:
    """A gateway with the functions of the tests and the workflow `says`, until the block ends."""
    async with process_in(folder, more) as process:
        house = Served(process, Ledger(folder / "ledger.jsonl"))
        try:
            await house.client.register(SAYS)
            yield house
        finally:
            await house.close()


def run_serve(
    *arguments: str, folder: Path, timeout_s: float = PATIENCE_S, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """`apex serve …` in ``folder``, which is expected to end by itself: its exit code and what it said."""
    return subprocess.run(
        [sys.executable, "-m", "apex_fast.cli.main", "serve", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": python_path(), **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
