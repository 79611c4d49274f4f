"""Erasure of a tenant or a run, and a sweep of what nobody needs, in a data folder that nobody serves.

What is erased leaves the state by an event, a snapshot stands for all before it, and then the keys of its records and
blobs are destroyed. In that order, so that a crash at any moment leaves a folder that serves; begun again it ends.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apex_fast.adapters.embedded.folder import BLOBS, LOG
from apex_fast.adapters.embedded.history import batches
from apex_fast.core import count_erasable, erase_log, sweep_log
from apex_fast.domain import Erase, Log, LogError, Machine, Reply
from apex_fast.engine.recovery import recover
from apex_fast.errors import NotFound, error_of

DURABLE_TIMEOUT_S = 60.0
TOKEN = 1


@dataclass(frozen=True)
class Erased:
    """What went: the records, the archives that were made anew without them, and the blobs."""

    records: int
    archives: int
    blobs: int


@dataclass(frozen=True)
class Swept:
    """What went: blobs, the bytes of their contents, and data keys."""

    blobs: int
    bytes: int
    keys: int


def erase(data: Path, partitions: int, tenant: str, run_id: str | None, key_file: str | None) -> Erased:
    """Erase all that a tenant has, or one ended run with those that ran for it. Blocks.

    Raises WrongState where a run is open, NotFound where there is nothing, LogError (LOCKED, KEY, INVALID,
    DAMAGED, IO).
    """
    records = count_erasable(str(data / LOG), tenant, run_id, key_file)
    found = _Opened(Log.open(str(data / LOG), None, None, key_file))
    try:
        machine = recover(found, partitions, {})
        reply = found.decide(machine, Erase(tenant, run_id))
        is_gone = run_id is not None and reply.code == "RUN_NOT_FOUND"
        # Its records may still be there, where an erasure was cut off.
        if reply.code and not (is_gone and records):
            raise error_of(reply.code, reply.message)
        capture = machine.capture()
        below = capture.position
        found.log.save_snapshot(below, capture.bytes())
    finally:
        found.log.close()
    erased = Erased(*erase_log(str(data / LOG), str(data / BLOBS), below, tenant, run_id, key_file))
    if not (erased.records or erased.blobs):
        raise NotFound(f"there is nothing of tenant {tenant}")
    return erased


def sweep(data: Path, older_than_s: float, key_file: str | None) -> Swept:
    """Remove blobs that nothing names and that were put longer ago, and data keys that no file needs. Blocks.

    Raises LogError (LOCKED, KEY, DAMAGED, IO).
    """
    put_before = time.time() - older_than_s
    blobs = data / BLOBS
    files = blobs.iterdir() if blobs.exists() else ()
    old = {path.name for path in files if path.stat().st_mtime <= put_before}
    return Swept(*sweep_log(str(data / LOG), str(blobs), old, key_file))


class _Opened:
    """A log to recover from (``ports.event_log.History``), and to append one decision to."""

    def __init__(self, log: Log) -> None:
        self.log = log

    @property
    def term(self) -> int:
        return self.log.term

    @property
    def snapshot(self) -> tuple[int, bytes] | None:
        return self.log.snapshot

    def scan(self, start: int) -> Iterator[tuple[int, bytes]]:
        return batches(self.log, start)

    def decide(self, machine: Machine, command: Erase) -> Reply:
        """The answer to a command, durable with all that was decided."""
        turn = machine.step(time.time_ns(), [(TOKEN, command)])
        while True:
            if turn.count:
                position = self.log.append(turn)
                if self.log.wait_durable(position, DURABLE_TIMEOUT_S) < position:
                    raise LogError("IO", f"the disk took longer than {DURABLE_TIMEOUT_S:.0f} s")
            for reply in machine.advance(turn.position)[2]:
                if reply.token == TOKEN:
                    return reply
            turn = machine.step(time.time_ns(), [])
