"""The blobs port in a folder beside the log, sealed with its keys (crates/log, docs/formats/blobs.md)."""

from pathlib import Path

from apex_fast.domain import Log
from apex_fast.ports.blobs import StoredBlob


class EmbeddedBlobs:
    """Keeps the promises of ``ports.blobs.Blobs`` while the log is open whose owner it belongs to."""

    def __init__(self, log: Log, folder: Path, quota_bytes: int) -> None:
        """Removes what a crash left half-written, and counts the rest. Raises LogError."""
        self._blobs = log.open_blobs(str(folder), quota_bytes)

    def put(self, tenant: str, content: bytes, expected: str | None = None) -> StoredBlob:
        return StoredBlob(*self._blobs.put(tenant, content, expected))

    def get(self, tenant: str, address: str) -> bytes | None:
        return self._blobs.get(tenant, address)

    def size(self, tenant: str, address: str) -> int | None:
        return self._blobs.size(tenant, address)

    def used(self, tenant: str) -> int:
        return self._blobs.used(tenant)

    def stats(self) -> dict[str, int]:
        return self._blobs.stats()
