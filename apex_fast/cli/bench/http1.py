"""The little of HTTP/1.1 that a load generator needs: one ready request after the other on a connection that stays.

Source: RFC 9112; answers have a Content-Length, as the gateway's have.
"""

import asyncio
import re
from collections.abc import Callable
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)

Answered = Callable[[int, bytes], None]
"""Given the status and the body."""


def get(path: str, authority: str) -> bytes:
    """A GET, ready to be sent."""
    return f"GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode()


def post(path: str, authority: str, body: bytes) -> bytes:
    """A POST of JSON, ready to be sent."""
    head = f"POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


class Http1Connection(asyncio.Protocol):
    """A connection with at most one request in flight."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: Answered | None = None
        self._data = b""

    @classmethod
    async def connect(cls, address: str) -> "Http1Connection":
        """Connect to HOST:PORT. Raises OSError."""
        host, _, port = address.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, int(port))
        return connection

    @property
    def is_open(self) -> bool:
        """Whether it may be sent on; the gateway closes one that is idle for long."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, answered: Answered) -> None:
        """Send a request that `get` or `post` made. Raises ConnectionError where the connection is gone."""
        if self._transport is None or not self.is_open:
            raise ConnectionError("the gateway closed the connection")
        self._answered = answered
        self._transport.write(request)

    async def fetch(self, request: bytes) -> tuple[int, bytes]:
        """`send` as an awaitable."""
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.send(request, lambda status, body: future.set_result((status, body)))
        return await future

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by shape, not by class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
        head_end = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, head_end) if head_end >= 0 else None
        if length is None or len(data) < head_end + 4 + int(length.group(1)):
            self._data = data
            return
        self._data = b""
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(int(data[9:12]), data[head_end + 4 :])
