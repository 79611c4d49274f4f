"""A whole gateway in the test's own process: front door, gateway, engine, functions; the log is in memory."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import grpc.aio
import pytest

from apex_fast import App
from apex_fast.adapters.clock import SystemClock
from apex_fast.adapters.memory.event_log import MemoryEventLog, Store
from apex_fast.adapters.memory.plan_store import MemoryPlanStore
from apex_fast.core import Recognizer
from apex_fast.domain import Front, Machine
from apex_fast.engine import Engine
from apex_fast.executors.function import FunctionExecutor
from apex_fast.gateway import Door, GatewayOptions
from apex_fast.planner import Planner
from apex_fast.settings import FunctionSettings
from apex_fast.wire.apex.v1 import approval_pb2, common_pb2, run_pb2, workflow_pb2
from tests.support.patience import PATIENCE_S

METHODS = {
    "StartRun": (run_pb2, "RunService", "StartRunResponse"),
    "SubmitGoal": (run_pb2, "RunService", "SubmitGoalResponse"),
    "GetRun": (run_pb2, "RunService", "Run"),
    "ListRuns": (run_pb2, "RunService", "ListRunsResponse"),
    "CancelRun": (run_pb2, "RunService", "CancelRunResponse"),
    "GetTimeline": (run_pb2, "RunService", "GetTimelineResponse"),
    "PauseRun": (run_pb2, "RunService", "PauseRunResponse"),
    "SignalRun": (run_pb2, "RunService", "SignalRunResponse"),
    "QueryRun": (run_pb2, "RunService", "QueryRunResponse"),
    "RegisterWorkflow": (workflow_pb2, "WorkflowService", "RegisterWorkflowResponse"),
    "ValidateWorkflow": (workflow_pb2, "WorkflowService", "ValidateWorkflowResponse"),
    "GetWorkflow": (workflow_pb2, "WorkflowService", "Workflow"),
    "ListWorkflows": (workflow_pb2, "WorkflowService", "ListWorkflowsResponse"),
    "TagWorkflow": (workflow_pb2, "WorkflowService", "TagWorkflowResponse"),
    "ListApprovals": (approval_pb2, "ApprovalService", "ListApprovalsResponse"),
    "ResolveApproval": (approval_pb2, "ApprovalService", "ResolveApprovalResponse"),
}


class Gateway:
    """What a test sees of it."""

    def __init__(self, door: Door, engine: Engine, front: Front, functions: FunctionExecutor, gate: threading.Event):
        self.door = door
        self.engine = engine
        self.front = front
        self.functions = functions
        self.address = f"127.0.0.1:{front.port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.http = aiohttp.ClientSession(f"http://{self.address}")
        self.gate = gate
        """The function `hold` returns once this is set."""

    def multi(self, path: str, request: Any, response: Any, kind: str = "unary_stream") -> Any:
        """A streaming method."""
        make = getattr(self.channel, kind)
        return make(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)

    async def call(self, name: str, metadata: Any = None, /, **fields: Any) -> Any:
        """A unary method by its name."""
        module, service, answer = METHODS[name]
        request = getattr(module, f"{name}Request")
        method = self.channel.unary_unary(
            f"/apex.v1.{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=getattr(module, answer).FromString,
        )
        return await method(request(**fields), metadata=metadata, timeout=PATIENCE_S)

    def watch(self, run_id: str, from_offset: int = 0) -> Any:
        """`WatchRun`."""
        method = self.multi("/apex.v1.RunService/WatchRun", run_pb2.WatchRunRequest, common_pb2.Event)
        return method(run_pb2.WatchRunRequest(run_id=run_id, from_offset=from_offset), timeout=PATIENCE_S)

    async def register(self, definition: bytes, tags: tuple[str, ...] = ()) -> Any:
        """`RegisterWorkflow`."""
        return await self.call("RegisterWorkflow", definition={"definition_json": definition}, tags=tags)

    async def start(self, workflow: str, **fields: Any) -> str:
        """`StartRun`; the id of the run."""
        run_id: str = (await self.call("StartRun", workflow={"name": workflow}, **fields)).run_id
        return run_id

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something that this process sees is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 (nobody tells when it becomes so)
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Stop it, with its clients."""
        await self.http.close()
        await self.channel.close()
        await self.door.stop(2)
        await self.functions.close(1)


def functions(gate: threading.Event) -> App:
    """Functions that the workflows of the tests call."""
    app = App()

    @app.function(effect="pure")
    async def step(**values: Any) -> dict[str, Any]:
        return {"got": values}

    @app.function(effect="write")
    async def hold(**_values: Any) -> str:
        # Functions run on a loop of their own.
        await asyncio.to_thread(gate.wait, PATIENCE_S)
        return "held"

    @app.function(effect="write")
    async def fail(**_values: Any) -> None:
        raise ValueError("no")

    return app


async def opened(app: App, gate: threading.Event) -> AsyncIterator[Gateway]:
    """A gateway with the functions of ``app``, until the test is over."""
    event_log = MemoryEventLog(Store())
    engine = Engine(Machine(4, event_log.term), event_log, SystemClock())
    executor = FunctionExecutor(app.functions, engine.deliver, FunctionSettings())
    engine.start({"function": executor})
    planner = Planner(Recognizer(), MemoryPlanStore(), None, app.functions)
    door = Door(engine, planner, app.table(), GatewayOptions(allow_hosts=("api.example.com",)), version="1.2.3")
    front = Front.start("127.0.0.1", 0, door.grpc_methods())
    door.open(front)
    house = Gateway(door, engine, front, executor, gate)
    yield house
    gate.set()
    await house.close()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gate = threading.Event()
    async for house in opened(functions(gate), gate):
        yield house
