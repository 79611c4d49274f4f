"""The promises of `ports.event_log`, on every adapter. The number in a test's name is the promise's."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from apex_fast.adapters.embedded.event_log import EmbeddedEventLog
from apex_fast.adapters.memory.event_log import MemoryEventLog, Store
from apex_fast.core import compile, split_records
from apex_fast.domain import Command, Log, LogError, Machine, RegisterWorkflow, StartRun, Turn
from apex_fast.ports.event_log import EventLog
from tests.support.definitions import chain
from tests.support.patience import PATIENCE_S

Open = Callable[[], EventLog]
SEGMENT_BYTES = 1 << 20
PARTITIONS = 4


@pytest.fixture(params=["memory", "embedded", "archived", "encrypted"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same log again and again. `archived`: all of it that may be is, before it is opened again; `encrypted`:
    that too."""
    if request.param == "memory":
        store = Store()
        return lambda: MemoryEventLog(store)
    folder = tmp_path / "log"
    if request.param == "embedded":
        return lambda: EmbeddedEventLog(folder, SEGMENT_BYTES)

    key_file = None
    if request.param == "encrypted":
        key_file = str(tmp_path / "key")
        Path(key_file).write_text(bytes(range(32)).hex())

    def open_archived() -> EmbeddedEventLog:
        folder.mkdir(exist_ok=True)
        archive(folder, key_file)
        return EmbeddedEventLog(folder, SEGMENT_BYTES, 0, key_file)

    return open_archived


def archive(folder: Path, key_file: str | None) -> None:
    """Two snapshots let everything behind the last records go."""
    with contextlib.suppress(LogError):  # somebody has it open: that is what promise 7 is tested with
        log = Log.open(str(folder), SEGMENT_BYTES, 0, key_file)
        for behind in (3, 2):
            if log.position >= behind:
                log.save_snapshot(log.position - behind, b"not read")
        assert log.wait_archived(30)
        assert log.stats()["archive_failures"] == 0
        log.close()


