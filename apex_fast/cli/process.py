"""A gateway in a process of its own, for the verbs that need one: started, waited for, killed, stopped.

Readiness comes over the protocol of sd_notify(3): the child sends `READY=1` with `STATUS=HOST:PORT` as a datagram, so
nobody polls and no port is guessed.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from apex_fast.errors import Unavailable

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
LOG_TAIL_BYTES = 2000


class GatewayProcess:
    """`apex serve` as a child. Use it as an async context manager; `address` is HOST:PORT once it is ready."""

    def __init__(
        self,
        data: Path,
        app: str | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.data = data
        self.address = ""
        self._command = [
            sys.executable,
            "-m",
            "apex_fast.cli.main",
            "serve",
            "--data",
            str(data),
            "--port",
            "0",
        ]
        self._command += ["--app", app] if app else []
        self._command += arguments
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self.log_file = data.parent / f"{data.name}.log"

    @property
    def pid(self) -> int:
        """Process id of the running child."""
        if self._child is None:
            raise Unavailable("the gateway is not running")
        return self._child.pid

    async def start(self) -> None:
        """Start the child and wait until it serves. Raises Unavailable with the end of its log if it does not."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory() as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
        ):
            path = os.path.join(folder, "notify")
            ready.bind(path)
            ready.setblocking(False)
            environment = {**os.environ, **self._environment, "NOTIFY_SOCKET": path}
            with open(self.log_file, "ab") as log:
                self._child = subprocess.Popen(
                    self._command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            loop = asyncio.get_running_loop()
            message = asyncio.ensure_future(loop.sock_recv(ready, 4096))
            exit_code = loop.run_in_executor(None, self._child.wait)
            either: set[asyncio.Future[Any]] = {message, exit_code}
            await asyncio.wait(either, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not message.done():
                message.cancel()
                self.kill()
                raise Unavailable(f"the gateway did not start:\n{self.log_tail()}")
        fields = dict(line.partition("=")[::2] for line in message.result().decode().splitlines())
        self.address = fields["STATUS"]

    def log_tail(self) -> str:
        """The end of what the child wrote to its log."""
        return self.log_file.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is saved."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()
            self._child = None

    async def stop(self) -> int:
        """SIGTERM, and wait for the graceful end; the exit code."""
        if self._child is None:
            return 0
        child, self._child = self._child, None
        child.send_signal(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(None, lambda: child.wait(STOP_TIMEOUT_S))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise Unavailable(f"the gateway did not stop in {STOP_TIMEOUT_S:.0f} s:\n{self.log_tail()}") from None

    async def __aenter__(self) -> "GatewayProcess":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
