"""The port for requests: each job answered once, in a bounded time.

Requests are made on a loop in a thread of its own: what a foreign server sends is parsed away from the engine.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aiohttp.abc import AbstractResolver

from apex_fast.domain import Job, JobResult
from apex_fast.executors.assignment import Assignment
from apex_fast.executors.http.exchange import Exchange, within
from apex_fast.executors.http.failure import HttpFailure, StatusFailure
from apex_fast.executors.http.guard import Guard
from apex_fast.executors.http.request import Secrets, read_request
from apex_fast.executors.loop_thread import LoopThread
from apex_fast.executors.outbox import Answer, Outbox
from apex_fast.executors.queue import FairQueue
from apex_fast.ports.executor import Deliver
from apex_fast.settings import HttpSettings

log = logging.getLogger(__name__)


class HttpExecutor:
    """Makes the requests of `http` nodes. Made on the engine's loop; see `ports/executor.py` for the promises.

    ``secrets``: (tenant, name) to the secret of a header. ``resolver``: who turns names into addresses, aiohttp's
    default where None. Raises ValueError where `http.allow_hosts` cannot be read.
    """

    kind: Final = "http"

    def __init__(
        self,
        deliver: Deliver,
        settings: HttpSettings,
        secrets: Secrets,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._settings = settings
        self._secrets = secrets
        self._resolver = resolver
        self._guard = Guard(settings.allow_hosts)
        self._here: dict[int, Assignment] = {}
        self._outbox = Outbox(self._collected)
        self._queue: FairQueue[Assignment] = FairQueue()
        self._thread: LoopThread | None = None
        self._done = 0
        self._closing = False
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        # Of the thread's loop alone:
        self._exchange: Exchange | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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
            # The thread comes with the first request: a house without http nodes has none.
            self._thread = LoopThread("apex-http")
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
        """Wait for what is in flight, then close the connections and end the thread."""
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
        """Begin as many requests as there is room for."""
        if self._exchange is None:
            self._exchange = Exchange(self._settings, self._guard, self._resolver)
        for assignment in self._queue.take(self._settings.in_flight_max - len(self._tasks)):
            if not assignment.ended:
                task = asyncio.get_running_loop().create_task(self._do(assignment, self._exchange))
                self._tasks.add(task)
                task.add_done_callback(self._freed)

    def _freed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if len(self._queue):
            self._fill()

    async def _do(self, assignment: Assignment, exchange: Exchange) -> None:
        if assignment.ended:
            return
        assignment.task = asyncio.current_task()
        result = await self._attempt(assignment, exchange)
        assignment.task = None
        assignment.ended = True
        self._outbox.put([(assignment, result)])

    async def _attempt(self, assignment: Assignment, exchange: Exchange) -> JobResult:
        job, attempt = assignment.job, assignment.attempt
        seconds = job.timeout_s or self._settings.timeout_s
        try:
            request = read_request(job.input, job.tenant, job.idempotency_key, self._secrets)
            return JobResult.ok(assignment.id, attempt, await within(seconds, exchange, request))
        except TimeoutError:
            return JobResult.timed_out(assignment.id, attempt, f"no complete answer within {seconds:g} s")
        except asyncio.CancelledError:
            return JobResult.cancelled(assignment.id, attempt, "cancelled")
        except StatusFailure as failure:
            return JobResult.failed(assignment.id, attempt, failure.type, str(failure), failure.retry_helps)
        except HttpFailure as failure:
            return JobResult.failed(assignment.id, attempt, failure.type, str(failure), failure.retryable)
        except Exception as error:
            log.exception("http node %s failed in a way that it should not", job.node)
            return JobResult.failed(assignment.id, attempt, type(error).__name__, "see the log of the gateway")

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
        if self._exchange is not None:
            await self._exchange.close()
