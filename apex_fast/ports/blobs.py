"""Where values are kept that are too large for a request or a record."""

from typing import NamedTuple, Protocol


class StoredBlob(NamedTuple):
    """What ``put`` made durable."""

    address: str
    """``sha256:`` and 64 lower-case hexadecimal digits: the hash of the content."""
    bytes: int
    existing: bool
    """The tenant had it already."""


class Blobs(Protocol):
    """Contents by what they are. Every method blocks and may be called on any thread.

    Promises, each a test of ``tests/conformance/test_blobs.py``:

    1. What ``put`` returned for is given back by ``get`` byte for byte, also after ``kill -9`` and the loss of power
       (the memory adapter: while the process lives).
    2. The address is the SHA-256 of the content. The same content of a tenant is kept once; ``existing`` says so.
    3. With ``expected``, another content raises ``LogError`` with code INVALID and keeps nothing.
    4. A tenant finds only what it put itself: ``get`` and ``size`` of anything else, also of no address, are None.
    5. Content that would take a tenant over the quota raises ``LogError`` with code QUOTA and keeps nothing; content
       that is there may be put again. ``used`` is the sum of the bytes of the contents of a tenant.
    6. Content that is not what its address says raises ``LogError`` with code DAMAGED and is never returned (the memory
       adapter has no such content).
    """

    def put(self, tenant: str, content: bytes, expected: str | None = None) -> StoredBlob:
        """Keep a content; durable on return."""

    def get(self, tenant: str, address: str) -> bytes | None:
        """A whole content."""

    def size(self, tenant: str, address: str) -> int | None:
        """Bytes of a content."""

    def used(self, tenant: str) -> int:
        """Bytes of all contents of a tenant."""

    def stats(self) -> dict[str, int]:
        """Gauges for metrics: `count` and `bytes`, of all tenants."""
