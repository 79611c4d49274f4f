"""`/blobs`: values that are too large for a request, by their address."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from apex_fast.domain import LogError
from apex_fast.errors import ApexError, LimitExceeded, NotFound, NotRunning, Overloaded
from apex_fast.gateway.bodies import Body, invalid
from apex_fast.gateway.faults import fault_of
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.ports.blobs import Blobs

BYTES_IN_HAND_MAX = 256 << 20
"""Contents that are written and read at once; a single one may be more."""
MEDIA_TYPE = "application/octet-stream"


class PutQuery(Body):
    """What the content must be."""

    address: str = ""
    """The address that it must have; another content is refused."""


class BlobName(msgspec.Struct):
    """What stands for a content in inputs and outputs."""

    blob: str = msgspec.field(name="$blob")


class BlobStored(msgspec.Struct):
    """A content that is durable."""

    address: str
    bytes: int
    blob: BlobName
    """To be used as a value."""


class BlobRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._in_hand = 0

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("PUT", "/blobs", "putBlob", "Store a large value; the body is its bytes, whatever they are", "blobs",
                  self.put, [Answer(201, "Stored, durably", BlobStored), Answer(200, "It was there", BlobStored)],
                  query=PutQuery,
                  problems=("ORIGIN_REFUSED", "BODY_TOO_LARGE", "QUOTA_EXCEEDED", "DISK_FULL", "OVERLOADED")),
            Route("GET", "/blobs/{address}", "getBlob", "Read a large value", "blobs", self.get,
                  [Answer(200, "Its bytes", None, MEDIA_TYPE, {"etag": "the address"}),
                   Answer(304, "The caller has it", None, MEDIA_TYPE)],
                  headers={"if-none-match": "an ETag that the caller has"},
                  problems=("BLOB_NOT_FOUND", "BLOB_DAMAGED", "OVERLOADED")),
        ]  # fmt: skip

    def put(self, exchange: Exchange) -> None:
        """`PUT /blobs`."""
        expected = exchange.select(PutQuery).address or None
        blobs = self._blobs()
        exchange.beside(self._put(exchange, blobs, expected))

    async def _put(self, exchange: Exchange, blobs: Blobs, expected: str | None) -> None:
        with self._held(len(exchange.body)):
            try:
                stored = await asyncio.to_thread(blobs.put, exchange.tenant, exchange.body, expected)
            except LogError as error:
                raise _fault(error) from error
        answer = BlobStored(stored.address, stored.bytes, BlobName(stored.address))
        status = 200 if stored.existing else 201
        exchange.answer(status, answer, [("location", f"/blobs/{stored.address}")])

    def get(self, exchange: Exchange) -> None:
        """`GET /blobs/{address}`."""
        exchange.beside(self._get(exchange, self._blobs(), exchange.params["address"]))

    async def _get(self, exchange: Exchange, blobs: Blobs, address: str) -> None:
        try:
            size = await asyncio.to_thread(blobs.size, exchange.tenant, address)
            if size is None:
                raise NotFound(f"there is no blob {address[:80]!r}", code="BLOB_NOT_FOUND")
            tag = f'"{address}"'
            headers = [
                ("content-type", MEDIA_TYPE),
                ("x-content-type-options", "nosniff"),
                ("cache-control", "private, immutable"),
                ("etag", tag),
            ]
            given = exchange.headers.get("if-none-match", "")
            if tag in {one.strip().removeprefix("W/") for one in given.split(",")}:
                exchange.answer_bytes(304, headers, b"")
                return
            with self._held(size):
                content = await asyncio.to_thread(blobs.get, exchange.tenant, address)
                exchange.answer_bytes(200, headers, content or b"")
        except LogError as error:
            raise _fault(error) from error

    def _blobs(self) -> Blobs:
        if self._house.blobs is None:
            raise NotRunning("this gateway keeps no blobs")
        return self._house.blobs

    @contextmanager
    def _held(self, size: int) -> Iterator[None]:
        """Count bytes while they are in hand. Raises Overloaded."""
        if self._in_hand and self._in_hand + size > BYTES_IN_HAND_MAX:
            raise Overloaded(f"{self._in_hand} bytes of blobs are being written and read")
        self._in_hand += size
        try:
            yield
        finally:
            self._in_hand -= size


def _fault(error: LogError) -> ApexError:
    match error.code:
        case "QUOTA":
            return LimitExceeded(error.message, code="QUOTA_EXCEEDED")
        case "INVALID":
            return invalid("/address", error.message)
        case "FULL":
            return Overloaded(error.message, code="DISK_FULL", retry_after_s=5.0)
        case "DAMAGED":
            return ApexError(error.message, code="BLOB_DAMAGED")
        case _:
            return fault_of(error)
