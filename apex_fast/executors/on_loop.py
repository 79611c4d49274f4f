"""What executors that only wait have in common: their jobs run as tasks of one loop, in a thread of its own.

What a foreign server sends is parsed away from the engine, and the thread comes with the first job: a house without
such nodes has none.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from apex_fast.domain import Job, JobResult
from apex_fast.executors.assignment import Assignment
from apex_fast.executors.loop_thread import LoopThread
from apex_fast.executors.outbox import Answer, Outbox
from apex_fast.fair_queue import FairQueue
from apex_fast.ports.executor import Deliver

C = TypeVar("C")


class LoopExecutor(ABC, Generic[C]):
    """Keeps the promises of `ports/executor.py` for jobs of which each is one coroutine. Made on the engine's loop.

    ``C`` is what they share on the loop of the thread: made with the first job, closed at the end.
    """

    kind: str

    def __init__(self, deliver: Deliver, in_flight_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._in_flight_max = in_flight_max
        self._here: dict[int, Assignment] = {}
        self._outbox = Outbox(self._collected)
        self._queue: FairQueue[Assignment] = FairQueue()
        self._thread: LoopThread | None = None
        self._done = 0
        self._closing = False
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        # Of the thread's loop alone:
        self._shared: C | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def _open(self) -> C:
        """What the jobs share; called on the loop of the thread."""

    @abstractmethod
    async def _attempt(self, assignment: Assignment, shared: C) -> JobResult:
        """One attempt. Raises nothing."""

    async def _shut(self, shared: C) -> None:
        """Close what the jobs shared."""

    def start(self, jobs: Sequence[Job]) -> None:
        """Take jobs; their results come to ``deliver``. Once it closes, jobs are left to the next owner of the log."""
        if self._closing:
            return
        items: list[tuple[str, str, Assignment]] = []
        for job in jobs:
            assignment = Assignment(job)
            older = self._here.get(assignment.id)
            if older is not None:
                self._outbox.put([(older, JobResult.cancelled(older.id, older.attempt, "handed out again"))])
                self.cancel([older.id])
            self._here[assignment.id] = assignment
            items.append((job.tenant, job.priority, assignment))
        self._queue.push(items)
        if self._thread is None:
            self._thread = LoopThread(f"apex-{self.kind}")
        self._thread.post(self._fill)

    def cancel(self, job_ids: Sequence[int]) -> None:
        """Ask for the end of jobs."""
        assignments = [self._here[job_id] for job_id in job_ids if job_id in self._here]
        if assignments and self._thread is not None:
            self._thread.post(self._stop, assignments)

    def stats(self) -> dict[str, int]:
        """Counters and gauges for metrics."""
        return {
            "done": self._done,
            "here": len(self._here),
            "queued": len(self._queue),
            "in_flight": len(self._tasks),
        }

    async def close(self, grace_s: float) -> None:
        """Wait for what is in flight, then close what the jobs shared and end the thread."""
        self._closing = True
        if self._here and grace_s > 0:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=grace_s)
        # What ends from here on ends because the house does: recorded, it would fail its run for that.
        self._closed = True
        if self._thread is not None:
            closed = asyncio.run_coroutine_threadsafe(self._leave(), self._thread.loop)
            await asyncio.wrap_future(closed)
            self._thread.stop()

    def _collected(self, answers: list[Answer]) -> None:
        if self._closed:
            return
        here = self._here
        results = []
        for assignment, result in answers:
            if here.get(assignment.id) is assignment:
                del here[assignment.id]
                results.append(result)
        if results:
            self._done += len(results)
            self._deliver(results)
        if not here and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    # --- on the loop of the thread ---

    def _fill(self) -> None:
        """Begin as many jobs as there is room for."""
        if self._shared is None:
            self._shared = self._open()
        for assignment in self._queue.take(self._in_flight_max - len(self._tasks)):
            if not assignment.ended:
                task = asyncio.get_running_loop().create_task(self._do(assignment, self._shared))
                self._tasks.add(task)
                task.add_done_callback(self._freed)

    def _freed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if len(self._queue):
            self._fill()

    async def _do(self, assignment: Assignment, shared: C) -> None:
        if assignment.ended:
            return
        assignment.task = asyncio.current_task()
        result = await self._attempt(assignment, shared)
        assignment.task = None
        assignment.ended = True
        self._outbox.put([(assignment, result)])

    def _stop(self, assignments: list[Assignment]) -> None:
        for assignment in assignments:
            if assignment.ended:
                continue
            if assignment.task is not None:
                assignment.task.cancel()
            else:
                assignment.ended = True
                result = JobResult.cancelled(assignment.id, assignment.attempt, "cancelled")
                self._outbox.put([(assignment, result)])

    async def _leave(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if self._shared is not None:
            await self._shut(self._shared)
