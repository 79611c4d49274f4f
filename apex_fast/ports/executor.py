"""The doing of work: jobs in, one result for each."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from apex_fast.domain import Job, JobResult

Deliver: TypeAlias = Callable[[Sequence[JobResult]], None]
"""Takes results to the engine; called on the engine's loop, in batches."""


class Executor(Protocol):
    """Does the jobs of one kind, away from the engine's loop. Given its ``Deliver`` when it is made.

    Promises, each a test of ``tests/unit/executors``:

    1. ``start`` and ``cancel`` are called on the engine's loop and never block it.
    2. Every job gets exactly one result, also one that is cancelled, stuck, unknown or was never begun.
    3. Nothing that user code does (raises, exits, stalls, never returns) ends the executor or the engine.
    4. What is in flight is bounded; what waits goes on fairly by tenant, then by priority.
    5. A result that comes after its job was answered changes nothing and is not delivered.
    """

    @property
    def kind(self) -> str:
        """The kind of job: ``function`` or ``http``."""

    def start(self, jobs: Sequence[Job]) -> None:
        """Take jobs; their results come to ``Deliver``."""

    def cancel(self, job_ids: Sequence[int]) -> None:
        """Ask for the end of jobs; ids that are not here (done, or another executor's) are ignored."""

    def stats(self) -> dict[str, int]:
        """Counters and gauges for metrics."""

    async def close(self, grace_s: float) -> None:
        """Take nothing new, wait up to ``grace_s`` for what is in flight, then end threads and connections.

        What is not done by then gets no result: its job is handed out again by the next owner of the log.
        """
