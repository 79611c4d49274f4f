"""An append-only file outside the gateway that says which function ran when: the witness of what really happened.

Every line is one write to a file opened with O_APPEND, so lines of several processes never mix and a killed process
leaves whole lines. In: a call of a function. Out: `Entry`s, in the order in which they were written.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from apex_fast import current_job

VARIABLE = "LEDGER"
"""Names the file, in the environment of the gateway."""


class Entry(msgspec.Struct, frozen=True):
    """A function began (`started`) or was about to return (`done`)."""

    what: str
    run: str
    node: str
    attempt: int
    key: str
    pid: int
    time_ns: int
    function: str

    @property
    def job(self) -> tuple[str, str, int]:
        """Run, node, attempt."""
        return self.run, self.node, self.attempt


def note(what: str) -> None:
    """Write a line about the job that the calling function runs for."""
    job = current_job()
    entry = Entry(
        what, job.run_id, job.node, job.attempt, job.idempotency_key, os.getpid(), time.time_ns(), job.function
    )
    descriptor = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, msgspec.json.encode(entry) + b"\n")
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Ledger:
    """The file, as a test reads it."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the gateway must be given."""
        return {VARIABLE: str(self.path)}

    def entries(self) -> Iterator[Entry]:
        """All lines so far."""
        if self.path.exists():
            yield from map(_decoder.decode, self.path.read_bytes().splitlines())

    def started(self, run: str = "") -> list[Entry]:
        """Lines of functions that began, of one run or of all."""
        return [entry for entry in self.entries() if entry.what == "started" and run in ("", entry.run)]


_decoder = msgspec.json.Decoder(Entry)
