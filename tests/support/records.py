"""Record bodies as docs/decisions/0001-events-and-record.md lays them out, read without the core."""

import hashlib
import struct
from typing import NamedTuple

_HEADER = struct.Struct("<BBBBHHIQQ16sQQqQH")
NONE = 2**64 - 1


class Header(NamedTuple):
    """The fixed fields of a record body."""

    format: int
    type: int
    type_version: int
    flags: int
    partition: int
    tenant_bytes: int
    epoch: int
    sequence: int
    term: int
    run_id: bytes
    run_seq: int
    run_prev: int
    time_ns: int
    causation: int
    correlation_bytes: int


def header(body: bytes) -> Header:
    return Header(*_HEADER.unpack_from(body))


def check_records(bodies: list[bytes]) -> None:
    """Sequences dense per partition, offsets dense per run, each record linked to the run's previous one."""
    sequences: dict[int, int] = {}
    heads: dict[bytes, tuple[int, int, bytes]] = {}
    for position, body in enumerate(bodies):
        head = header(body)
        assert head.format == 1
        assert head.sequence == sequences.get(head.partition, 0), f"a hole at position {position}"
        sequences[head.partition] = head.sequence + 1
        if not any(head.run_id):
            continue
        offset, previous, run_hash = heads.get(head.run_id, (-1, NONE, bytes(32)))
        assert head.run_seq == offset + 1, f"offset {head.run_seq} after {offset} at position {position}"
        assert head.run_prev == previous
        assert head.causation == NONE or head.causation < head.run_seq
        assert body[-32:] == hashlib.sha256(run_hash + body[:-32]).digest(), f"broken chain at position {position}"
        heads[head.run_id] = (head.run_seq, position, body[-32:])
