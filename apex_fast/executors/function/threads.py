"""Plain functions, in a bounded pool of threads.

Threads take from the fair queue themselves, one job at a time, until it is empty: a batch of quick functions costs
one wake-up and one delivery. How many threads are woken depends on how long each function took lately, so that
no-ops do not fight for the interpreter and sleepers do not wait for each other. A thread that does not come back
from a call that was cancelled or timed out is left behind and replaced.
"""

import threading
import time
from collections.abc import Iterable
from contextvars import Context
from typing import Final

from apex_fast.authoring import Function
from apex_fast.authoring.job_context import running_job
from apex_fast.executors.assignment import Assignment
from apex_fast.executors.function.outcome import Outcomes
from apex_fast.executors.loop_thread import Abandoned, interrupt
from apex_fast.executors.outbox import Answer, Outbox
from apex_fast.fair_queue import FairQueue

# A function that takes less lately is not worth a thread of its own (waking one costs 10 to 50 µs).
QUICK_S: Final = 200e-6
# A thread hands over what it has at least this often, and after this many results.
DELIVER_S: Final = 1e-3
DELIVER_MAX: Final = 128


def _call(assignment: Assignment, function: Function) -> object:
    running_job.set(assignment)
    return function.call(*function.arguments(assignment.job.input))


class _Worker:
    """One thread of the pool."""

    __slots__ = ("abandoned", "bell", "current", "since_s", "thread")

    def __init__(self) -> None:
        self.bell = threading.Lock()
        self.bell.acquire()
        self.current: Assignment | None = None
        self.since_s = 0.0
        self.abandoned = False
        self.thread: threading.Thread


class Threads:
    """Takes assignments from a queue and runs them."""

    def __init__(self, queue: FairQueue[Assignment], outbox: Outbox, outcomes: Outcomes, *, count_max: int) -> None:
        self._queue = queue
        self._outbox = outbox
        self._count_max = count_max
        self._outcomes = outcomes
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._abandoned: list[_Worker] = []
        self._took_s: dict[str, float] = {}
        self._number = 0
        self._closing = False

    # --- on the engine's loop ---

    def wake(self, names: Iterable[str]) -> None:
        """Jobs of these functions were put into the queue."""
        took = self._took_s
        slow = quick = 0
        for name in names:
            if took.get(name, QUICK_S) < QUICK_S:
                quick = 1
            else:
                slow += 1
        for _ in range(min(slow + quick, self._count_max)):
            if not self._ring():
                break

    def nudge(self) -> None:
        """Something waits although threads are idle: the guess in `wake` was wrong."""
        for _ in range(min(len(self._queue), self._count_max)):
            if not self._ring():
                break

    def running(self) -> list[tuple[Assignment, float]]:
        """Jobs in calls, with the time at which each began."""
        return [(worker.current, worker.since_s) for worker in list(self._workers) if worker.current is not None]

    def abandon(self, assignment: Assignment) -> None:
        """Leave the thread behind that is in this job's call; another one takes its place."""
        for worker in list(self._workers):
            if worker.current is assignment:
                worker.abandoned = True
                self._workers.remove(worker)
                self._abandoned.append(worker)
                interrupt(worker.thread)
                self.nudge()
                return

    def abandoned(self) -> int:
        """How many threads were left behind and have not ended."""
        self._abandoned = [worker for worker in self._abandoned if worker.thread.is_alive()]
        return len(self._abandoned)

    def stop(self) -> None:
        """End the threads that are not in a call."""
        self._closing = True
        for worker in list(self._workers):
            if worker.bell.locked():
                worker.bell.release()

    def _ring(self) -> bool:
        try:
            worker = self._idle.pop()
        except IndexError:
            return self._add()
        worker.bell.release()
        return True

    def _add(self) -> bool:
        if len(self._workers) >= self._count_max or self._closing:
            return False
        worker = _Worker()
        self._number += 1
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"apex-function-{self._number}", daemon=True
        )
        self._workers.append(worker)
        worker.thread.start()
        return True

    # --- in a thread ---

    def _work(self, worker: _Worker) -> None:
        done: list[Answer] = []
        delivered_s = time.monotonic()
        try:
            while not self._closing:
                taken = self._queue.take(1)
                if not taken:
                    if done:
                        self._outbox.put(done)
                        done = []
                    self._idle.append(worker)
                    # Looked at again after it counts as idle: what came in between rang for nobody.
                    if len(self._queue):
                        self._unidle(worker)
                    else:
                        worker.bell.acquire()
                    continue
                assignment = taken[0]
                if assignment.ended:
                    continue
                result, began_s, ended_s = self._run(worker, assignment)
                if worker.abandoned:
                    return
                if result is not None:
                    done.append(result)
                if ended_s - began_s > QUICK_S or ended_s - delivered_s > DELIVER_S or len(done) >= DELIVER_MAX:
                    self._outbox.put(done)
                    done = []
                    delivered_s = ended_s
        except Abandoned:
            # It came late, after the call: the thread is replaced already, and what it holds still counts.
            worker.abandoned = True
        finally:
            self._outbox.put(done)

    def _unidle(self, worker: _Worker) -> None:
        try:
            self._idle.remove(worker)
        except ValueError:
            # Rung for in this moment.
            worker.bell.acquire()

    def _run(self, worker: _Worker, assignment: Assignment) -> tuple[Answer | None, float, float]:
        function = assignment.function
        assert function is not None
        assignment.owner = worker
        worker.since_s = began_s = time.monotonic()
        worker.current = assignment
        try:
            result = Context().run(_call, assignment, function)
            answer = self._outcomes.ok(assignment, function, result)
        except Abandoned:
            raise
        except BaseException as error:
            answer = self._outcomes.failed(assignment, error)
        worker.current = None
        ended_s = time.monotonic()
        took_s = self._took_s.get(function.name)
        now_s = ended_s - began_s
        self._took_s[function.name] = now_s if took_s is None else took_s * 0.8 + now_s * 0.2
        return (None if assignment.ended else (assignment, answer)), began_s, ended_s
