"""The blobs port in memory: the reference."""

import hashlib
import threading

from apex_fast.domain import LogError
from apex_fast.ports.blobs import StoredBlob


class MemoryBlobs:
    """Keeps the promises of ``ports.blobs.Blobs`` while the process lives."""

    def __init__(self, quota_bytes: int) -> None:
        self._quota_bytes = quota_bytes
        self._contents: dict[tuple[str, str], bytes] = {}
        self._changing = threading.Lock()

    def put(self, tenant: str, content: bytes, expected: str | None = None) -> StoredBlob:
        address = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if expected not in {None, address}:
            raise LogError("INVALID", f"the content is {address}, not {expected}")
        with self._changing:
            if (tenant, address) in self._contents:
                return StoredBlob(address, len(content), True)
            used = self.used(tenant)
            if used + len(content) > self._quota_bytes:
                raise LogError(
                    "QUOTA", f"{len(content)} bytes are over the quota: {used} of {self._quota_bytes} are used"
                )
            self._contents[tenant, address] = bytes(content)
        return StoredBlob(address, len(content), False)

    def get(self, tenant: str, address: str) -> bytes | None:
        return self._contents.get((tenant, address))

    def size(self, tenant: str, address: str) -> int | None:
        content = self.get(tenant, address)
        return None if content is None else len(content)

    def used(self, tenant: str) -> int:
        return sum(len(content) for (owner, _), content in tuple(self._contents.items()) if owner == tenant)

    def stats(self) -> dict[str, int]:
        return {"count": len(self._contents), "bytes": sum(map(len, tuple(self._contents.values())))}
