"""What a gRPC method is to the door."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Metadata = Mapping[str, str]
Answering = Callable[[int, Metadata, bytes], None]
"""(token, metadata, message): answers through the outbox, now or later; may raise before it has answered."""


class Conversation(Protocol):
    """One open bidirectional stream."""

    def message(self, message: bytes) -> None:
        """The client said something."""

    def half_closed(self) -> None:
        """The client says no more; answer what was accepted, then end."""

    def cancelled(self) -> None:
        """The client is gone, or has been told why the stream ends."""

    def give_up(self) -> None:
        """The house is stopping: answer what waits as things stand, then end."""


Conversing = Callable[[int, Metadata], Conversation]


@dataclass(frozen=True)
class Method:
    """A row of the table. ``handler`` for ``unary`` and ``server_stream``, ``conversing`` for ``bidi``."""

    path: str
    kind: Literal["unary", "server_stream", "bidi"]
    handler: Answering | None = None
    conversing: Conversing | None = None


def unary(service: str, name: str, handler: Answering) -> Method:
    """A unary method."""
    return Method(f"/{service}/{name}", "unary", handler)


def server_stream(service: str, name: str, handler: Answering) -> Method:
    """A method that answers with a stream."""
    return Method(f"/{service}/{name}", "server_stream", handler)


def bidi(service: str, name: str, conversing: Conversing) -> Method:
    """A method with streams both ways."""
    return Method(f"/{service}/{name}", "bidi", conversing=conversing)
