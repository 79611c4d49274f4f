"""The pump between the front door and the house.

One turn of the loop: take a batch of requests, hand each to its handler, and when the turn is over give all
answers back in one call. A handler that raises answers with its error; nothing it does stops the pump.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from apex_fast.domain import Ended, Front, PatchRule, PatchRules
from apex_fast.engine import Engine
from apex_fast.gateway.admission import Hosts
from apex_fast.gateway.faults import fault_of
from apex_fast.gateway.goals import Goals
from apex_fast.gateway.grpc import worker_service
from apex_fast.gateway.grpc.approval_service import ApprovalService
from apex_fast.gateway.grpc.health import Health
from apex_fast.gateway.grpc.method import Answering, Method
from apex_fast.gateway.grpc.optimizer_service import OptimizerService
from apex_fast.gateway.grpc.patch_service import PatchService
from apex_fast.gateway.grpc.run_service import RunService
from apex_fast.gateway.grpc.schedule_service import ScheduleService
from apex_fast.gateway.grpc.workflow_service import WorkflowService
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import GatewayOptions, House
from apex_fast.gateway.http.approvals import ApprovalRoutes
from apex_fast.gateway.http.definitions import DefinitionRoutes
from apex_fast.gateway.http.desk import HttpDesk
from apex_fast.gateway.http.envelopes import EnvelopeRoutes
from apex_fast.gateway.http.runs import RunRoutes
from apex_fast.gateway.http.schedules import ScheduleRoutes
from apex_fast.gateway.outbox import Outbox
from apex_fast.gateway.streams.viewers import Viewers
from apex_fast.gateway.translate import Inputs
from apex_fast.optimizer import Optimizer
from apex_fast.planner import Planner
from apex_fast.ports.blobs import Blobs
from apex_fast.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

# Kinds of requests, as `Front.drain` gives them.
_GRPC, _GRPC_MESSAGE, _HALF_CLOSED, _HTTP, _CANCELLED, _GRPC_OPEN, _DRAINED = range(7)


class Door:
    """Connects a started `Front` with the engine. Made on the engine's loop."""

    def __init__(
        self,
        engine: Engine,
        planner: Planner | None = None,
        functions: bytes | None = None,
        options: GatewayOptions = GatewayOptions(),  # noqa: B008 (frozen)
        metrics: Metrics | None = None,
        version: str = "0.0.0",
        blobs: Blobs | None = None,
        optimizer: Optimizer | None = None,
        rules: PatchRules | None = None,
    ) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._front: Front | None = None
        self.metrics = Metrics() if metrics is None else metrics
        self._outbox = Outbox(self.metrics.failed)
        hosts = Hosts(options.allow_hosts)
        if rules is None:
            anything = PatchRule(reaches_any=True)
            rules = PatchRules(anything, PatchRule(), anything, functions)
        self.house = house = House(
            engine, planner, functions, rules, options, self.metrics, self._outbox, hosts, blobs, optimizer
        )
        self._viewers = Viewers(house)
        goals, inputs, histories = Goals(house), Inputs(), Histories(house, version)
        services = [
            *RunService(house, self._viewers, goals, inputs, histories).methods(),
            *WorkflowService(house).methods(),
            *ApprovalService(house).methods(),
            *ScheduleService(house).methods(),
            *PatchService(house, histories).methods(),
            *OptimizerService(house).methods(),
            *worker_service.methods(),
        ]
        self._health = Health(house, {method.path.split("/")[1] for method in services})
        self._table: list[Method] = [*services, *self._health.methods()]
        # By index: None for a bidirectional method.
        self._handlers: list[Answering | None] = [method.handler for method in self._table]
        self._http = HttpDesk(
            house,
            RunRoutes(house, self._viewers, goals, inputs, histories),
            DefinitionRoutes(house),
            ApprovalRoutes(house),
            ScheduleRoutes(house),
            EnvelopeRoutes(house, goals),
            histories,
            version,
        )
        engine.on_ended(self._on_ended)
        self.metrics.watch("engine_", engine.counts)
        self.metrics.watch_patches(engine.patch_counts)
        if blobs is not None:
            self.metrics.watch("blobs_", blobs.stats)
        if optimizer is not None:
            self.metrics.add(optimizer.metrics)
        self.metrics.watch("gateway_", lambda: {"streams_open": self.watching})
        self._watching_log = self._loop.create_task(self._watch_log())

    @property
    def watching(self) -> int:
        """Live streams that are open."""
        return len(self._viewers)

    # --- life -----------------------------------------------------------------------------------------------------

    def grpc_methods(self) -> list[tuple[str, str]]:
        """(path, kind) of every gRPC method, in the order in which `Front.start` must be told."""
        return [(method.path, method.kind) for method in self._table]

    def open(self, front: Front) -> None:
        """Serve what comes in through ``front``, which was started with `grpc_methods`."""
        self._front = front
        self._outbox.connect(front)
        self._viewers.connect(front)
        self.metrics.watch("front_", front.stats)
        self._loop.add_reader(front.fileno(), self._turn)

    async def stop(self, grace_s: float) -> bool:
        """Take nothing new, answer everything that was accepted, close. True if nothing was cut off.

        The order: streams are ended, health says so, what runs beside the loop is awaited, the engine makes durable
        and answers what it was given, then the connections may close; all of it within ``grace_s``.
        """
        front = self._front
        self.house.ready = False
        self._health.stopping()
        if front is None:
            return True
        self._viewers.end_all("the gateway is stopping; go on elsewhere or later, from the last offset")
        # Said before the front door ends what is still open by itself.
        self._outbox.flush()
        front.stop_accepting()
        self._turn()
        self._give_up()
        until_s = self._loop.time() + grace_s
        await self.house.settle(grace_s)
        await self._engine.answer(max(0.0, until_s - self._loop.time()))
        self._outbox.flush()
        whole = await asyncio.to_thread(front.shutdown, max(0.0, until_s - self._loop.time()))
        self._loop.remove_reader(front.fileno())
        self._watching_log.cancel()
        return whole

    def _give_up(self) -> None:
        """Answer those who wait for the end of a run, which may be days away."""
        for waiting in list(self.house.waiting.values()):
            waiting.give_up()
        self.house.waiting.clear()
        for conversation in list(self.house.conversations.values()):
            conversation.give_up()

    async def _watch_log(self) -> None:
        await self._engine.failed()
        self.house.failed = True
        self.house.ready = False
        self._health.stopping()

    def _on_ended(self, runs: list[Ended]) -> None:
        ended = self.metrics.ended
        for run in runs:
            ended(run.workflow, run.state, (run.ended_ns - run.started_ns) / 1e9)

    # --- the turn -------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        front = self._front
        if front is None:
            return
        handlers = self._handlers
        for request in front.drain(self.house.options.drain_max):
            kind = request[0]
            if kind == _GRPC:
                token = request[1]
                handler = handlers[request[2]]
                try:
                    if handler is not None:
                        handler(token, request[3], request[4])
                except Exception as error:
                    self._refuse(token, error)
            elif kind == _GRPC_MESSAGE:
                self._said(request[1], request[2])
            elif kind == _HTTP:
                self._http.handle(*request[1:])
            else:
                self._happened(kind, request)

    def _happened(self, kind: int, request: tuple[Any, ...]) -> None:
        """What is rarer than requests."""
        token: int = request[1]
        if kind == _GRPC_OPEN:
            self._opened(token, request[2], request[3])
        elif kind == _HALF_CLOSED:
            conversation = self.house.conversations.get(token)
            if conversation is not None:
                conversation.half_closed()
        elif kind == _CANCELLED:
            conversation = self.house.conversations.pop(token, None)
            if conversation is not None:
                conversation.cancelled()
            waiting = self.house.waiting.pop(token, None)
            if waiting is not None:
                waiting.undo()
            self._viewers.closed(token)
        elif kind == _DRAINED:
            self._viewers.drained(token)
        else:
            log.error("the front door gave a request of an unknown kind", extra={"kind": kind})

    def _opened(self, token: int, index: int, metadata: Mapping[str, str]) -> None:
        conversing = self._table[index].conversing
        try:
            if conversing is not None:
                self.house.conversations[token] = conversing(token, metadata)
        except Exception as error:
            self._refuse(token, error)

    def _said(self, token: int, message: bytes) -> None:
        conversation = self.house.conversations.get(token)
        if conversation is None:
            return
        try:
            conversation.message(message)
        except Exception as error:
            del self.house.conversations[token]
            conversation.cancelled()
            fault = fault_of(error)
            self._outbox.stream_end(token, fault)

    def _refuse(self, token: int, error: Exception) -> None:
        fault = fault_of(error)
        self._outbox.grpc_error(token, fault)
