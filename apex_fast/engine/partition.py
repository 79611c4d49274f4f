"""The loop round the machine: the only place where a run's state changes.

One turn: take a batch from the inbox, ``machine.step``, ``event_log.append``. When the log says that a position is
durable: ``machine.advance``, then jobs to the executors, replies to their askers, events to the feed. No action and
no answer leaves before that (invariant 1). A read is a view taken now and shown once what it shows is durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from apex_fast.domain import (
    ApprovalView,
    BreakerView,
    Command,
    DeadLetterView,
    Ended,
    Event,
    Heartbeat,
    Job,
    JobResult,
    LogError,
    Machine,
    ReplayRun,
    Reply,
    RunView,
    ScheduleView,
    StartRun,
    SupplyHistory,
    TagView,
    Tick,
    Turn,
    WorkflowPatchView,
    WorkflowView,
)
from apex_fast.engine.feed import Feed
from apex_fast.engine.inbox import Inbox
from apex_fast.engine.origins import records_of
from apex_fast.engine.snapshots import Snapshots
from apex_fast.errors import Overloaded, Unavailable
from apex_fast.ports.clock import Clock
from apex_fast.ports.event_log import EventLog
from apex_fast.ports.executor import Executor

log = logging.getLogger(__name__)
T = TypeVar("T")
OnReply = Callable[[Reply], None]

STARTS = (StartRun, ReplayRun)
WAITS_FOR_ROOM = frozenset({"FULL", "QUEUE_FULL"})
ROOM_POLL_S = 0.05


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of the house (invariant 10)."""

    starts_queued_max: int = 20_000
    starts_queued_bytes_max: int = 64 << 20
    starts_per_turn_max: int = 2_000
    jobs_pending_max: int = 50_000
    snapshot_every_records: int = 2_000_000
    snapshot_every_bytes: int = 1 << 30
    retention_s: float = 0.0
    """How long the history of an ended run is kept; 0: for ever."""


