"""When the machine's state is kept, so that a recovery is short.

It is captured between two turns, which shares more than it copies, and written by a thread once what led to it is
durable: the loop waits for neither the encoding nor the disk. One at a time; a snapshot only shortens recovery, so
where none can be kept (a full disk) the log has everything.
"""

import asyncio
import logging

from apex_fast.domain import Capture, LogError, Machine, Turn
from apex_fast.ports.clock import Clock
from apex_fast.ports.event_log import EventLog

log = logging.getLogger(__name__)


class Snapshots:
    """Captures and keeps the state every so many records or bytes, whichever comes first.

    ``retention_s``: with each one, the history of runs that ended longer ago is let go; 0: never.
    """

    def __init__(
        self,
        machine: Machine,
        event_log: EventLog,
        clock: Clock,
        every_records: int,
        every_bytes: int,
        retention_s: float,
    ) -> None:
        self._machine = machine
        self._log = event_log
        self._clock = clock
        self._retention_ns = int(retention_s * 1e9)
        self._every_records = every_records
        self._every_bytes = every_bytes
        self._at = event_log.durable()
        self._bytes = 0
        self._capture: Capture | None = None
        self._writing: asyncio.Future[None] | None = None

    def decided(self, turn: Turn) -> None:
        """A turn was decided; the machine stands at its position."""
        self._bytes += turn.size
        due = turn.position - self._at >= self._every_records or self._bytes >= self._every_bytes
        if due and self._capture is None and self._writing is None:
            self._take()

    def durable(self, position: int) -> None:
        """The log is durable up to ``position``: a capture of no more than that may be kept."""
        if self._capture is None or position < self._capture.position:
            return
        capture, self._capture = self._capture, None
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, capture)
        self._writing.add_done_callback(self._written)

    async def last(self, position: int) -> None:
        """Keep what stands, all of it being durable at ``position``; for a stop."""
        if self._writing is not None:
            await self._writing
        if self._at < position:
            self._take()
        self.durable(position)
        if self._writing is not None:
            await self._writing

    def _take(self) -> None:
        self._capture = self._machine.capture()
        self._at = self._capture.position
        self._bytes = 0

    def _write(self, capture: Capture) -> None:
        try:
            self._log.save_snapshot(capture.position, capture.bytes())
            if self._retention_ns:
                ended_ns = self._clock.now_ns() - self._retention_ns
                self._log.trim(self._machine.history_needed_from(ended_ns))
        except LogError as error:
            log.warning("no snapshot was kept", extra={"error": str(error)})

    def _written(self, _: asyncio.Future[None]) -> None:
        self._writing = None
