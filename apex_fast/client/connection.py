"""One channel, its calls, and their errors.

Source: google/rpc/error_details.proto; grpc status codes; the retry rules of `proto/README.md`.
"""

from collections.abc import AsyncIterator
from operator import methodcaller
from types import TracebackType
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from apex_fast.client.views import conflict_of
from apex_fast.errors import (
    ApexError,
    DeadlineExceeded,
    InvalidInput,
    NotRunning,
    PatchConflicts,
    Unavailable,
    error_of,
)
from apex_fast.wire.apex.v1 import patch_pb2

MESSAGE_BYTES_MAX = 64 << 20
OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
]
STATUS_DETAILS = "grpc-status-details-bin"
CLASS_OF_STATUS: dict[grpc.StatusCode, type[ApexError]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: NotRunning,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
}

serialize = methodcaller("SerializeToString")

A = TypeVar("A", bound=Message)
A_co = TypeVar("A_co", bound=Message, covariant=True)


class Answer(Protocol[A_co]):
    """The class of a message."""

    def FromString(self, data: bytes) -> A_co:
        """Read it."""


def serialized(message: Message) -> bytes:
    """The message as bytes: by its own class, the base's method is abstract."""
    return message.SerializeToString()


def error_from(status: grpc.aio.AioRpcError) -> ApexError:
    """The exception that a failed call stands for."""
    message = status.details() or status.code().name
    code = ""
    errors: list[tuple[str, str]] = []
    retry_after_s: float | None = None
    conflict: PatchConflicts | None = None
    details = next((value for name, value in status.trailing_metadata() or () if name == STATUS_DETAILS), None)
    if isinstance(details, bytes):
        for detail in status_pb2.Status.FromString(details).details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            patches = patch_pb2.PatchConflict()
            if detail.Unpack(info):
                code = info.reason
            elif detail.Unpack(bad):
                errors = [(violation.field, violation.description) for violation in bad.field_violations]
            elif detail.Unpack(retry):
                retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
            elif detail.Unpack(patches):
                conflict = conflict_of(patches)
    kind = CLASS_OF_STATUS.get(status.code(), ApexError)
    if code:
        return error_of(code, message, errors=errors, retry_after_s=retry_after_s, conflict=conflict, fallback=kind)
    return kind(message)


class Connection:
    """A channel to HOST:PORT."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._timeout_s = timeout_s
        self._calls: dict[str, Any] = {}

    async def unary(
        self, method: str, request: Message, answer: "Answer[A]", timeout_s: float | None = None, retry: bool = False
    ) -> A:
        """One call; ``retry``: it changes nothing or has a key, so it may wait for a gateway that is not there yet."""
        call = self._calls.get(method)
        if call is None:
            call = self._calls[method] = self._channel.unary_unary(
                method, request_serializer=serialized, response_deserializer=answer.FromString
            )
        timeout = self._timeout_s if timeout_s is None else timeout_s
        try:
            result: A = await call(request, timeout=timeout or None, wait_for_ready=retry)
        except grpc.aio.AioRpcError as status:
            raise error_from(status) from None
        return result

    async def stream(self, method: str, request: Message, answer: "Answer[A]") -> AsyncIterator[A]:
        """A server stream."""
        call = self._channel.unary_stream(
            method, request_serializer=serialized, response_deserializer=answer.FromString
        )(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as status:
            raise error_from(status) from None
        finally:
            call.cancel()

    def bidi(self, method: str, requests: "AsyncIterator[Message]", answer: "Answer[A]") -> "AsyncIterator[A]":
        """A stream both ways; errors are those of `stream`."""
        call = self._channel.stream_stream(
            method, request_serializer=serialized, response_deserializer=answer.FromString
        )(requests)

        async def answers() -> AsyncIterator[A]:
            try:
                async for message in call:
                    yield message
            except grpc.aio.AioRpcError as status:
                raise error_from(status) from None
            finally:
                call.cancel()

        return answers()

    async def close(self) -> None:
        """Give the channel back."""
        await self._channel.close()

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