class Engine:
    """Commands in, durable replies out. Every method is called on the loop that made it."""

    def __init__(
        self,
        machine: Machine,
        event_log: EventLog,
        clock: Clock,
        limits: EngineLimits = EngineLimits(),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._machine = machine
        self._log = event_log
        self._clock = clock
        self._limits = limits
        self._executors: Mapping[str, Executor] = {}
        self._inbox = Inbox(limits.starts_queued_max, limits.starts_queued_bytes_max, limits.starts_per_turn_max)
        self._replies: dict[int, OnReply] = {}
        self._token = 0
        self._turn_scheduled = False
        self._held: Turn | None = None
        self._durable = event_log.durable()
        # Where the machine stands; ahead of `_appended` while a turn is held.
        self._decided = self._appended = self._durable
        self._snapshots = Snapshots(
            machine,
            event_log,
            clock,
            limits.snapshot_every_records,
            limits.snapshot_every_bytes,
            limits.retention_s,
        )
        self._reads: deque[tuple[int, Callable[[], None]]] = deque()
        self._wanting: deque[Callable[[], None]] = deque()
        self._waiters: dict[str, dict[Callable[[], None], None]] = {}
        self._on_ended: list[Callable[[list[Ended]], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due: int | None = None
        self._supplying: set[asyncio.Task[None]] = set()
        self._jobs_pending = 0
        self._closing = False
        self._failure: LogError | None = None
        self._idle: asyncio.Future[None] | None = None
        self._failed: asyncio.Future[LogError] = self._loop.create_future()
        self.feed = Feed()
        event_log.on_durable(self._on_durable, self._on_failure)

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self, executors: Mapping[str, Executor]) -> int:
        """Hand out again what was in flight, and set the clock going. Returns the number of jobs handed out."""
        self._executors = executors
        jobs = self._machine.recovered()
        self._hand_out(jobs)
        for tenant, run_id, origin in self._machine.histories_wanted():
            supplying = self._loop.create_task(self._supply(tenant, run_id, origin))
            self._supplying.add(supplying)
            supplying.add_done_callback(self._supplying.discard)
        self._schedule()
        return len(jobs)

    async def _supply(self, tenant: str, run_id: str, origin: str) -> None:
        """Give a run that replays another one what it lost with the process."""
        records = await records_of(self._log, self._machine.run(tenant, origin))
        self._inbox.control(0, SupplyHistory(run_id, records))
        self._schedule()

    @property
    def has_failed(self) -> bool:
        """Whether the log has failed."""
        return self._failure is not None

    async def failed(self) -> LogError:
        """Wait until the log fails; after that nothing is acknowledged any more and the process must end."""
        return await asyncio.shield(self._failed)

    async def answer(self, grace_s: float) -> None:
        """Refuse new commands, and wait up to ``grace_s`` for the answers of those that were accepted. Runs go on."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        await self._until(lambda: not self._replies and not self._reads, grace_s)

    async def drain(self, grace_s: float = 60.0) -> None:
        """`answer`, wait until all that was decided is durable as well, keep a snapshot.

        For when the executors are closed: while they work there is always more to decide. What is not durable after
        ``grace_s`` (a full disk) was acknowledged to nobody.
        """
        began_s = self._loop.time()
        await self.answer(grace_s)
        left_s = max(0.0, began_s + grace_s - self._loop.time())
        await self._until(
            lambda: not self._inbox and not self._turn_scheduled and self._durable >= self._decided, left_s
        )
        if self._failure is None and self._durable == self._decided:
            await self._snapshots.last(self._durable)

    async def _until(self, is_so: Callable[[], bool], grace_s: float) -> None:
        """Wait until something is so after a turn, the log fails, or the grace is over."""
        until_s = self._loop.time() + grace_s
        while self._failure is None and not is_so() and (left_s := until_s - self._loop.time()) > 0:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=left_s)

    # --- commands -------------------------------------------------------------------------------------------------

    def submit(self, command: Command, on_reply: OnReply, size: int = 0) -> None:
        """Queue a command of about ``size`` bytes; ``on_reply`` is called once its answer is durable.

        Raises Overloaded (starts only, when the house is full) and Unavailable (stopping, or the log failed).
        """
        if self._closing or self._failure is not None:
            raise Unavailable(
                "the gateway is stopping" if self._failure is None else f"the log failed: {self._failure}"
            )
        self._token = token = self._token + 1
        if isinstance(command, STARTS):
            if not self._log.has_room():
                raise Overloaded(
                    "the disk of the log is nearly full; free some space", code="DISK_FULL", retry_after_s=5.0
                )
            if self._jobs_pending >= self._limits.jobs_pending_max or not self._inbox.start(token, command, size):
                raise Overloaded(
                    f"{self._jobs_pending} jobs and {len(self._inbox)} commands are waiting",
                    retry_after_s=1.0,
                )
        else:
            self._inbox.control(token, command)
        self._replies[token] = on_reply
        self._schedule()

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back after a turn that leaves room for starts, once; for those that were refused with OVERLOADED."""
        self._wanting.append(callback)

    def _offer_room(self) -> None:
        wanting = self._wanting
        while wanting and self._jobs_pending < self._limits.jobs_pending_max and self._inbox.has_room():
            wanting.popleft()()

    async def call(self, command: Command) -> Reply:
        """`submit` as an awaitable. Raises Unavailable where the log fails before the answer is durable."""
        future: asyncio.Future[Reply] = self._loop.create_future()

        def resolve(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply)

        self.submit(command, resolve)
        await asyncio.wait((future, self._failed), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise Unavailable(f"the log failed, and whether this was kept is unknown: {self._failure}")
        return future.result()

    def deliver(self, results: Sequence[JobResult]) -> None:
        """Outcomes from the executors."""
        self._jobs_pending -= len(results)
        self._inbox.results(list(results))
        self._schedule()

    def beat(self, beats: Sequence[Heartbeat]) -> None:
        """Signs of life from the executors."""
        self._inbox.beats(beats)
        self._schedule()

    # --- reads ----------------------------------------------------------------------------------------------------

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back once all that is decided by now is durable: at once if it is.

        Raises Unavailable where it never will be, because the log has failed.
        """
        if self._durable >= self._decided:
            callback()
        elif self._failure is not None:
            raise Unavailable(f"the log failed: {self._failure}")
        else:
            self._reads.append((self._decided, callback))

    async def _shown(self, view: T) -> T:
        future: asyncio.Future[None] = self._loop.create_future()
        self.when_durable(lambda: None if future.done() else future.set_result(None))
        if not future.done():
            await asyncio.wait((future, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise Unavailable(f"the log failed: {self._failure}")
        return view

    def run(self, tenant: str, run_id: str) -> RunView | None:
        """The run as decided by now; show it only after `when_durable`."""
        return self._machine.run(tenant, run_id)

    def runs(
        self,
        tenant: str,
        limit: int,
        page: str = "",
        states: Sequence[str] | None = None,
        workflow: str = "",
        version: str = "",
        labels: dict[str, str] | None = None,
        started_after_ns: int | None = None,
        started_before_ns: int | None = None,
        parent_run_id: str = "",
    ) -> tuple[list[RunView], str]:
        """Runs, newest first, as decided by now; show them only after `when_durable`."""
        return self._machine.runs(
            tenant, limit, page, states, workflow, version, labels, started_after_ns, started_before_ns, parent_run_id
        )

    def approvals(self, tenant: str, limit: int, page: str = "", run_id: str = "") -> tuple[list[ApprovalView], str]:
        """Open approvals as decided by now; show them only after `when_durable`."""
        return self._machine.approvals(tenant, limit, page, run_id)

    def dead_letters(
        self, tenant: str, limit: int, page: str = "", workflow: str = "", function: str = "", run_id: str = ""
    ) -> tuple[list[DeadLetterView], str]:
        """Dead letters, newest first, as decided by now; show them only after `when_durable`."""
        return self._machine.dead_letters(tenant, limit, page, workflow, function, run_id)

    async def dead_letter(self, tenant: str, letter_id: str) -> DeadLetterView | None:
        """One that is listed, durably; None: it is not. Raises Unavailable where the log fails."""
        return await self._shown(self._machine.dead_letter(tenant, letter_id))

    def breakers(self, tenant: str, limit: int, page: str = "") -> tuple[list[BreakerView], str]:
        """Breakers by name, as decided by now; show them only after `when_durable`."""
        return self._machine.breakers(tenant, limit, page)

    def query(self, tenant: str, run_id: str, expression: str) -> tuple[bytes, int, int]:
        """JSON, offset and epoch of a question about a run; show them only after `when_durable`. Raises CoreError."""
        return self._machine.query(tenant, run_id, expression)

    def definition_of(self, tenant: str, run_id: str) -> tuple[bytes, int]:
        """What an open run goes on under, and its epoch; show them only after `when_durable`. Raises CoreError."""
        return self._machine.definition_of(tenant, run_id)

    def workflows(self, tenant: str) -> list[WorkflowView]:
        """Registered versions as decided by now; show them only after `when_durable`."""
        return self._machine.workflows(tenant)

    def workflow(
        self, tenant: str, name: str, version: str | None = None, tag: str | None = None
    ) -> WorkflowView | None:
        """A registered version with its definition; show it only after `when_durable`."""
        return self._machine.workflow(tenant, name, version, tag)

    def schedule(self, tenant: str, name: str) -> ScheduleView | None:
        """A schedule as decided by now; show it only after `when_durable`."""
        return self._machine.schedule(tenant, name)

    def schedules(self, tenant: str, limit: int, page: str = "") -> tuple[list[ScheduleView], str]:
        """Schedules by name, as decided by now; show them only after `when_durable`."""
        return self._machine.schedules(tenant, limit, page)

    def workflow_patches(
        self, tenant: str, workflow: str, set_key: str, limit: int, page: str = ""
    ) -> tuple[list[WorkflowPatchView], str]:
        """Patches on a workflow, newest first, as decided by now; show them only after `when_durable`."""
        return self._machine.workflow_patches(tenant, workflow, set_key, limit, page)

    def workflow_patch(self, tenant: str, patch_id: str) -> WorkflowPatchView | None:
        """A patch on a workflow as decided by now; show it only after `when_durable`."""
        return self._machine.workflow_patch(tenant, patch_id)

    def arms(self, tenant: str, workflow: str, tag: str) -> TagView | None:
        """A tag and its arms as decided by now; show them only after `when_durable`."""
        return self._machine.arms(tenant, workflow, tag)

    def timeline(self, view: RunView, from_offset: int, limit: int) -> list[Event]:
        """Durable events of a run, ascending; call it after `when_durable`."""
        return self._log.timeline(view.head, from_offset, limit)

    def event_at(self, position: int, offset: int) -> Event | None:
        """The durable event of a run at an offset, which stands at a position of the log. None: it is not kept."""
        found = self._log.timeline(position, offset, 1)
        return found[0] if found else None

    def when_ended(self, run_id: str, callback: Callable[[], None]) -> None:
        """Call back once the run has ended, durably. For a run that has not ended yet."""
        self._waiters.setdefault(run_id, {})[callback] = None

    def forget(self, run_id: str, callback: Callable[[], None]) -> None:
        """Undo `when_ended`."""
        waiters = self._waiters.get(run_id, {})
        if waiters.pop(callback, callback) is None and not waiters:
            del self._waiters[run_id]

    def on_ended(self, callback: Callable[[list[Ended]], None]) -> None:
        """Name who is told of ended runs, one more."""
        self._on_ended.append(callback)

    async def read_run(self, tenant: str, run_id: str) -> RunView | None:
        """`run`, shown when durable."""
        return await self._shown(self._machine.run(tenant, run_id))

    async def read_timeline(self, tenant: str, run_id: str, from_offset: int, limit: int) -> list[Event] | None:
        """`timeline`, shown when durable; None where the tenant has no such run."""
        view = await self.read_run(tenant, run_id)
        return None if view is None else self._log.timeline(view.head, from_offset, limit)

    def patch_counts(self) -> list[tuple[tuple[str, str, str], int]]:
        """Patches since the process began: ((kind of author, outcome, gate), how many)."""
        return self._machine.patch_counts()

    def counts(self) -> dict[str, int]:
        """Gauges of machine, log and queues."""
        return {
            **self._machine.counts(),
            **{f"log_{name}": value for name, value in self._log.stats().items()},
            "inbox": len(self._inbox),
            "jobs_pending": self._jobs_pending,
            "position": self._appended,
            "durable": self._durable,
        }

    # --- the turn -------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self._failure is not None or (self._held is not None and not self._append(self._held)):
            return
        batch = self._inbox.take()
        try:
            turn = self._machine.step(self._clock.now_ns(), batch)
        except Exception as error:
            # What was in the batch is not decided: nothing may be decided after it either.
            self._on_failure(LogError("INTERNAL", str(error)))
            return
        if turn.count:
            self._decided = turn.position
            self._snapshots.decided(turn)
            if not self._append(turn):
                return
        elif self._durable >= self._appended:
            # Nothing changed and nothing is on its way: answers that say so (errors, repeats) leave now.
            self._release(self._durable)
        if self._wanting:
            self._offer_room()
        if turn.more or self._inbox:
            self._schedule()
        self._set_timer()
        self._wake_drain()

    def _append(self, turn: Turn) -> bool:
        """Hand a turn to the log. Without room it is held, and nothing more is decided before it fits."""
        try:
            self._log.append(turn)
        except LogError as error:
            if error.code not in WAITS_FOR_ROOM:
                self._on_failure(error)
                return False
            if self._held is None:
                log.warning("no room for a turn; waiting", extra={"error": str(error)})
            self._held = turn
            self._turn_scheduled = True
            self._loop.call_later(ROOM_POLL_S, self._turn)
            return False
        self._held = None
        self._appended = turn.position
        self.feed.appended(turn)
        return True

    def _on_durable(self, position: int) -> None:
        if position > self._durable:
            self._durable = position
            self._release(position)
            self._snapshots.durable(position)
        self._wake_drain()

    def _wake_drain(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _release(self, position: int) -> None:
        jobs, cancels, replies, ended = self._machine.advance(position)
        if jobs:
            self._hand_out(jobs)
        if cancels:
            for executor in self._executors.values():
                executor.cancel(cancels)
        pop = self._replies.pop
        for reply in replies:
            try:
                pop(reply.token)(reply)
            except Exception:
                log.exception("an answer could not be given; the others go on")
        self.feed.durable(position)
        if ended:
            self._ended(ended)
        reads = self._reads
        while reads and reads[0][0] <= position:
            reads.popleft()[1]()

    def _ended(self, ended: list[Ended]) -> None:
        for run in ended:
            for waiter in self._waiters.pop(run.run_id, ()):
                waiter()
        for told in self._on_ended:
            told(ended)

    def _hand_out(self, jobs: list[Job]) -> None:
        self._jobs_pending += len(jobs)
        executors = self._executors
        kinds = {job.kind for job in jobs}
        if len(kinds) == 1:
            executors[kinds.pop()].start(jobs)
        else:
            for kind in sorted(kinds):
                executors[kind].start([job for job in jobs if job.kind == kind])

    def _set_timer(self) -> None:
        due = self._machine.next_due()
        if due == self._timer_due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = due
        if due is not None and not self._closing:
            delay_s = max(0.0, (due - self._clock.now_ns()) / 1e9)
            self._timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_due = None
        self._inbox.control(0, Tick())
        self._schedule()

    def _on_failure(self, error: LogError) -> None:
        """The log is poisoned: nothing that waits is ever acknowledged; the owner of the process must end it."""
        if self._failure is not None:
            return
        log.critical("the log failed; nothing is acknowledged any more", extra={"error": str(error)})
        self._failure = error
        if not self._failed.done():
            self._failed.set_result(error)
        self._wake_drain()
