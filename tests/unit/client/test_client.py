"""The client against a server that answers as it is told: errors become exceptions, streams go on where they broke."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from apex_fast import Client, Workflow
from apex_fast.errors import (
    ApexError,
    DeadlineExceeded,
    InvalidInput,
    KeyReused,
    NotFound,
    NotRunning,
    Overloaded,
    RunCancelled,
    RunFailed,
    Unavailable,
)
from apex_fast.wire.apex.v1 import common_pb2, run_pb2, workflow_pb2
from tests.support.patience import PATIENCE_S

RUNS = "/apex.v1.RunService"
Handler = Callable[[bytes, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Message]]


def written(message: Message) -> bytes:
    return message.SerializeToString()


class Server(grpc.GenericRpcHandler):
    """A gateway of which a test says what it answers."""

    def __init__(self) -> None:
        self.unary: dict[str, Handler] = {}
        self.streams: dict[str, Callable[[bytes, Any], AsyncIterator[Message]]] = {}
        self.address = ""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = details.method
        if method in self.unary:
            return grpc.unary_unary_rpc_method_handler(self.unary[method], response_serializer=written)
        if method in self.streams:
            return grpc.unary_stream_rpc_method_handler(self.streams[method], response_serializer=written)
        return None

    def answers(self, method: str, message: Message) -> list[bytes]:
        """Answer a method with a message; gives the requests that came."""
        requests: list[bytes] = []

        async def handle(request: bytes, _: Any) -> Message:
            requests.append(request)
            return message

        self.unary[method] = handle
        return requests

    def refuses(self, method: str, status: grpc.StatusCode, *details: Message) -> None:
        """Refuse a method with a status and its details."""

        async def handle(_: bytes, context: Any) -> Message:
            await refuse(context, status, *details)
            raise AssertionError

        self.unary[method] = handle


async def refuse(context: Any, status: grpc.StatusCode, *details: Message) -> None:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    body = status_pb2.Status(code=status.value[0], message="why", details=packed).SerializeToString()
    await context.abort(status, "why", (("grpc-status-details-bin", body),) if details else ())


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    running = grpc.aio.server()
    running.add_generic_rpc_handlers((made,))
    made.address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    await running.start()
    yield made
    await running.stop(None)


@pytest_asyncio.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.address, PATIENCE_S) as made:
        yield made


def info(reason: str) -> Message:
    made: Message = error_details_pb2.ErrorInfo(reason=reason, domain="apex")
    return made


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, "WORKFLOW_NOT_FOUND", NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED", KeyReused),
        (grpc.StatusCode.UNIMPLEMENTED, "NOT_RUNNING_YET", NotRunning),
        (grpc.StatusCode.INTERNAL, "SOMETHING_NEW", ApexError),
        (grpc.StatusCode.UNAVAILABLE, "", Unavailable),
        (grpc.StatusCode.UNIMPLEMENTED, "", NotRunning),
        (grpc.StatusCode.INVALID_ARGUMENT, "", InvalidInput),
        (grpc.StatusCode.DATA_LOSS, "", ApexError),
    ],
)
async def test_a_refusal_becomes_its_exception(
    server: Server, client: Client, status: grpc.StatusCode, reason: str, kind: type[ApexError]
) -> None:
    server.refuses(f"{RUNS}/StartRun", status, *([info(reason)] if reason else []))
    with pytest.raises(ApexError, match="why") as caught:
        await client.start("w")
    assert type(caught.value) is kind
    if reason:
        assert caught.value.code == reason


async def test_details_come_along(server: Server, client: Client) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="/a/0", description="is no number")
    server.refuses(f"{RUNS}/StartRun", grpc.StatusCode.INVALID_ARGUMENT, info("INPUTS_INVALID"), bad)
    with pytest.raises(InvalidInput) as invalid:
        await client.start("w", {"a": ["x"]})
    assert invalid.value.errors == [("/a/0", "is no number")]
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(2_500)
    server.refuses(f"{RUNS}/StartRun", grpc.StatusCode.RESOURCE_EXHAUSTED, info("OVERLOADED"), retry)
    with pytest.raises(Overloaded) as full:
        await client.start("w")
    assert (full.value.retry_after_s, full.value.retryable) == (2.5, True)


async def test_a_start_says_what_was_asked(server: Server, client: Client) -> None:
    asked = server.answers(f"{RUNS}/StartRun", run_pb2.StartRunResponse(run_id="r", existing=True))
    run = await client.start(
        "w", {"n": 2**62, "t": "ü"}, version="1.2", idempotency_key="k", labels={"a": "b"}, priority="high"
    )
    assert (run.id, run.existing) == ("r", True)
    request = run_pb2.StartRunRequest.FromString(asked[0])
    assert request.inputs_json == '{"n":4611686018427387904,"t":"ü"}'.encode()
    assert (request.workflow.name, request.workflow.version, request.idempotency_key) == ("w", "1.2", "k")
    assert request.priority == common_pb2.PRIORITY_HIGH
    assert dict(request.labels) == {"a": "b"}


@pytest.mark.parametrize("form", ["workflow", "mapping", "text", "bytes"])
async def test_a_definition_in_any_form(server: Server, client: Client, form: str) -> None:
    asked = server.answers(
        "/apex.v1.WorkflowService/RegisterWorkflow", workflow_pb2.RegisterWorkflowResponse(name="w", version="1")
    )
    workflow = Workflow("w")
    workflow.function("a", "f")
    forms: dict[str, Any] = {
        "workflow": workflow,
        "mapping": workflow.document(),
        "text": workflow.to_json().decode(),
        "bytes": workflow.to_json(),
    }
    await client.register(forms[form], tags=["main"])
    request = workflow_pb2.RegisterWorkflowRequest.FromString(asked[0])
    assert request.definition.definition_json == workflow.to_json()


@pytest.mark.parametrize(
    ("state", "kind"),
    [(common_pb2.RUN_STATE_FAILED, RunFailed), (common_pb2.RUN_STATE_CANCELLED, RunCancelled)],
)
async def test_the_end_of_a_run(
    server: Server, client: Client, state: common_pb2.RunState.ValueType, kind: type[RunFailed]
) -> None:
    method = f"{RUNS}/GetRun"
    server.answers(method, run_pb2.Run(run_id="r", state=common_pb2.RUN_STATE_COMPLETED, output_json=b'{"n":1}'))
    assert await client.run("r").result() == {"n": 1}
    error = common_pb2.Error(code="FAILED", message="no flight", node="book")
    server.answers(method, run_pb2.Run(run_id="r", state=state, error=error))
    with pytest.raises(RunFailed, match="no flight") as caught:
        await client.run("r").result()
    assert type(caught.value) is kind
    assert caught.value.run_id == "r"


async def test_waiting_is_bounded(server: Server, client: Client) -> None:
    async def never(_: bytes, context: Any) -> Message:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
        raise AssertionError

    server.unary[f"{RUNS}/GetRun"] = never
    with pytest.raises(DeadlineExceeded):
        await client.run("r").result(timeout_s=1)


async def test_a_stream_goes_on_where_it_broke(server: Server, client: Client) -> None:
    asked: list[int] = []

    async def watch(request: bytes, context: Any) -> AsyncIterator[Message]:
        start = run_pb2.WatchRunRequest.FromString(request).from_offset
        asked.append(start)
        for offset in range(start, 10):
            yield common_pb2.Event(run_id="r", offset=offset, type="T", payload_json=b'{"x":1}')
            if offset in (3, 6):
                slow = (grpc.StatusCode.RESOURCE_EXHAUSTED, info("SUBSCRIBER_TOO_SLOW"))
                await refuse(context, *(slow if offset == 6 else (grpc.StatusCode.UNAVAILABLE,)))

    server.streams[f"{RUNS}/WatchRun"] = watch
    seen = [event async for event in client.run("r").watch(1)]
    assert [event.offset for event in seen] == list(range(1, 10))
    assert seen[0].payload == {"x": 1}
    assert asked == [1, 4, 7]


async def test_a_stream_of_nothing_ends_with_its_error(server: Server, client: Client) -> None:
    async def watch(_: bytes, context: Any) -> AsyncIterator[Message]:
        await refuse(context, grpc.StatusCode.NOT_FOUND, info("RUN_NOT_FOUND"))
        yield common_pb2.Event()

    server.streams[f"{RUNS}/WatchRun"] = watch
    with pytest.raises(NotFound):
        _ = [event async for event in client.run("r").watch()]
