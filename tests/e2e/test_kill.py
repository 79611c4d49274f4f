"""SIGKILL under load: nothing acknowledged is lost, and what was durable is not done again.

Clients start chains, fans, maps, retried nodes, timers, approvals and runs that are undone; the gateway is killed at
random moments and started again on the same folder. The functions write to a ledger outside of the gateway. Which life
of the gateway a durable event belongs to is told by its time: a life ends when its process has been waited for, before
the next one begins.
"""

import asyncio
import os
import random
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from apex_fast.client import Client, Event
from apex_fast.errors import Overloaded, Unavailable, WrongState
from tests.support.gateway import process_in
from tests.support.ledger import Entry, Ledger
from tests.support.patience import PATIENCE_S

CLIENTS = 6
LIFE_S = (0.15, 0.9)
"""Least and most time that the gateway serves before it is killed, where a run was acknowledged by then."""


def node(name: str, **inputs: Any) -> dict[str, Any]:
    return {
        "id": name,
        "type": "function",
        "config": {"name": "work"},
        "input": inputs,
        "retry": {"max_attempts": 5, "initial_s": 0.02, "factor": 1.5, "max_s": 0.1},
    }


UNDO: dict[str, Any] = {"compensation": {"name": "undo"}}


def workflow(name: str, nodes: list[dict[str, Any]], edges: list[tuple[str, str]]) -> dict[str, Any]:
    return {"name": name, "version": "1", "nodes": nodes, "edges": [{"from": a, "to": b} for a, b in edges]}


WORKFLOWS: list[dict[str, Any]] = [
    workflow("chain", [node(f"s{i}", pause_s=0.01 * i) for i in range(5)], [(f"s{i}", f"s{i + 1}") for i in range(4)]),
    workflow(
        "fan",
        [node("first"), *(node(f"m{i}", pause_s=0.008 * i) for i in range(8)), node("last")],
        [*(("first", f"m{i}") for i in range(8)), *((f"m{i}", "last") for i in range(8))],
    ),
    workflow("flaky", [node("a", fails=1), node("b", fails=2, pause_s=0.005), node("c")], [("a", "b"), ("b", "c")]),
    workflow(
        "gated",
        [node("ask"), {"id": "gate", "type": "approval", "config": {"prompt": "Go on?"}}, node("go")],
        [("ask", "gate"), ("gate", "go")],
    ),
    workflow(
        "timed",
        [node("before"), {"id": "pause", "type": "timer", "config": {"duration_s": 0.2}}, node("after")],
        [("before", "pause"), ("pause", "after")],
    ),
    workflow(
        "mapped",
        [{"id": "m", "type": "map", "config": {"over": [1, 2, 3, 4, 5], "max_concurrency": 2,
                                               "body": {"nodes": [node("x", pause_s=0.02)]}}}],
        [],
    ),
    workflow(
        "undone",
        [node("a") | UNDO, node("b", pause_s=0.02) | UNDO, node("c") | UNDO,
         {"id": "no", "type": "function", "config": {"name": "fail"}}],
        [("a", "b"), ("b", "c"), ("c", "no")],
    ),
]  # fmt: skip
FUNCTION_NODES = {
    **{one["name"]: [n["id"] for n in one["nodes"] if n["type"] == "function"] for one in WORKFLOWS},
    "mapped": [f"m[{item}].x" for item in range(5)],
    "undone": ["a", "b", "c"],
}
"""Nodes whose function ends well and writes to the ledger."""


