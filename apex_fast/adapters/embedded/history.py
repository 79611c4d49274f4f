"""A log to read, whoever serves it."""

from collections.abc import Iterator
from pathlib import Path

from apex_fast.domain import Log, LogView

SCAN_BYTES_MAX = 4 << 20


def batches(log: Log | LogView, start: int) -> Iterator[tuple[int, bytes]]:
    """Position and bodies of the records from ``start`` on, a few megabytes at a time."""
    position = start
    while True:
        bodies, count = log.scan(position, SCAN_BYTES_MAX)
        if not count:
            return
        yield position, bodies
        position += count


class FolderHistory:
    """The log in a folder as it is now: what a machine is recovered from (``ports.event_log.History``)."""

    def __init__(self, folder: Path, key_file: str | None) -> None:
        """Look at it; nothing is locked or written. Raises LogError (DAMAGED, KEY, IO)."""
        self.view = LogView.open(str(folder), key_file)

    @property
    def term(self) -> int:
        return self.view.term

    @property
    def snapshot(self) -> tuple[int, bytes] | None:
        return self.view.snapshot

    def scan(self, start: int) -> Iterator[tuple[int, bytes]]:
        return batches(self.view, start)
