"""Heartbeats on their way to the engine's loop: the newest of each job, ten times a second at most."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Final, TypeAlias

from apex_fast.domain import Heartbeat

DELAY_S: Final = 0.1

OnBeats: TypeAlias = Callable[[Sequence[Heartbeat]], None]


class Beats:
    """Made on the engine's loop; `put` may be called from any thread, `flush` on the loop."""

    def __init__(self, deliver: OnBeats) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._lock = Lock()
        self._newest: dict[int, tuple[int, bytes]] = {}
        self._armed = False

    def put(self, job_id: int, attempt: int, progress: bytes) -> None:
        """A job lives. An empty progress keeps what it said before."""
        with self._lock:
            before = self._newest.get(job_id)
            if not progress and before is not None:
                progress = before[1]
            self._newest[job_id] = (attempt, progress)
            if self._armed:
                return
            self._armed = True
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        self._loop.call_later(DELAY_S, self.flush)

    def flush(self) -> None:
        """Deliver what has come; before the results that follow it."""
        with self._lock:
            newest, self._newest = self._newest, {}
            self._armed = False
        if newest:
            self._deliver([Heartbeat(job, attempt, said or None) for job, (attempt, said) in newest.items()])
