"""One job, from the moment an executor has it to its answer."""

import asyncio

from apex_fast.authoring import Function
from apex_fast.domain import Job


class Assignment:
    """A job in the hands of an executor. Written by whoever runs it; answered once, by the executor."""

    __slots__ = ("attempt", "ended", "function", "id", "job", "owner", "stalls", "stopped_by", "task")

    def __init__(self, job: Job, function: Function | None = None) -> None:
        self.job = job
        self.id = job.id
        self.attempt = job.attempt
        self.function = function
        self.owner: object = None
        """Who has taken it from the queue; None while it waits."""
        self.task: asyncio.Task[None] | None = None
        self.stopped_by = ""
        """`cancel` or `timeout` once its end was asked for."""
        self.ended = False
        self.stalls = 0
        """How many stalls it was in flight at without being known as their cause."""
