"""Results on their way to the engine's loop: one wake-up for all that came since the last one."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias

from apex_fast.domain import JobResult
from apex_fast.executors.assignment import Assignment

Answer: TypeAlias = tuple[Assignment, JobResult]


class Outbox:
    """Answers from any thread in; on the loop that made it, ``collected`` gets them in batches."""

    def __init__(self, collected: Callable[[list[Answer]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._collected = collected
        self._answers: deque[Answer] = deque()
        self._armed = False

    def put(self, answers: Iterable[Answer]) -> None:
        """Send answers on their way; after the loop has gone they are dropped."""
        self._answers.extend(answers)
        # Two threads may both find it unarmed: the second wake-up then collects nothing.
        if not self._armed:
            self._armed = True
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        # Disarmed before it is emptied: who adds from here on rings again.
        self._armed = False
        answers = self._answers
        if answers:
            self._collected([answers.popleft() for _ in range(len(answers))])
