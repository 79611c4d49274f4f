"""The ways to start a run, as a `Send` of the load generator: unary gRPC, the gRPC stream, HTTP."""

import asyncio
from itertools import cycle
from typing import Final

from apex_fast.cli.bench.http1 import Http1Connection, get, post
from apex_fast.cli.bench.http2 import Http2Connection
from apex_fast.cli.bench.load import Done, Send
from apex_fast.errors import Unavailable
from apex_fast.wire.apex.v1 import common_pb2, run_pb2

RUNS: Final = "/apex.v1.RunService"
APPROVALS: Final = "/apex.v1.ApprovalService"
CHECK: Final = "/grpc.health.v1.Health/Check"
UNARY_CONNECTIONS: Final = 4
BATCH_MAX: Final = 64


def start_request(workflow: str) -> bytes:
    """A start without inputs, serialized."""
    return run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name=workflow)).SerializeToString()


class Unary:
    """One method, called with the same message each time, over a few connections."""

    def __init__(self, connections: list[Http2Connection], message: bytes) -> None:
        self._connections = connections
        self._turn = cycle(connections)
        self._message = message

    @classmethod
    async def connect(cls, address: str, path: str, message: bytes) -> "Unary":
        """Connect. Raises OSError."""
        return cls([await Http2Connection.connect(address, path) for _ in range(UNARY_CONNECTIONS)], message)

    def send(self, done: Done) -> None:
        """One call."""
        self.send_message(self._message, done)

    def send_message(self, message: bytes, done: Done) -> None:
        """One call with a message of its own."""
        next(self._turn).call(message, lambda answer: done(answer is not None))

    async def ask(self, message: bytes) -> bytes:
        """One call with a message of its own, and its answer. Raises Unavailable where it is refused."""
        answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        next(self._turn).call(message, answered.set_result)
        answer = await answered
        if answer is None:
            raise Unavailable("the gateway refused a call")
        return answer

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()


class Stream:
    """Starts on one `StartRuns` stream, gathered into messages of up to 64 in each turn of the loop.

    ``wait``: a start is answered when its run has ended well. ``gather_s``: how long a start may wait for others.
    """

    def __init__(self, connection: Http2Connection, workflow: str, wait: bool, gather_s: float) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._wait = wait
        self._gather_s = gather_s
        request = start_request(workflow)
        self._item = run_pb2.StartRunsRequest(items=[run_pb2.StartRunRequest.FromString(request)]).SerializeToString()
        self._gathered: list[Done] = []
        self._batch_id = 0
        self._batches: dict[int, list[Done]] = {}
        self._left: dict[int, int] = {}
        connection.converse(self._answered)

    @classmethod
    async def connect(cls, address: str, workflow: str, wait: bool, gather_s: float = 0.0) -> "Stream":
        """Connect and open the stream. Raises OSError."""
        return cls(await Http2Connection.connect(address, f"{RUNS}/StartRuns"), workflow, wait, gather_s)

    def send(self, done: Done) -> None:
        """One start."""
        if not self._gathered:
            self._loop.call_later(self._gather_s, self._flush)
        self._gathered.append(done)
        if len(self._gathered) == BATCH_MAX:
            self._flush()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        self._batch_id = batch_id = self._batch_id + 1
        self._batches[batch_id] = gathered
        self._left[batch_id] = len(gathered)
        head = run_pb2.StartRunsRequest(batch_id=batch_id, wait=self._wait).SerializeToString()
        # Protobuf joins repeated fields of concatenated messages, so ready items need no serializing.
        self._connection.say(head + self._item * len(gathered))

    def _answered(self, message: bytes) -> None:
        answer = run_pb2.StartRunsResponse.FromString(message)
        batch_id = answer.batch_id
        batch = self._batches[batch_id]
        for result in answer.results:
            well = not result.HasField("error")
            batch[result.index](well and (not self._wait or result.state == common_pb2.RUN_STATE_COMPLETED))
        self._left[batch_id] -= len(answer.results)
        if not self._left[batch_id]:
            del self._batches[batch_id], self._left[batch_id]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Http:
    """The same HTTP/1.1 request over and over, one in flight on each connection."""

    def __init__(self, connections: list[Http1Connection], request: bytes) -> None:
        self._connections = connections
        self._idle = list(connections)
        self._request = request

    @classmethod
    async def connect(cls, address: str, request: bytes, connections: int) -> "Http":
        """Connect. Raises OSError."""
        return cls([await Http1Connection.connect(address) for _ in range(connections)], request)

    def send(self, done: Done) -> None:
        """One request. At most as many in flight as there are connections."""
        connection = self._idle.pop()

        def answered(status: int, _body: bytes) -> None:
            self._idle.append(connection)
            done(200 <= status < 300)

        connection.send(self._request, answered)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()


def http_start(address: str, workflow: str) -> bytes:
    """The request `POST /runs`."""
    return post("/runs", address, b'{"workflow":"%s"}' % workflow.encode())


def http_health(address: str) -> bytes:
    """The request `GET /health`."""
    return get("/health", address)


__all__ = [
    "APPROVALS",
    "CHECK",
    "RUNS",
    "Http",
    "Send",
    "Stream",
    "Unary",
    "http_health",
    "http_start",
    "start_request",
]
