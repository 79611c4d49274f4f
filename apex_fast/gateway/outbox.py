"""Answers on their way out: collected during a turn of the loop, given to the front door in one call.

Knows the shapes of `Front.reply`, and nothing of what is in them.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from apex_fast.domain import Front
from apex_fast.errors import ApexError
from apex_fast.gateway.problems import grpc_failure, http_failure

log = logging.getLogger(__name__)

Frame = tuple[int | None, bytes]
Headers = list[tuple[str, str]]

_GRPC, _GRPC_ERROR, _HTTP, _STREAM_OPEN, _STREAM_SEND, _STREAM_END = range(6)


class Outbox:
    """All methods are called on the engine's loop."""

    def __init__(self, refused: Callable[[str, str], None] = lambda _transport, _code: None) -> None:
        """``refused``: told (transport, code) of each refusal, whoever makes it."""
        self._refused = refused
        self._front: Front | None = None
        self._loop = asyncio.get_running_loop()
        self._replies: list[tuple[Any, ...]] = []
        self._before_flush: list[Callable[[], None]] = []
        self._scheduled = False

    def connect(self, front: Front) -> None:
        """Name the front door that the answers go to."""
        self._front = front

    def put(self, reply: tuple[Any, ...]) -> None:
        """Queue a reply in the shape of `Front.reply`."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)
        self._replies.append(reply)

    def before_flush(self, callback: Callable[[], None]) -> None:
        """Call back once, before the next flush: the place to join what belongs into one frame."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)
        self._before_flush.append(callback)

    def flush(self) -> None:
        """Give everything to the front door now."""
        self._scheduled = False
        while self._before_flush:
            callbacks, self._before_flush = self._before_flush, []
            for callback in callbacks:
                callback()
        if self._replies and self._front is not None:
            replies, self._replies = self._replies, []
            try:
                self._front.reply(replies)
            except Exception:
                # The front door took none of them: one that cannot be said must not cost the others theirs.
                for reply in replies:
                    self._reply_alone(self._front, reply)

    def _reply_alone(self, front: Front, reply: tuple[Any, ...]) -> None:
        try:
            front.reply([reply])
        except Exception:
            log.exception("an answer could not be said", extra={"kind": reply[0]})
            error = ApexError("something of ours went wrong; the log of the gateway says what")
            kind, token = reply[0], reply[1]
            with suppress(Exception):
                if kind in (_GRPC, _GRPC_ERROR):
                    front.reply([(_GRPC_ERROR, token, *grpc_failure(error))])
                elif kind == _HTTP:
                    front.reply([(_HTTP, token, *http_failure(error))])
                else:
                    front.reply([(_STREAM_END, token, *grpc_failure(error))])

    # --- gRPC -----------------------------------------------------------------------------------------------------

    def grpc(self, token: int, message: bytes) -> None:
        """The answer of a unary call."""
        self.put((_GRPC, token, message))

    def grpc_error(self, token: int, error: ApexError) -> None:
        """The failure of a call that has not opened a stream."""
        self._refused("grpc", error.code)
        self.put((_GRPC_ERROR, token, *grpc_failure(error)))

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def http(self, token: int, status: int, headers: Headers, body: bytes) -> None:
        """A whole HTTP answer."""
        self.put((_HTTP, token, status, headers, body))

    def http_error(self, token: int, error: ApexError, extra: Headers | None = None) -> None:
        """A problem document."""
        self._refused("http", error.code)
        status, headers, body = http_failure(error)
        self.put((_HTTP, token, status, headers + (extra or []), body))

    # --- streams --------------------------------------------------------------------------------------------------

    def stream_open(
        self, token: int, headers: Headers, frames: list[Frame], topic: str | None, next_offset: int, more: bool
    ) -> None:
        """Begin a stream; with ``topic`` it goes on with the run's feed, with ``more`` it asks for the next page."""
        self.put((_STREAM_OPEN, token, topic, frames, next_offset, headers, more))

    def stream_send(
        self, token: int, frames: list[Frame], topic: str | None = None, next_offset: int = 0, more: bool = False
    ) -> None:
        """More of a stream."""
        self.put((_STREAM_SEND, token, frames, topic, next_offset, more))

    def hold(self, token: int, held: bool) -> None:
        """Hold the client of a bidirectional stream back, or let it go on; at once."""
        if self._front is not None:
            self._front.hold(token, held)

    def stream_end(self, token: int, error: ApexError | None = None) -> None:
        """End a stream, well or with an error."""
        if error is not None:
            self._refused("grpc", error.code)
        self.put((_STREAM_END, token, *(grpc_failure(error) if error else (0, "", b""))))