class Writer:
    """A machine that makes turns for one log, and what the log said of them."""

    def __init__(self, event_log: EventLog) -> None:
        self.log = event_log
        self.machine = Machine(PARTITIONS, event_log.term)
        for position, records in event_log.scan(0):
            self.machine.apply(position, records)
        self.positions: list[int] = []
        self.failures: list[LogError] = []
        self.moved = asyncio.Event()
        self.now_ns = 1_700_000_000_000_000_000
        event_log.on_durable(self._durable, self.failures.append)

    def _durable(self, position: int) -> None:
        self.positions.append(position)
        self.moved.set()

    def turn(self, runs: int = 1) -> Turn:
        self.now_ns += 1_000_000
        commands: list[tuple[int, Command]] = []
        if self.machine.workflow("default", "chain") is None:
            commands.append((0, RegisterWorkflow("default", compile(chain(3)).canonical)))
        commands += [(0, StartRun("default", "chain")) for _ in range(runs)]
        return self.machine.step(self.now_ns, commands)

    async def until(self, position: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.positions or self.positions[-1] < position:
                self.moved.clear()
                await self.moved.wait()


async def test_1_turns_become_durable_whole_and_in_order(open_log: Open) -> None:
    writer = Writer(open_log())
    turns = [writer.turn(runs) for runs in (1, 7, 2)]
    for turn in turns:
        writer.log.append(turn)
    await writer.until(turns[-1].position)
    written = [body for _, records in writer.log.scan(0) for body in split_records(records)]
    assert written == [body for turn in turns for body in split_records(turn.records())]
    await writer.log.close()


async def test_2_and_3_the_position_never_falls_and_ends_at_the_last_turn(open_log: Open) -> None:
    writer = Writer(open_log())
    last = 0
    for _ in range(50):
        turn = writer.turn()
        writer.log.append(turn)
        last = turn.position
        await asyncio.sleep(0)
    await writer.until(last)
    assert writer.positions == sorted(writer.positions)
    assert len(set(writer.positions)) == len(writer.positions)
    assert writer.log.durable() == last
    await writer.log.close()


async def test_4_scan_starts_anywhere(open_log: Open) -> None:
    writer = Writer(open_log())
    turn = writer.turn(20)
    writer.log.append(turn)
    await writer.until(turn.position)
    bodies = split_records(turn.records())
    for start in range(turn.position + 1):
        chunks = list(writer.log.scan(start))
        assert [b for _, records in chunks for b in split_records(records)] == bodies[start:]
        assert not chunks or chunks[0][0] == start
    await writer.log.close()


async def test_5_a_timeline_is_dense_and_ascending_from_any_offset(open_log: Open) -> None:
    writer = Writer(open_log())
    turn = writer.turn(3)
    writer.log.append(turn)
    await writer.until(turn.position)
    views, _ = writer.machine.runs("default", 10)
    assert len(views) == 3
    for view in views:
        whole = writer.log.timeline(view.head, 0, 100)
        assert [event.offset for event in whole] == list(range(view.offset + 1))
        assert {event.run_id for event in whole} == {view.run_id}
        assert whole[0].type == "RunStarted"
        for start in range(view.offset + 2):
            part = writer.log.timeline(view.head, start, 100)
            assert [event.json() for event in part] == [event.json() for event in whole[start:]]
        assert [event.offset for event in writer.log.timeline(view.head, 0, 1)] == [0]
    await writer.log.close()


async def test_5_pages_of_a_long_timeline_are_the_same_in_any_order(open_log: Open) -> None:
    writer = Writer(open_log())
    nodes = [{"id": f"n{n}", "type": "join"} for n in range(2_000)]
    definition = {"name": "long", "version": "1", "nodes": nodes, "edges": []}
    commands: list[tuple[int, Command]] = [
        (0, RegisterWorkflow("default", compile(json.dumps(definition).encode()).canonical)),
        (0, StartRun("default", "long")),
    ]
    turn = writer.machine.step(writer.now_ns, commands)
    writer.log.append(turn)
    while turn.more:
        turn = writer.machine.step(writer.now_ns, [])
        if turn.count:
            writer.log.append(turn)
    await writer.until(turn.position)
    (view,), _ = writer.machine.runs("default", 10)
    whole = [event.json() for event in writer.log.timeline(view.head, 0, 10_000)]
    assert len(whole) == view.offset + 1 > 2_000
    for start in (0, 1_900, 511, 512, 513, 1_024, 37, 1_500, view.offset, view.offset + 1):
        for limit in (1, 100, 600):
            page = [event.json() for event in writer.log.timeline(view.head, start, limit)]
            assert page == whole[start : start + limit]
    await writer.log.close()


async def test_6_what_was_durable_is_there_after_reopening(open_log: Open) -> None:
    first = Writer(open_log())
    turn = first.turn(5)
    first.log.append(turn)
    await first.until(turn.position)
    before = first.machine.snapshot()
    term = first.log.term
    await first.log.close()

    second = Writer(open_log())
    assert second.log.position == turn.position
    assert second.log.term > term
    assert second.machine.snapshot() == before
    more = second.turn(2)
    second.log.append(more)
    await second.until(more.position)
    await second.log.close()


async def test_6_a_close_keeps_what_was_appended_before_it(open_log: Open) -> None:
    first = Writer(open_log())
    turn = first.turn(9)
    first.log.append(turn)
    await first.log.close()
    second = open_log()
    assert second.position == turn.position
    await second.close()


async def test_6_a_snapshot_comes_back_with_its_position(open_log: Open) -> None:
    first = Writer(open_log())
    turn = first.turn(5)
    first.log.append(turn)
    await first.until(turn.position)
    first.log.save_snapshot(turn.position, first.machine.snapshot())
    await first.log.close()
    second = open_log()
    assert second.snapshot is not None
    position, state = second.snapshot
    assert position == turn.position
    assert Machine.restore(state, second.term, PARTITIONS).snapshot() == first.machine.snapshot()
    await second.close()


async def test_6_scan_and_timelines_are_the_same_after_many_openings(open_log: Open) -> None:
    bodies: list[bytes] = []
    for runs in (40, 1, 25, 3, 30):
        writer = Writer(open_log())
        turn = writer.turn(runs)
        bodies += split_records(turn.records())
        writer.log.append(turn)
        await writer.until(turn.position)
        found = [body for _, records in writer.log.scan(0) for body in split_records(records)]
        assert found == bodies
        for start in range(0, len(bodies), 17):
            assert [body for _, part in writer.log.scan(start) for body in split_records(part)] == bodies[start:]
        views, _ = writer.machine.runs("default", 200)
        for view in views:
            offsets = [event.offset for event in writer.log.timeline(view.head, 0, 100)]
            assert offsets == list(range(view.offset + 1))
        await writer.log.close()


async def test_11_a_trim_forgets_only_what_is_old_and_behind_a_snapshot(open_log: Open) -> None:
    ends: list[int] = []
    times: list[int] = []
    for _ in range(5):
        writer = Writer(open_log())
        writer.now_ns += 1_000_000_000 * (1 + len(ends))
        turn = writer.turn(30)
        writer.log.append(turn)
        await writer.until(turn.position)
        ends.append(turn.position)
        times.append(writer.now_ns)
        writer.log.save_snapshot(turn.position, writer.machine.snapshot())
        if len(ends) == 5:
            break
        await writer.log.close()
    bodies = [body for _, records in writer.log.scan(0) for body in split_records(records)]
    views, _ = writer.machine.runs("default", 200)
    oldest, newest = views[-1], views[0]
    writer.log.trim(times[0] - 1)
    assert writer.log.timeline(oldest.head, 0, 10)
    writer.log.trim(times[3])
    with contextlib.suppress(LogError):  # a log that keeps everything keeps the promise
        assert writer.log.timeline(oldest.head, 0, 10)
    found = [body for _, records in writer.log.scan(ends[3]) for body in split_records(records)]
    assert found == bodies[ends[3] :]
    assert [event.offset for event in writer.log.timeline(newest.head, 0, 100)] == list(range(newest.offset + 1))
    writer.log.trim(2**62)
    found = [body for _, records in writer.log.scan(ends[3]) for body in split_records(records)]
    assert found == bodies[ends[3] :], "no snapshot but the newest stands for these"
    await writer.log.close()


async def test_7_a_second_owner_is_refused(open_log: Open) -> None:
    owner = open_log()
    with pytest.raises(LogError) as refusal:
        open_log()
    assert refusal.value.code == "LOCKED"
    await owner.close()
    await open_log().close()


async def test_8_a_closed_log_takes_nothing(open_log: Open) -> None:
    writer = Writer(open_log())
    turn = writer.turn()
    await writer.log.close()
    with pytest.raises(LogError):
        writer.log.append(turn)


async def test_9_a_turn_that_does_not_follow_keeps_nothing(open_log: Open) -> None:
    writer = Writer(open_log())
    first, second = writer.turn(), writer.turn()
    with pytest.raises(LogError) as refusal:
        writer.log.append(second)
    assert refusal.value.code == "CONFLICT"
    writer.log.append(first)
    writer.log.append(second)
    await writer.until(second.position)
    assert writer.log.durable() == second.position
    await writer.log.close()
