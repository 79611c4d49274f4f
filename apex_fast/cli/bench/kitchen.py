"""The engine with its executor and its log in this process, without a door: what is seen without the wire."""

from collections.abc import Callable
from pathlib import Path

from apex_fast.adapters.clock import SystemClock
from apex_fast.adapters.embedded.event_log import EmbeddedEventLog
from apex_fast.cli.bench.functions import app
from apex_fast.cli.bench.history import PARTITIONS, SEGMENT_BYTES
from apex_fast.cli.bench.load import Done
from apex_fast.core import compile
from apex_fast.domain import Machine, RegisterWorkflow, Reply, StartRun
from apex_fast.engine import Engine
from apex_fast.errors import ApexError
from apex_fast.executors.function import FunctionExecutor
from apex_fast.settings import FunctionSettings


class Kitchen:
    """Made on the running loop, on a fresh log in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._log = EmbeddedEventLog(folder, SEGMENT_BYTES)
        self.engine = Engine(Machine(PARTITIONS, self._log.term), self._log, SystemClock())
        self._executor = FunctionExecutor(app.functions, self.engine.deliver, FunctionSettings())
        self.engine.start({"function": self._executor})

    async def register(self, tenant: str, definition: bytes) -> None:
        """Register a workflow for a tenant. Raises ApexError."""
        reply = await self.engine.call(RegisterWorkflow(tenant, compile(definition).canonical, "main"))
        if reply.code:
            raise ApexError(f"{reply.code}: {reply.message}")

    def send(self, tenant: str, workflow: str, inputs: bytes = b"{}") -> Callable[[Done], None]:
        """A `Send`: start a run, answered when it has ended."""
        engine = self.engine

        def send(done: Done) -> None:
            def replied(reply: Reply) -> None:
                if reply.code:
                    done(False)
                else:
                    engine.when_ended(reply.run_id, lambda: done(True))

            engine.submit(StartRun(tenant, workflow, tag="main", inputs=inputs), replied)

        return send

    async def close(self) -> None:
        """Stop, keep the log."""
        await self._executor.close(1.0)
        await self.engine.drain()
        await self._log.close()
