"""One job, from the moment an executor has it to its answer."""

import asyncio

from apex_fast.authoring import Function
from apex_fast.domain import Job
from apex_fast.executors.beats import Beats


class Assignment:
    """A job in the hands of an executor. Written by whoever runs it; answered once, by the executor."""

    __slots__ = (
        "attempt", "beats", "ended", "function", "id", "job", "owner", "stalls", "stopped_by", "task",
    )  # fmt: skip

    def __init__(self, job: Job, function: Function | None = None, beats: Beats | None = None) -> None:
        self.job = job
        self.id = job.id
        self.attempt = job.attempt
        self.function = function
        self.beats = beats
        self.owner: object = None
        """Who has taken it from the queue; None while it waits."""
        self.task: asyncio.Task[None] | None = None
        self.stopped_by = ""
        """`cancel` or `timeout` once its end was asked for."""
        self.ended = False
        self.stalls = 0
        """How many stalls it was in flight at without being known as their cause."""

    @property
    def is_cancelled(self) -> bool:
        """Its end was asked for, or it was answered for."""
        return bool(self.stopped_by) or self.ended

    def beat(self, progress: bytes) -> None:
        """A sign of life, from any thread."""
        if self.beats is not None:
            self.beats.put(self.id, self.attempt, progress)
