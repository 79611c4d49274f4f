"""`grpc.health.v1.Health`: the standard health protocol (grpc/grpc, doc/health-checking.md)."""

from collections.abc import Iterable

from apex_fast.errors import NotFound
from apex_fast.gateway.grpc.method import Metadata, Method, server_stream, unary
from apex_fast.gateway.house import House, Waiting
from apex_fast.wire.grpc.health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"
_Status = health_pb2.HealthCheckResponse


class Health:
    """Serving until the house stops. The empty name is the whole house."""

    def __init__(self, house: House, services: Iterable[str]) -> None:
        self._house = house
        self._services = frozenset(services) | {"", SERVICE}
        self._watching: set[int] = set()

    def methods(self) -> list[Method]:
        """All methods of the service."""
        return [unary(SERVICE, "Check", self.check), server_stream(SERVICE, "Watch", self.watch)]

    def check(self, token: int, _metadata: Metadata, message: bytes) -> None:
        """`Check`. Raises NotFound for a service that is not ours."""
        name = health_pb2.HealthCheckRequest.FromString(message).service
        if name not in self._services:
            raise NotFound(f"there is no service {name[:128]!r}")
        self._house.outbox.grpc(token, self._state())

    def watch(self, token: int, _metadata: Metadata, message: bytes) -> None:
        """`Watch`: the status now, and once more when the house stops."""
        name = health_pb2.HealthCheckRequest.FromString(message).service
        known = name in self._services
        state = self._state() if known else _Status(status=_Status.SERVICE_UNKNOWN).SerializeToString()
        if known:
            self._watching.add(token)
        self._house.waiting[token] = Waiting(lambda: self._watching.discard(token), lambda: None)
        self._house.outbox.stream_open(token, [], [(None, state)], None, 0, False)

    def stopping(self) -> None:
        """Tell those who watch."""
        for token in self._watching:
            self._house.outbox.stream_send(token, [(None, self._state())])
            self._house.outbox.stream_end(token)
        self._watching.clear()

    def _state(self) -> bytes:
        status = _Status.SERVING if self._house.ready else _Status.NOT_SERVING
        return _Status(status=status).SerializeToString()
