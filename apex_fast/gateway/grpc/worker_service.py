"""`apex.v1.WorkerService`: in the contract, not running in this version."""

from apex_fast.errors import NotRunning
from apex_fast.gateway.grpc.method import Conversation, Metadata, Method, bidi

SERVICE = "apex.v1.WorkerService"


def _refuse(_token: int, _metadata: Metadata) -> Conversation:
    raise NotRunning("Connect is not running in this version: functions run in the gateway's own process only")


def methods() -> list[Method]:
    """All methods of the service."""
    return [bidi(SERVICE, "Connect", _refuse)]
