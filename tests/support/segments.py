"""A segment with one record changed and everything of the log made right again: only the chain of the run tells.

The bytes are those of `docs/formats/log.md`, written a second time and simply.
"""

import hashlib
from pathlib import Path

HEADER_BYTES = 72
FRAME_BYTES = 8
TRAILER_BYTES = 64
MARK = (0x80000038).to_bytes(4, "little")


def crc32c(content: bytes, seed: int = 0) -> int:
    """CRC-32C (RFC 3720 B.4), a bit at a time."""
    crc = seed ^ 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def forge(path: Path, old: bytes, new: bytes) -> None:
    """Replace ``old`` by ``new``, of the same length, where it first stands, and mend every checksum and link."""
    assert len(old) == len(new)
    content = bytearray(path.read_bytes())
    at = content.index(old)
    content[at : at + len(new)] = new
    seed = int.from_bytes(content[68:72], "little")
    chain = bytes(content[32:64])
    start = end = HEADER_BYTES
    while any(content[end : end + FRAME_BYTES]):
        if content[end : end + 4] == MARK:
            trailer = content[end : end + TRAILER_BYTES]
            chain = hashlib.sha256(chain + trailer[8:24] + content[start:end]).digest()
            trailer[32:] = chain
            trailer[4:8] = crc32c(bytes(MARK + trailer[8:]), seed).to_bytes(4, "little")
            content[end : end + TRAILER_BYTES] = trailer
            start = end = end + TRAILER_BYTES
        else:
            length = int.from_bytes(content[end : end + 4], "little")
            body = bytes(content[end + FRAME_BYTES : end + FRAME_BYTES + length])
            content[end + 4 : end + 8] = crc32c(bytes(content[end : end + 4]) + body).to_bytes(4, "little")
            end += FRAME_BYTES + length
    path.write_bytes(content)
