"""The event_log port on the Rust log: group commit in its own thread, one eventfd wake-up per group."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from apex_fast.adapters.embedded.blobs import EmbeddedBlobs
from apex_fast.adapters.embedded.history import batches
from apex_fast.domain import Event, Log, LogError, Turn

CLOSE_TIMEOUT_S = 30.0
ARCHIVE_S = 5.0
"""How long a stop waits for what its last snapshot lets go, in seconds."""


class EmbeddedEventLog:
    """A folder with the log of one worker. Keeps the promises of ``ports.event_log.EventLog``."""

    def __init__(
        self,
        folder: Path,
        segment_bytes: int,
        archive_after_segments: int | None = None,
        key_file: str | None = None,
    ) -> None:
        """Take the folder's lock, raise the term, recover.

        Raises LogError (LOCKED, DAMAGED, KEY, READ_ONLY, FULL, IO).
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._log = Log.open(str(folder), segment_bytes, archive_after_segments, key_file)
        self._loop = asyncio.get_running_loop()
        self._watching = False

    @property
    def position(self) -> int:
        return self._log.position

    @property
    def term(self) -> int:
        return self._log.term

    @property
    def cut(self) -> str | None:
        """What recovery cut from the tail, in words."""
        return self._log.cut

    @property
    def snapshot(self) -> tuple[int, bytes] | None:
        return self._log.snapshot

    def on_durable(self, durable: Callable[[int], None], failed: Callable[[LogError], None]) -> None:
        def wake() -> None:
            try:
                position = self._log.rearm()
            except LogError as error:
                self._stop_watching()
                failed(error)
                return
            durable(position)

        self._loop.add_reader(self._log.fileno(), wake)
        self._watching = True

    def append(self, turn: Turn) -> None:
        self._log.append(turn)

    def durable(self) -> int:
        return self._log.durable()

    def has_room(self) -> bool:
        return self._log.space() == "ample"

    def scan(self, start: int) -> Iterator[tuple[int, bytes]]:
        return batches(self._log, start)

    def timeline(self, head: int, from_offset: int, limit: int) -> list[Event]:
        return self._log.timeline(head, from_offset, limit)

    def save_snapshot(self, position: int, state: bytes) -> None:
        self._log.save_snapshot(position, state)

    def trim(self, before_ns: int) -> None:
        self._log.trim(before_ns)

    def open_blobs(self, folder: Path, quota_bytes: int) -> EmbeddedBlobs:
        """The blobs that go with this log, for as long as it is open. Raises LogError."""
        return EmbeddedBlobs(self._log, folder, quota_bytes)

    def wait_archived(self, timeout_s: float) -> bool:
        """Wait until what the last snapshot let go is archived, or could not be. Blocks."""
        return self._log.wait_archived(timeout_s)

    def stats(self) -> dict[str, int]:
        return self._log.stats()

    def _stop_watching(self) -> None:
        if self._watching:
            self._loop.remove_reader(self._log.fileno())
            self._watching = False

    async def close(self) -> None:
        self._stop_watching()
        # Else a gateway that is stopped often would never archive: its last snapshot is what lets segments go.
        await self._loop.run_in_executor(None, self._log.wait_archived, ARCHIVE_S)
        await self._loop.run_in_executor(None, self._log.close)