@dataclass
class Load:
    """What the clients asked for, and what they were told."""

    random: random.Random
    runs: dict[str, str] = field(default_factory=dict)
    """Idempotency key to the run that was acknowledged for it."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Key to workflow."""
    unsure: set[str] = field(default_factory=set)
    """Keys whose start was asked for and not answered."""
    approved: set[str] = field(default_factory=set)
    """Tickets whose approval was acknowledged."""
    seen: dict[str, dict[int, Event]] = field(default_factory=lambda: defaultdict(dict))
    """What viewers saw of a run, by offset."""
    starts: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, client: Client, key: str) -> None:
        kind = self.kinds.setdefault(key, WORKFLOWS[len(self.kinds) % len(WORKFLOWS)]["name"])
        self.unsure.add(key)
        run = await client.start(kind, {"key": key}, idempotency_key=key, labels={"key": key})
        known = self.runs.setdefault(key, run.id)
        assert run.id == known, f"{key} was {known}, is now {run.id}"
        self.unsure.discard(key)

    async def starter(self, client: Client) -> None:
        """Starts runs; asks again for what was not answered, and at times for what was."""
        while True:
            if self.unsure and self.random.random() < 0.5:
                key = self.random.choice(sorted(self.unsure))
            elif self.runs and self.random.random() < 0.1:
                key = self.random.choice(sorted(self.runs))
            else:
                self.starts += 1
                key = f"key-{self.starts}"
            try:
                await self.start(client, key)
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
            await asyncio.sleep(self.random.uniform(0, 0.06))

    async def approver(self, client: Client) -> None:
        """Approves whatever waits."""
        while True:
            for approval in await client.approvals():
                with suppress(WrongState):  # decided, but the answer was lost
                    await client.resolve(approval.ticket, approve=True, reason="the test says so")
                self.approved.add(approval.ticket)
            await asyncio.sleep(0.02)

    async def viewer(self, client: Client) -> None:
        """Follows one run after the other, and goes on where it was cut off."""
        while True:
            unfinished = [r for r in self.runs.values() if not self._ended(r)]
            if not unfinished:
                await asyncio.sleep(0.01)
                continue
            run_id = self.random.choice(unfinished)
            seen = self.seen[run_id]
            # `watch` would wait for the gateway of this life; the connection of the client ends with it.
            async for event in client.run(run_id).watch(len(seen)):
                assert event.offset == len(seen), f"{run_id}: gap or double at {event.offset}, {len(seen)} seen"
                seen[event.offset] = event

    def _ended(self, run_id: str) -> bool:
        seen = self.seen[run_id]
        return bool(seen) and seen[len(seen) - 1].type in {"WorkflowCompleted", "WorkflowFailed"}

    async def life(self, client: Client, seconds: float) -> None:
        """All clients at work until the gateway is gone or the time is over."""
        work = [self.starter(client) for _ in range(CLIENTS)] + [self.approver(client), self.viewer(client)]
        self.tasks = [asyncio.create_task(one) for one in work]
        before, ends = len(self.runs), time.monotonic() + seconds
        # On a machine that is busy it takes as long as it takes for a start to be acknowledged.
        while (left := ends - time.monotonic()) > 0 or len(self.runs) == before:
            done, _ = await asyncio.wait(self.tasks, timeout=max(left, 0.02), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def rest(self) -> None:
        """Let the clients notice that the gateway is gone."""
        _, pending = await asyncio.wait(self.tasks, timeout=0.3)  # those with a key wait for the next gateway
        for task in pending:
            task.cancel()
        for answer in await asyncio.gather(*self.tasks, return_exceptions=True):
            if not isinstance(answer, Unavailable | asyncio.CancelledError):
                raise AssertionError("a client ended otherwise than by the kill") from (
                    answer if isinstance(answer, BaseException) else None
                )


async def kill_again_and_again(folder: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}, {kills} kills")
    chance = random.Random(seed)
    load = Load(random.Random(chance.random()))
    ledger = Ledger(folder / "ledger.jsonl")
    process = process_in(folder)
    ends_ns: list[int] = []
    life_of_pid: dict[int, int] = {}
    began = time.monotonic()
    try:
        for kill in range(kills):
            await process.start()
            life_of_pid[process.pid] = kill
            async with Client(process.address, PATIENCE_S) as client:
                if not kill:
                    for definition in WORKFLOWS:
                        await client.register(definition)
                await load.life(client, chance.uniform(*LIFE_S))
                process.kill()
                ends_ns.append(time.time_ns())
                await load.rest()
        await process.start()
        life_of_pid[process.pid] = kills
        async with Client(process.address, timeout_s=PATIENCE_S) as client:
            timelines = await finish(load, client)
            await check_keys(load, client)
    finally:
        print(f"log of the gateway:\n{process.log_tail()}")
        await process.stop()
    check_viewers(load, timelines)
    check_executions(load, timelines, list(ledger.entries()), ends_ns, life_of_pid)
    counts = Counter(load.kinds[key] for key in load.runs)
    print(f"{len(load.runs)} acknowledged runs {dict(counts)}, {time.monotonic() - began:.0f} s")


async def finish(load: Load, client: Client) -> dict[str, list[Event]]:
    """Every acknowledged run completes. Its timeline, by run."""
    for key in sorted(load.unsure):
        await load.start(client, key)
    approving = asyncio.create_task(load.approver(client))
    timelines = {}
    try:
        for key, run_id in load.runs.items():
            info = await client.run(run_id).ended(PATIENCE_S)
            state = "FAILED" if load.kinds[key] == "undone" else "COMPLETED"
            assert info.state == state, f"{key} {run_id}: {info}"
            timelines[run_id] = await client.run(run_id).timeline()
    finally:
        approving.cancel()
        with suppress(asyncio.CancelledError):
            await approving
    for ticket in load.approved:
        run_id, _, gate = ticket.partition("~")
        resolved = [e for e in timelines[run_id] if e.type == "ApprovalResolved"]
        assert [(e.payload["node"], e.payload["decision"]) for e in resolved] == [(gate, "approve")], ticket
    assert load.approved, "no approval was acknowledged"
    return timelines


async def check_keys(load: Load, client: Client) -> None:
    """The same key gives the same run, and there is one run for each key."""
    for key, run_id in load.runs.items():
        again = await client.start(load.kinds[key], {"key": key}, idempotency_key=key, labels={"key": key})
        assert (again.id, again.existing) == (run_id, True), key
    held: dict[str, str] = {}
    page = ""
    while True:
        found = await client.runs(limit=500, page=page)
        for run in found.runs:
            assert held.setdefault(run.labels["key"], run.run_id) == run.run_id, f"two runs of {run.labels['key']}"
        page = found.next_page
        if not page:
            break
    assert held == load.runs


def check_viewers(load: Load, timelines: dict[str, list[Event]]) -> None:
    """What a viewer saw survived."""
    for run_id, seen in load.seen.items():
        assert list(seen.values()) == timelines[run_id][: len(seen)], run_id
    assert sum(map(len, load.seen.values())), "the viewers saw nothing"


def check_executions(
    load: Load,
    timelines: dict[str, list[Event]],
    entries: list[Entry],
    ends_ns: list[int],
    life_of_pid: dict[int, int],
) -> None:
    """Against the ledger: durable results are not made again, and what is made again has the same key."""
    started: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.what == "started":
            started[entry.run, entry.node, entry.function].append(entry)
    for key, run_id in load.runs.items():
        timeline = timelines[run_id]
        assert [e.offset for e in timeline] == list(range(len(timeline)))
        nodes = FUNCTION_NODES[load.kinds[key]]
        results = [e for e in timeline if e.type == "ToolResultReceived" and e.payload["node"] in nodes]
        assert sorted(e.payload["node"] for e in results if e.payload["status"] == "ok") == sorted(nodes), run_id
        undone = [e for e in timeline if e.type == "CompensationCompleted"]
        assert [e.payload["node"] for e in undone] == (nodes[::-1] if load.kinds[key] == "undone" else []), run_id
        assert len([e for e in timeline if e.type == "TimerFired"]) == (load.kinds[key] == "timed"), run_id
        for event in results + undone:
            place = (run_id, event.payload["node"], "undo" if event in undone else "work")
            assert started[place], place
            life = bisect_right(ends_ns, time_ns(event))
            late = [
                e for e in started[place]
                if e.attempt <= event.payload.get("attempt", 1) and life_of_pid[e.pid] > life
            ]  # fmt: skip
            assert not late, f"{place}: result durable in life {life}, begun again in {late}"
    again = 0
    for calls in started.values():
        assert len({e.key for e in calls}) == 1, calls
        once_a_life = Counter((e.attempt, e.pid) for e in calls)
        assert set(once_a_life.values()) == {1}, calls
        again += len(calls) - len({e.attempt for e in calls})
    assert set(timelines) <= {run_id for run_id, _, _ in started}
    print(f"{len(entries)} lines in the ledger; {again} attempts were made again")
    assert again, "no kill hit a function at work: the load is too light to prove anything"


def time_ns(event: Event) -> int:
    """Nanoseconds since 1970, rounded down to what Python's datetime holds."""
    moment = datetime.fromisoformat(event.time)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def seed_of() -> int:
    """A new one each time, or that of KILL_SEED."""
    return int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(1 << 32))


async def test_20_kills_lose_nothing(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path, 20, seed_of())


@pytest.mark.soak
async def test_200_kills_lose_nothing(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path, 200, seed_of())
