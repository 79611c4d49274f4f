"""What every handler shares: the rooms behind the front desk, and how it is set up."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial

from apex_fast.core import compile as compile_definition
from apex_fast.domain import Definition, PatchRules, RunView, WorkflowView
from apex_fast.engine import Engine
from apex_fast.errors import ApexError, Overloaded, Unavailable
from apex_fast.gateway.admission import Hosts
from apex_fast.gateway.faults import fault_of, unknown_run
from apex_fast.gateway.grpc.method import Conversation
from apex_fast.gateway.outbox import Outbox
from apex_fast.optimizer import Optimizer
from apex_fast.planner import Planner
from apex_fast.ports.blobs import Blobs
from apex_fast.telemetry.metrics import Metrics

# Above this a definition is compiled beside the loop: 64 KiB take about 1 ms to compile (2-core machine, Python 3.11).
_COMPILE_BESIDE_BYTES = 64 * 1024
_COMPILED_KEPT = 1_024


@dataclass(frozen=True)
class GatewayOptions:
    """What a person may set (``apex.toml``, section server)."""

    allow_hosts: tuple[str, ...] = ()
    """Names accepted in Host beside loopback; ``*`` for all."""
    drain_max: int = 2_048
    """Requests taken from the front door in one turn of the loop."""
    tasks_max: int = 256
    """Compilations and plans that wait beside the loop at once."""
    page_bytes_max: int = 1024 * 1024
    """Bytes of a page of events, unless one event alone is more."""
    history_bytes_max: int = 64 * 1024 * 1024
    """Bytes of a history that is folded or sent as a whole."""
    chaos: bool = False
    """Accept envelopes that ask for faults."""


@dataclass(frozen=True)
class Waiting:
    """A call that is answered when something happens."""

    undo: Callable[[], None]
    """Its client is gone."""
    give_up: Callable[[], None]
    """The house is stopping: answer as things stand."""


@dataclass
class House:
    """The rooms, and the few helpers that need a place to keep something."""

    engine: Engine
    planner: Planner | None
    functions: bytes | None
    """Table of the registered functions for the compiler (JSON), or None where they live elsewhere."""
    rules: PatchRules
    """What authors of patches may."""
    options: GatewayOptions
    metrics: Metrics
    outbox: Outbox
    hosts: Hosts
    blobs: Blobs | None = None
    """Where large values are kept, or None where they are not."""
    optimizer: Optimizer | None = None
    """Asks passes about versions and runs, or None where nothing does."""
    ready: bool = True
    """False once the house is stopping: health says so, and new runs are refused by the engine."""
    failed: bool = False
    """True once the log has failed: nothing is acknowledged any more."""
    waiting: dict[int, Waiting] = field(default_factory=dict)
    """Token -> a call that waits for something, such as the end of a run."""
    conversations: dict[int, Conversation] = field(default_factory=dict)
    """Token -> an open bidirectional stream; it takes itself out when it has ended."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _compiled: dict[str, Definition] = field(default_factory=dict)

    def beside(self, work: Coroutine[object, object, None], failed: Callable[[ApexError], None]) -> None:
        """Run ``work`` as a task; what it raises goes to ``failed``. Raises Overloaded where too many run."""
        if len(self._tasks) >= self.options.tasks_max:
            work.close()
            raise Overloaded(f"{len(self._tasks)} plans and compilations are being worked on")

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                failed(Unavailable("the gateway is stopping; ask again"))
                raise
            except Exception as error:
                failed(fault_of(error))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def beside_call(self, token: int, work: Coroutine[object, object, None]) -> None:
        """Run what answers a gRPC call as a task; what it raises is answered. Raises Overloaded."""
        self.beside(work, partial(self.outbox.grpc_error, token))

    def when_durable(self, token: int, show: Callable[[], None]) -> None:
        """Answer a gRPC call by ``show`` once what was read is durable; what it raises is answered."""

        def guarded() -> None:
            try:
                show()
            except Exception as error:
                self.outbox.grpc_error(token, fault_of(error))

        self.engine.when_durable(guarded)

    async def settle(self, grace_s: float) -> None:
        """Wait up to ``grace_s`` for what runs beside the loop; what is left is answered and given up."""
        if self._tasks:
            _, left = await asyncio.wait(set(self._tasks), timeout=grace_s)
            for task in left:
                task.cancel()

    def run(self, tenant: str, run_id: str) -> RunView:
        """A run as decided by now; show it only after `when_durable`. Raises NotFound."""
        view = self.engine.run(tenant, run_id)
        if view is None:
            raise unknown_run(run_id)
        return view

    async def compile(self, definition: bytes) -> Definition:
        """Compile with the registered functions. Raises CompileError."""
        if len(definition) <= _COMPILE_BESIDE_BYTES:
            return compile_definition(definition, self.functions)
        return await asyncio.to_thread(compile_definition, definition, self.functions)

    async def compiled(self, view: WorkflowView) -> Definition:
        """A registered version, compiled again and kept by its hash."""
        found = self._compiled.get(view.hash)
        if found is None:
            # Beside the loop, however small: a page may have a thousand of them.
            found = await asyncio.to_thread(compile_definition, view.definition)
            if len(self._compiled) >= _COMPILED_KEPT:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[view.hash] = found
        return found
