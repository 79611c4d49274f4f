"""The loop round the machine where its log is full, slow or gone: nothing is shown, kept or answered too early."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
import pytest_asyncio

from apex_fast.adapters.clock import SystemClock
from apex_fast.adapters.memory.event_log import MemoryEventLog, Store
from apex_fast.core import compile
from apex_fast.domain import Job, JobResult, LogError, Machine, RegisterWorkflow, Reply, StartRun, Turn
from apex_fast.engine import Engine, EngineLimits
from apex_fast.errors import Overloaded, Unavailable
from tests.support.patience import PATIENCE_S

DEFINITION = compile(
    b'{"name": "w", "version": "1", "nodes": [{"id": "n", "type": "function", "config": {"name": "f"}}]}'
).canonical


class Disk(MemoryEventLog):
    """A log in memory whose disk may be full, or fail."""

    def __init__(self) -> None:
        super().__init__(Store())
        self.full = False
        self.has_room_for_snapshots = True
        self.silent = False
        """Nothing becomes durable."""
        self.snapshots: list[int] = []
        self.state = b""
        self.fail: Callable[[LogError], None] = lambda _: None

    def on_durable(self, durable: Callable[[int], None], failed: Callable[[LogError], None]) -> None:
        super().on_durable(durable, failed)
        self.fail = failed

    def append(self, turn: Turn) -> None:
        if self.full:
            raise LogError("FULL", "no space left on device")
        super().append(turn)

    def _commit(self) -> None:
        if not self.silent:
            super()._commit()

    def speak(self) -> None:
        """What was kept back becomes durable."""
        self.silent = False
        self._commit()

    def save_snapshot(self, position: int, state: bytes) -> None:
        if self.full or not self.has_room_for_snapshots:
            raise LogError("FULL", "no space left on device")
        self.snapshots.append(position)
        self.state = state
        super().save_snapshot(position, state)


class Hands:
    """An executor that keeps its jobs."""

    kind = "function"

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def start(self, jobs: Sequence[Job]) -> None:
        self.jobs += jobs

    def cancel(self, job_ids: Sequence[int]) -> None: ...

    def stats(self) -> dict[str, int]:
        return {}

    async def close(self, grace_s: float) -> None: ...


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what a callback brings."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.disk = Disk()
        self.hands = Hands()
        limits = EngineLimits(snapshot_every_records=1)
        self.engine = Engine(Machine(64, self.disk.term), self.disk, SystemClock(), limits)
        self.engine.start({"function": self.hands})

    async def begin(self) -> str:
        """A run whose one job is in hand."""
        assert not (await self.engine.call(RegisterWorkflow("default", DEFINITION, "main"))).code
        reply = await self.engine.call(StartRun("default", "w"))
        await until(lambda: bool(self.hands.jobs))
        return reply.run_id

    def state_of(self, run_id: str) -> str:
        """As the machine has decided, durable or not."""
        view = self.engine.run("default", run_id)
        return "" if view is None else view.state

    def finish(self) -> None:
        job = self.hands.jobs.pop()
        self.engine.deliver([JobResult.ok(job.id, job.attempt, b"1")])


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    yield World()


async def test_what_a_full_disk_holds_up_is_not_shown(world: World) -> None:
    """The machine has decided the end of the run, the disk has not: a reader waits, and no snapshot is made of it."""
    run_id = await world.begin()
    world.disk.full = True
    world.finish()
    await until(lambda: world.state_of(run_id) == "COMPLETED")
    reading = asyncio.create_task(world.engine.read_run("default", run_id))
    called: list[int] = []
    world.engine.when_durable(lambda: called.append(1))
    await asyncio.sleep(0.1)
    assert not reading.done()
    assert not called
    world.disk.full = False
    view = await asyncio.wait_for(reading, PATIENCE_S)
    assert view is not None
    assert called
    assert world.engine.timeline(view, view.offset, 1)[0].ends_run
    assert all(position <= world.disk.durable() for position in world.disk.snapshots)
    assert view.head < world.disk.durable()


async def test_a_stop_on_a_full_disk_ends(world: World) -> None:
    await world.begin()
    world.disk.full = True
    world.finish()
    before = list(world.disk.snapshots)
    async with asyncio.timeout(PATIENCE_S):
        await world.engine.drain(0.2)
    assert world.disk.snapshots == before, "a snapshot holds what is durable and nothing else"


async def test_a_snapshot_is_taken_while_more_is_decided_and_kept_once_it_is_durable(world: World) -> None:
    world.disk.silent = True
    registering = asyncio.create_task(world.engine.call(RegisterWorkflow("default", DEFINITION, "main")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not world.disk.snapshots, "captured, but nothing is durable"
    world.disk.speak()
    await asyncio.wait_for(registering, PATIENCE_S)
    await until(lambda: bool(world.disk.snapshots))
    assert world.disk.snapshots[0] <= world.disk.durable()
    assert Machine.restore(world.disk.state, 1).counts()["workflows"] == 1


async def test_a_snapshot_that_finds_no_room_is_done_without(world: World) -> None:
    world.disk.has_room_for_snapshots = False
    run_id = await world.begin()
    world.finish()
    await world.engine.drain(PATIENCE_S)
    view = await world.engine.read_run("default", run_id)
    assert view is not None
    assert view.state == "COMPLETED"
    assert not world.disk.snapshots


async def test_a_stop_answers_what_was_accepted_and_does_not_wait_for_runs(world: World) -> None:
    """Runs that go on and on do not keep the answers from being the end of it."""
    await world.begin()
    replies: list[Reply] = []
    for _ in range(5):
        world.engine.submit(StartRun("default", "w"), replies.append)
    async with asyncio.timeout(PATIENCE_S):
        await world.engine.answer(3_600)
    assert [reply.code for reply in replies] == [""] * 5
    with pytest.raises(Unavailable):
        world.engine.submit(StartRun("default", "w"), replies.append)


async def test_a_failed_log_answers_readers_too(world: World) -> None:
    run_id = await world.begin()
    world.disk.silent = True
    world.finish()
    await until(lambda: world.state_of(run_id) == "COMPLETED")
    reading = asyncio.create_task(world.engine.read_run("default", run_id))
    await asyncio.sleep(0)
    world.disk.fail(LogError("IO", "the disk is gone"))
    with pytest.raises(Unavailable):
        await asyncio.wait_for(reading, PATIENCE_S)
    with pytest.raises(Unavailable):
        world.engine.when_durable(lambda: None)
    await asyncio.wait_for(world.engine.drain(3_600), PATIENCE_S)


async def test_an_answer_that_raises_keeps_no_other_from_its_own(world: World) -> None:
    await world.begin()
    replies: list[Reply] = []

    def broken(_: Reply) -> None:
        raise RuntimeError("not mine")

    world.engine.submit(StartRun("default", "w"), broken)
    world.engine.submit(StartRun("default", "w"), replies.append)
    await until(lambda: bool(replies))


async def test_many_who_wait_for_one_run_may_leave(world: World) -> None:
    run_id = await world.begin()
    called: list[int] = []
    callbacks = [lambda n=n: called.append(n) for n in range(20_000)]
    for callback in callbacks:
        world.engine.when_ended(run_id, callback)
    begin_s = time.thread_time()
    for callback in reversed(callbacks[1:]):
        world.engine.forget(run_id, callback)
    world.engine.forget(run_id, callbacks[1])
    assert time.thread_time() - begin_s < 5, "each looks at all the others"
    world.finish()
    await until(lambda: bool(called))
    assert called == [0]


async def test_starts_that_wait_are_bounded_in_bytes(world: World) -> None:
    """On a full disk nothing leaves the queue; its place is counted in bytes as well."""
    await world.begin()
    replies: list[Reply] = []
    accepted = 16
    size = EngineLimits().starts_queued_bytes_max // accepted
    for _ in range(accepted):
        world.engine.submit(StartRun("default", "w"), replies.append, size)
    with pytest.raises(Overloaded):
        world.engine.submit(StartRun("default", "w"), replies.append, 1)
    await until(lambda: len(replies) == accepted)
    world.engine.submit(StartRun("default", "w"), replies.append, 1 << 30)
    await until(lambda: len(replies) == accepted + 1)
