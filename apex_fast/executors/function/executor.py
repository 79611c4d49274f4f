"""The port for functions: each job answered once, whatever its function does.

Lives on the engine's loop. A timer looks round while there is work: it pings the loop of the async functions, names
the function that stalls it, and gives up threads that do not come back from a call whose end was asked for.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from apex_fast.authoring import Function
from apex_fast.domain import Job, JobResult
from apex_fast.executors.assignment import Assignment
from apex_fast.executors.beats import Beats, OnBeats
from apex_fast.executors.function.coroutines import Coroutines
from apex_fast.executors.function.outcome import Outcomes, stopped
from apex_fast.executors.function.threads import Threads
from apex_fast.executors.outbox import Answer, Outbox
from apex_fast.fair_queue import FairQueue
from apex_fast.ports.executor import Deliver
from apex_fast.settings import FunctionSettings

log = logging.getLogger(__name__)
LOOK_ROUND_S: Final = 0.05
# A job that was in flight at this many stalls, never known as the cause and never cleared, fails as well.
STALLS_MAX: Final = 3


class FunctionExecutor:
    """Runs the functions of an App. Made on the engine's loop; see `ports/executor.py` for the promises.

    A failed attempt has one of these types: the name of the exception's class, `InvalidArguments`, `InvalidResult`,
    `UnknownFunction`, `FunctionStalled`, or `TooManyStuckThreads`.
    """

    kind: Final = "function"

    def __init__(
        self,
        functions: Mapping[str, Function],
        deliver: Deliver,
        settings: FunctionSettings,
        on_beats: OnBeats = lambda _: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._functions = functions
        self._deliver = deliver
        self._settings = settings
        self._here: dict[int, Assignment] = {}
        self._beats = Beats(on_beats)
        self._outbox = Outbox(self._collected)
        self._outcomes = Outcomes(settings.result_bytes_max)
        self._async_queue: FairQueue[Assignment] = FairQueue()
        self._sync_queue: FairQueue[Assignment] = FairQueue()
        self._threads = Threads(
            self._sync_queue,
            self._outbox,
            self._outcomes,
            count_max=settings.threads,
        )
        self._loops = 0
        self._coroutines: Coroutines | None = None
        self._abandoned: list[Coroutines] = []
        self._suspects: set[Assignment] = set()
        """Jobs in flight at a stall whose cause was not seen: they run again one at a time."""
        self._stuck: dict[Assignment, float] = {}
        """Answered calls in threads, with the time at which the thread is given up."""
        self._pinged_s: float | None = None
        self._looked_s = 0.0
        self._silent_s = 0.0
        """How long the loop has owed its answer to the ping, as far as this thread was there to wait for it."""
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self._counters = {"done": 0, "stalls": 0, "threads_left_behind": 0}

    # --- the port ---

    def start(self, jobs: Sequence[Job]) -> None:
        """Take jobs; their results come to ``deliver``. Once it closes, jobs are left to the next owner of the log."""
        if self._closing:
            return
        functions = self._functions
        here = self._here
        async_items: list[tuple[str, str, Assignment]] = []
        sync_items: list[tuple[str, str, Assignment]] = []
        refused: list[JobResult] = []
        for job in jobs:
            function = functions.get(job.name)
            if function is None:
                refused.append(self._unknown(job))
                continue
            assignment = Assignment(job, function, self._beats)
            older = here.get(assignment.id)
            if older is not None:
                refused.append(JobResult.cancelled(older.id, older.attempt, "handed out again"))
                self._end([older])
            here[assignment.id] = assignment
            (async_items if function.is_async else sync_items).append((job.tenant, job.priority, assignment))
        if async_items:
            self._async_queue.push(async_items)
            self._wake_coroutines()
        if sync_items:
            self._sync_queue.push(sync_items)
            self._threads.wake([item[2].function.name for item in sync_items if item[2].function is not None])
        if refused:
            self._loop.call_soon(self._deliver, refused)
        if self._timer is None and here:
            self._timer = self._loop.call_later(LOOK_ROUND_S, self._look_round)

    def cancel(self, job_ids: Sequence[int]) -> None:
        """Ask for the end of jobs; one that does not end within the grace is answered all the same."""
        assignments = [self._here[job_id] for job_id in job_ids if job_id in self._here]
        self._end(assignments)

    def stats(self) -> dict[str, int]:
        """Counters and gauges for metrics."""
        coroutines = self._coroutines
        return {
            **self._counters,
            "here": len(self._here),
            "async_queued": len(self._async_queue),
            "async_in_flight": 0 if coroutines is None else coroutines.in_flight(),
            "sync_queued": len(self._sync_queue),
            "sync_in_flight": len(self._threads.running()),
            "threads_stuck": self._threads.abandoned() + self._loops_stuck(),
        }

    async def close(self, grace_s: float) -> None:
        """Wait for what is in flight, then end threads and loops."""
        self._closing = True
        if self._here and grace_s > 0:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=grace_s)
        # What ends from here on ends because the house does: recorded, it would fail its run for that.
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._threads.stop()
        if self._coroutines is not None:
            self._coroutines.stop()

    # --- answers ---

    def _collected(self, answers: list[Answer]) -> None:
        if self._closed:
            return
        here = self._here
        results = []
        for assignment, result in answers:
            # An answer of an abandoned loop, or one that comes after the job was answered, is dropped here.
            if here.get(assignment.id) is assignment:
                del here[assignment.id]
                results.append(result)
        if self._suspects:
            self._clear([assignment for assignment, _ in answers])
        self._answered(results)

    def _answered(self, results: list[JobResult]) -> None:
        if results:
            self._beats.flush()
            self._counters["done"] += len(results)
            self._deliver(results)
        if not self._here and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _unknown(self, job: Job) -> JobResult:
        known = ", ".join(sorted(self._functions)[:20]) or "none"
        message = f"no function {job.name!r} is registered here; registered: {known}"
        return JobResult.failed(job.id, job.attempt, "UnknownFunction", message, False)

    def _end(self, assignments: list[Assignment]) -> None:
        """Ask for the end: async calls are cancelled; plain ones are answered now, for they cannot be."""
        answers: list[Answer] = []
        on_loop: list[Assignment] = []
        for assignment in assignments:
            if assignment.function is not None and assignment.function.is_async:
                on_loop.append(assignment)
            elif not assignment.ended:
                assignment.stopped_by = assignment.stopped_by or "cancel"
                assignment.ended = True
                if assignment.owner is not None:
                    self._stuck[assignment] = time.monotonic() + self._settings.cancel_grace_s
                answers.append((assignment, stopped(assignment)))
        if on_loop and self._coroutines is not None:
            self._coroutines.cancel(on_loop)
        if answers:
            self._outbox.put(answers)

    # --- the loop of the async functions ---

    def _wake_coroutines(self) -> None:
        if self._coroutines is None:
            if self._too_many_stuck():
                self._refuse(self._async_queue)
                return
            self._loops += 1
            self._pinged_s = None
            self._coroutines = Coroutines(
                self._async_queue,
                self._outbox,
                self._outcomes,
                in_flight_max=1 if self._suspects else self._settings.async_in_flight_max,
                timeout_s=self._settings.timeout_s,
                cancel_grace_s=self._settings.cancel_grace_s,
                name=f"apex-async-functions-{self._loops}",
            )
        self._coroutines.wake()

    def _too_many_stuck(self) -> bool:
        return self._loops_stuck() + self._threads.abandoned() >= self._settings.abandoned_threads_max

    def _loops_stuck(self) -> int:
        self._abandoned = [loop for loop in self._abandoned if loop.is_alive()]
        return len(self._abandoned)

    def _refuse(self, queue: FairQueue[Assignment]) -> None:
        message = (
            f"{self._settings.abandoned_threads_max} threads are held by functions that never return "
            "(functions.abandoned_threads_max); no more are started until one lets go"
        )
        refused = queue.take(len(queue))
        self._outbox.put(
            (a, JobResult.failed(a.id, a.attempt, "TooManyStuckThreads", message)) for a in refused if not a.ended
        )

    def _stalled(self, coroutines: Coroutines) -> None:
        culprit = coroutines.culprit()
        in_flight = [a for a in self._here.values() if a.owner is coroutines and not a.ended]
        if culprit is None and len(in_flight) == 1:
            culprit = in_flight[0]
        why = f"held the loop for more than {self._settings.stall_timeout_s:g} s"
        self._leave_behind(coroutines, culprit, why, cause_unknown=culprit is None)

    def _leave_behind(
        self, coroutines: Coroutines, culprit: Assignment | None, why: str, *, cause_unknown: bool
    ) -> None:
        """Go on with a new loop: fail the culprit, and run its neighbours again."""
        coroutines.abandon()
        self._coroutines = None
        self._abandoned.append(coroutines)
        self._counters["stalls"] += 1
        self._counters["threads_left_behind"] += 1
        again: list[tuple[str, str, Assignment]] = []
        failed: list[Answer] = []
        for assignment in [a for a in self._here.values() if a.owner is coroutines]:
            if assignment is culprit or assignment.stalls + 1 >= STALLS_MAX:
                failed.append((assignment, self._stall_result(assignment, assignment is culprit, why)))
                continue
            twin = Assignment(assignment.job, assignment.function, self._beats)
            twin.stalls = assignment.stalls + cause_unknown
            self._here[twin.id] = twin
            again.append((twin.job.tenant, twin.job.priority, twin))
            self._suspects.discard(assignment)
            if cause_unknown:
                self._suspects.add(twin)
        log.error(
            "%s %s; its thread is left behind, %d neighbours run again",
            "async functions" if culprit is None else f"function {culprit.job.name} (node {culprit.job.node})",
            why,
            len(again),
        )
        if failed:
            self._collected(failed)
        self._async_queue.push(again)
        if len(self._async_queue):
            self._wake_coroutines()

    def _stall_result(self, assignment: Assignment, is_culprit: bool, why: str) -> JobResult:
        message = (
            f"async function {assignment.job.name} {why}: it must not block; use `def`, or asyncio.to_thread"
            if is_culprit
            else f"async function {assignment.job.name} was in flight at {STALLS_MAX} stalls of the loop"
        )
        return JobResult.failed(assignment.id, assignment.attempt, "FunctionStalled", message)

    def _clear(self, answered: list[Assignment]) -> None:
        self._suspects.difference_update(answered)
        if not self._suspects and self._coroutines is not None:
            self._coroutines.in_flight_max = self._settings.async_in_flight_max
            self._coroutines.wake()

    # --- the timer ---

    def _look_round(self) -> None:
        now_s = time.monotonic()
        self._look_at_loop(now_s)
        self._looked_s = now_s
        self._look_at_threads(now_s)
        # What stays to be watched after the last answer: threads in calls that were answered for.
        if self._here or self._stuck:
            self._timer = self._loop.call_later(LOOK_ROUND_S, self._look_round)
        else:
            self._timer = None
            self._pinged_s = None

    def _look_at_loop(self, now_s: float) -> None:
        coroutines = self._coroutines
        if coroutines is None:
            if len(self._async_queue):
                self._wake_coroutines()
            return
        if self._pinged_s is None or coroutines.pong_s >= self._pinged_s:
            if self._pinged_s is None or now_s - self._pinged_s >= min(0.25, self._settings.stall_timeout_s / 4):
                self._pinged_s = now_s
                self._silent_s = 0.0
                coroutines.ping()
        else:
            # Where this thread was late as well, the process stood still, and no function is to blame for that.
            self._silent_s += min(now_s - self._looked_s, 2 * LOOK_ROUND_S)
            if self._silent_s >= self._settings.stall_timeout_s:
                self._stalled(coroutines)
                return
        if coroutines.zombies * 2 > self._settings.async_in_flight_max:
            self._leave_behind(
                coroutines, None, "that do not end when cancelled hold half the places", cause_unknown=False
            )

    def _look_at_threads(self, now_s: float) -> None:
        limit_s = self._settings.timeout_s
        for assignment, since_s in self._threads.running():
            if limit_s and not assignment.ended and assignment.job.timeout_s is None and now_s - since_s >= limit_s:
                assignment.stopped_by = "timeout"
                self._end([assignment])
        running = None
        for assignment, until_s in list(self._stuck.items()):
            if now_s < until_s:
                continue
            if running is None:
                running = {found for found, _ in self._threads.running()}
            if assignment not in running:
                del self._stuck[assignment]
            elif not self._too_many_stuck():
                del self._stuck[assignment]
                self._counters["threads_left_behind"] += 1
                log.error(
                    "function %s (node %s) goes on after its end was asked for; its thread is left behind",
                    assignment.job.name,
                    assignment.job.node,
                )
                self._threads.abandon(assignment)
        if len(self._sync_queue):
            self._threads.nudge()
            calls = self._threads.running()
            if (
                len(calls) == self._settings.threads
                and all(found.ended for found, _ in calls)
                and self._too_many_stuck()
            ):
                self._refuse(self._sync_queue)
