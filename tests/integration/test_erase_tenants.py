"""Two tenants in one log, driven below the gateway (which has one tenant): erasing one leaves the other as it was."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apex_fast.adapters.embedded.erasure import Erased, erase
from apex_fast.adapters.embedded.history import FolderHistory
from apex_fast.core import compile, read_event, split_records, verify_log
from apex_fast.domain import Command, Erase, JobResult, Log, Machine, RegisterWorkflow, StartRun
from apex_fast.engine.recovery import recover
from apex_fast.errors import NotFound, WrongState

FLOW = {
    "name": "flow",
    "version": "1",
    "nodes": [{"id": "f", "type": "function", "config": {"name": "f"}, "input": {"x": "${inputs.x}"}}],
}


class Owned:
    """A log with a machine, for one opening."""

    def __init__(self, folder: Path) -> None:
        self.log = Log.open(str(folder / "log"), None, 0, str(folder / "key"))
        self.machine = recover(self, 4, {})

    @property
    def term(self) -> int:
        return self.log.term

    @property
    def snapshot(self) -> tuple[int, bytes] | None:
        return self.log.snapshot

    def scan(self, start: int) -> Iterator[tuple[int, bytes]]:
        while (batch := self.log.scan(start, 1 << 20))[1]:
            yield start, batch[0]
            start += batch[1]

    def turn(self, *commands: Command) -> list[str]:
        """Decide, make durable, run the jobs; the ids of the runs that the answers name."""
        turn = self.machine.step(
            time.time_ns(), [(number, command) for number, command in enumerate(commands, start=1)]
        )
        if turn.count:
            self.log.append(turn)
            assert self.log.wait_durable(turn.position, 30) == turn.position
        jobs, _, replies, _ = self.machine.advance(turn.position)
        assert not [reply.message for reply in replies if reply.code]
        if jobs:
            self.turn(*(JobResult.ok(job.id, job.attempt, job.input) for job in jobs))
        return [reply.run_id for reply in replies if reply.run_id]

    def close(self) -> None:
        capture = self.machine.capture()
        self.log.save_snapshot(capture.position, capture.bytes())
        assert self.log.wait_archived(30)
        self.log.close()


def start(tenant: str, number: int) -> StartRun:
    inputs = json.dumps({"x": f"{tenant} keeps this, {number}. " * 40}).encode()
    return StartRun(tenant, "flow", inputs=inputs, idempotency_key=f"{tenant}-{number}")


def live(folder: Path) -> dict[str, list[str]]:
    """Runs of two tenants, in turns, over four openings."""
    (folder / "key").write_text(bytes(range(32)).hex())
    runs: dict[str, list[str]] = {"ada": [], "bob": []}
    for opening in range(4):
        owned = Owned(folder)
        for tenant in runs:
            owned.turn(RegisterWorkflow(tenant, compile(json.dumps(FLOW).encode()).canonical))
        for number in range(opening * 20, opening * 20 + 20):
            for tenant, started in runs.items():
                started += owned.turn(start(tenant, number))
        owned.close()
    return runs


def bodies(folder: Path) -> list[bytes]:
    history = FolderHistory(folder / "log", str(folder / "key"))
    return [body for _, batch in history.scan(0) for body in split_records(batch)]


def machine_of(folder: Path) -> Machine:
    return recover(FolderHistory(folder / "log", str(folder / "key")), 4, {})


def test_one_tenant_goes_and_the_other_is_as_it_was(tmp_path: Path) -> None:
    runs = live(tmp_path)
    key = str(tmp_path / "key")
    assert list((tmp_path / "log").glob("*.archive"))
    before = bodies(tmp_path)
    chain = verify_log(str(tmp_path / "log"), key).chain
    theirs = {position for position, body in enumerate(before) if read_event(position, body).tenant == "ada"}

    erased = erase(tmp_path, 4, "ada", None, key)
    assert erased == Erased(len(theirs), erased.archives, 0)
    assert erased.archives >= 1
    after = bodies(tmp_path)
    assert after[: len(before)] == [b"" if position in theirs else body for position, body in enumerate(before)]
    [told] = [read_event(position, body) for position, body in enumerate(after) if position >= len(before)]
    assert (told.type, told.tenant) == ("Erased", "ada")
    verdict = verify_log(str(tmp_path / "log"), key)
    assert (verdict.damage, verdict.position) == (None, len(after))
    assert chain != verdict.chain, "one record more"

    machine = machine_of(tmp_path)
    assert machine.runs("ada", 100)[0] == []
    assert not machine.workflows("ada")
    assert [view.run_id for view in machine.runs("bob", 100)[0]] == sorted(runs["bob"], reverse=True)
    # Both go on: the one that was erased as if it had never been there.
    owned = Owned(tmp_path)
    owned.turn(RegisterWorkflow("ada", compile(json.dumps(FLOW).encode()).canonical))
    [again] = owned.turn(start("ada", 0))
    assert again not in runs["ada"]
    [same] = owned.turn(start("bob", 0))
    assert same == runs["bob"][0]
    for run_id in runs["bob"]:
        view = owned.machine.run("bob", run_id)
        assert view is not None
        events = owned.log.timeline(view.head, 0, 100)
        assert [event.offset for event in events] == list(range(view.offset + 1))
        assert b"bob keeps this" in events[0].payload
    owned.close()
    assert verify_log(str(tmp_path / "log"), key).damage is None


def test_an_erasure_that_was_cut_off_after_it_was_decided_is_finished_by_the_same_words(tmp_path: Path) -> None:
    runs = live(tmp_path)
    key = str(tmp_path / "key")
    owned = Owned(tmp_path)
    owned.turn(Erase("bob", runs["bob"][0]))
    owned.turn(Erase("ada"))
    owned.close()
    assert any(b"ada keeps this" in body for body in bodies(tmp_path))
    assert machine_of(tmp_path).runs("ada", 1)[0] == []

    assert erase(tmp_path, 4, "ada", None, key).records > 0
    assert erase(tmp_path, 4, "bob", runs["bob"][0], key).records > 0
    left = bodies(tmp_path)
    assert not any(b"ada keeps this" in body or b"bob keeps this, 0." in body for body in left)
    assert any(b"bob keeps this, 1." in body for body in left)
    for tenant, run_id in (("ada", None), ("bob", runs["bob"][0])):
        with pytest.raises(NotFound):
            erase(tmp_path, 4, tenant, run_id, key)
    assert verify_log(str(tmp_path / "log"), key).damage is None


def test_a_run_that_is_open_stays_and_nothing_is_changed(tmp_path: Path) -> None:
    live(tmp_path)
    owned = Owned(tmp_path)
    waits = {"name": "waits", "version": "1", "nodes": [{"id": "s", "type": "signal", "config": {"name": "go"}}]}
    owned.turn(RegisterWorkflow("ada", compile(json.dumps(waits).encode()).canonical))
    [run_id] = owned.turn(StartRun("ada", "waits"))
    owned.close()
    before = bodies(tmp_path)
    for run in (run_id, None):
        with pytest.raises(WrongState):
            erase(tmp_path, 4, "ada", run, str(tmp_path / "key"))
    assert bodies(tmp_path) == before
