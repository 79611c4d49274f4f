"""A world round one machine: a log in memory, a clock, executors and people on one seed; a judge follows every run.

Drives `Machine` by the three calls of docs/decisions/0003-the-turn.md and checks at each turn what must always hold.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from apex_fast.core import (
    CancelRun,
    Job,
    JobResult,
    Machine,
    RegisterWorkflow,
    Reply,
    ResolveApproval,
    StartRun,
    Tick,
    Turn,
    compile,
    read_event,
    split_records,
)
from tests.oracle.definition import Document
from tests.oracle.interpreter import Outcome
from tests.oracle.judge import Happening, Judge, Offer
from tests.support.outcomes import HANGS, Outcomes
from tests.support.records import header

TENANT = "acme"
EPOCH_NS = 1_700_000_000_000_000_000


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def happening(position: int, body: bytes) -> Happening:
    event = read_event(position, body)
    return Happening(event.offset, event.type, event.time_ns, json.loads(event.json())["payload"])


def packed(bodies: list[bytes]) -> bytes:
    return b"".join(len(body).to_bytes(4, "little") + body for body in bodies)


def instance_of(job: Job) -> str:
    return f"{job.node}/undo" if job.compensation else job.node


@dataclass
class Start:
    """A start that a client wants, and goes on wanting until it is answered."""

    name: str
    definition: Document
    inputs: Any
    outcomes: Outcomes
    key: str
    run_id: str = ""


@dataclass
class World:
    """`lag`: durability trails the turns by a random number of records."""

    seed: int
    lag: bool = True
    partitions: int = 4
    limits: dict[str, int] | None = None
    cancels: float = 0.0
    """Chance of a cancel of a run in a turn."""
    punctual: bool = False
    """No time limit runs out while a result is at hand."""
    records: list[bytes] = field(default_factory=list)
    durable: int = 0
    term: int = 1
    now_ns: int = EPOCH_NS
    starts: dict[int, Start] = field(default_factory=dict)
    judges: dict[str, Judge] = field(default_factory=dict)
    handed: dict[int, Job] = field(default_factory=dict)
    """Jobs that an executor holds."""
    asked_to_stop: set[int] = field(default_factory=set)
    past: list[tuple[Job, Outcome]] = field(default_factory=list)
    """Results that were given: a source of duplicates."""
    jobs_seen: list[tuple[str, str, int, str]] = field(default_factory=list)
    """(run, instance, attempt, idempotency key) of each job handed out, in order."""
    snapshots: list[tuple[int, bytes]] = field(default_factory=list)
    """Some states, with the position that each stands at."""
    turns: int = 0
    on_turn: Callable[["World"], None] | None = None
    """Called when the machine has nothing more to do by itself."""

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)
        self.machine = Machine(partitions=self.partitions, term=self.term, limits=self.limits)
        self.requested: dict[tuple[str, str, int], int] = {}
        self.place_of: dict[tuple[str, int], int] = {}
        self.ended: dict[str, str] = {}
        self.replies: dict[int, Reply] = {}

    # --- turns --------------------------------------------------------------------------------------------------

    def register(self, definition: Document) -> None:
        command = RegisterWorkflow(TENANT, compile(encode(definition)).canonical)
        self.turn([(0, command)])

    def start(self, definition: Document, inputs: Any, outcomes: Outcomes) -> int:
        """Submit a start; its token. `turn` is yet to be called with `start_command`."""
        token = len(self.starts) + 1
        self.starts[token] = Start(definition["name"], definition, inputs, outcomes, f"key-{token}")
        return token

    def start_command(self, token: int) -> StartRun:
        start = self.starts[token]
        return StartRun(TENANT, start.name, inputs=encode(start.inputs), idempotency_key=start.key)

    def turn(self, commands: list[tuple[int, Any]]) -> int:
        """One batch, and on until the machine has done all that follows from it. The number of records it made."""
        made = 0
        goes_on = False
        while True:
            turn = self.machine.step(self.now_ns, commands)
            commands = []
            made += turn.count
            self.turns += 1
            self._append(turn, goes_on)
            goes_on = turn.more
            if not goes_on:
                break
        for judge in self.judges.values():
            judge.check_quiet()
            judge.check_offers()
        self._check_views()
        if self.dice.random() < 0.05:
            self.snapshots.append((len(self.records), self.machine.snapshot()))
        if self.on_turn:
            self.on_turn(self)
        return made

    def _append(self, turn: Turn, goes_on: bool) -> None:
        bodies = split_records(turn.records())
        assert len(bodies) == turn.count
        assert turn.position == len(self.records) + turn.count
        before = len(self.records)
        self.records.extend(bodies)
        for position in range(before, len(self.records)):
            self._follow(position)
        if bodies and not goes_on:
            jobs, cancels, replies, ended = self.machine.advance(self.durable)
            assert not jobs
            assert not cancels, "a cancel before the event that asks for it is durable"
            assert not ended
            assert all(reply.code for reply in replies), "a reply before its record is durable"
            self._take_replies(replies)
        self.advance(self.dice.randint(self.durable, len(self.records)) if self.lag else len(self.records))

    def _follow(self, position: int) -> None:
        body = self.records[position]
        run_id = read_event(position, body).run_id
        if not any(header(body).run_id):
            return
        happened = happening(position, body)
        self.place_of[run_id, happened.offset] = position
        if happened.type == "RunStarted":
            self._judge(run_id, happened)
        if happened.type in ("ToolCallRequested", "CompensationRequested"):
            suffix = "/undo" if happened.type == "CompensationRequested" else ""
            key = (run_id, happened.payload["node"] + suffix, happened.payload["attempt"])
            assert key not in self.requested, f"requested twice: {key}"
            self.requested[key] = position
        self.judges[run_id].read([happened])

    def _judge(self, run_id: str, happened: Happening) -> None:
        key = happened.payload["idempotency_key"]
        [start] = [start for start in self.starts.values() if start.key == key]
        assert start.run_id in ("", run_id), "one key, two runs"
        start.run_id = run_id
        limit = (self.limits or {}).get("items_max", 100_000)
        self.judges[run_id] = Judge(start.definition, start.inputs, run_id, items_max=limit)

    def advance(self, position: int) -> None:
        """The log is durable up to `position`."""
        self.durable = position
        jobs, cancels, replies, ended = self.machine.advance(position)
        for job in jobs:
            place = self.requested[job.run_id, instance_of(job), job.attempt]
            assert place < position, "a job before its record is durable"
            self._hand_out(job)
        for job_id in cancels:
            assert job_id in self.handed or any(job.id == job_id for job, _ in self.past)
            self.asked_to_stop.add(job_id)
        self._take_replies(replies)
        for end in ended:
            last = self.judges[end.run_id].history[-1]
            assert last.type in ("WorkflowCompleted", "WorkflowFailed")
            assert self.place_of[end.run_id, last.offset] < position, "an end before its record is durable"
            self.ended[end.run_id] = end.state
        if position == len(self.records) and not any(judge.offers for judge in self.judges.values()):
            self._check_in_flight()

    def _hand_out(self, job: Job) -> None:
        assert job.id not in self.handed
        suffix = "/undo" if job.compensation else ""
        assert job.idempotency_key == f"{job.run_id}/{job.node}{suffix}"
        assert job.tenant == TENANT
        self.handed[job.id] = job
        self.judges[job.run_id].handed_out.add((instance_of(job), job.attempt))
        self.jobs_seen.append((job.run_id, instance_of(job), job.attempt, job.idempotency_key))

    def _take_replies(self, replies: list[Reply]) -> None:
        for reply in replies:
            if not reply.code and reply.run_id:
                assert self.place_of[reply.run_id, reply.offset] < self.durable, "a reply before its record is durable"
            assert reply.token not in self.replies, "answered twice"
            self.replies[reply.token] = reply
            if reply.token in self.starts:
                assert reply.code == "", reply.message
                assert reply.run_id == self.starts[reply.token].run_id

    def _check_in_flight(self) -> None:
        """All is durable: executors hold what the oracle awaits, and else only what they were told to stop."""
        held = {(job.run_id, instance_of(job), job.attempt): job.id for job in self.handed.values()}
        assert len(held) == len(self.handed)
        awaited = {
            (run_id, instance, attempt)
            for run_id, judge in self.judges.items()
            for instance, attempt in judge.interpreter.in_flight() - judge.lost
        }
        assert awaited <= held.keys(), f"never handed out: {awaited - held.keys()}"
        for key in held.keys() - awaited:
            assert held[key] in self.asked_to_stop, f"nobody told the executor to stop {key}"

    def _check_views(self) -> None:
        dues = [due[0] for judge in self.judges.values() for due in judge.interpreter.dues()]
        due = self.machine.next_due()
        if dues:
            assert due == min(dues), f"next due is {due}, to be {min(dues)}"
        elif due is not None:
            assert due > self.now_ns + 10**9 * 86_400, "only the keys of ended runs are left to expire"
        for run_id, judge in self.judges.items():
            view = self.machine.run(TENANT, run_id)
            assert view is not None
            assert not view.quarantined
            assert view.state == judge.interpreter.state, (
                f"{view.state}, to be {judge.interpreter.state}\n{judge.tail()}"
            )
            assert view.offset == len(judge.history) - 1
            if view.ended_ns is None:
                root = judge.interpreter.root
                assert (view.nodes_done, view.nodes_total) == (len(root.decided), len(root.graph.nodes)), judge.tail()

    # --- what goes on outside -----------------------------------------------------------------------------------

    def result(self, job: Job, outcome: Outcome) -> JobResult:
        if outcome.status == "ok":
            return JobResult.ok(job.id, job.attempt, encode(outcome.value))
        if outcome.status == "error":
            return JobResult.failed(job.id, job.attempt, outcome.type, "as drawn", outcome.retryable)
        if outcome.status == "timeout":
            return JobResult.timed_out(job.id, job.attempt)
        return JobResult.cancelled(job.id, job.attempt)

    def outcome(self, job: Job) -> Outcome:
        [start] = [start for start in self.starts.values() if start.run_id == job.run_id]
        return start.outcomes.of(instance_of(job), job.attempt, job.timeout_s is not None)

    def ready_results(self) -> list[Job]:
        return [job for job in self.handed.values() if job.id in self.asked_to_stop or self.outcome(job) is not HANGS]

    def give(self, job: Job) -> JobResult:
        """The executor is done with a job."""
        outcome = self.outcome(job)
        if job.id in self.asked_to_stop and (outcome is HANGS or self.dice.random() < 0.5):
            outcome = Outcome("cancelled", type="Cancelled")
        del self.handed[job.id]
        self.past.append((job, outcome))
        judge = self.judges[job.run_id]
        judge.offers.append(Offer("result", instance_of(job), job.attempt, outcome))
        return self.result(job, outcome)

    def stale(self) -> list[JobResult]:
        """Duplicates of results given before, some saying otherwise; results of attempts and jobs that never were."""
        found = []
        for job, outcome in self.dice.sample(self.past, min(len(self.past), 3)):
            said = self.dice.choice([outcome, Outcome("ok", {"n": 99}), Outcome("error", type="Late")])
            found.append(self.result(job, said))
        for job in list(self.handed.values())[:1]:
            found.append(JobResult.ok(job.id, job.attempt + 1, b"1"))
            found.append(JobResult.ok(job.id + 2**40, job.attempt, b"1"))
        return found

    def decide(self, judge: Judge, instance: str) -> ResolveApproval:
        [start] = [start for start in self.starts.values() if start.run_id == judge.run_id]
        approves = start.outcomes.approves(instance)
        output = {"approved": approves, "decision": "approve" if approves else "reject", "reason": "as drawn",
                  "by": "ann", "edits": None, "timed_out": False}  # fmt: skip
        judge.offers.append(Offer("approval", instance, 0, output))
        return ResolveApproval(TENANT, f"{judge.run_id}~{instance}", approves, "as drawn", by="ann")

    def cancel(self, judge: Judge) -> CancelRun:
        compensate = self.dice.random() < 0.8
        payload = {"reason": "enough", "by": "ann", "compensate": compensate}
        judge.offers.append(Offer("cancel", "", 0, payload))
        return CancelRun(TENANT, judge.run_id, "enough", compensate, by="ann")

    def open_judges(self) -> list[Judge]:
        return [judge for judge in self.judges.values() if judge.interpreter.phase != "ended"]

    def act(self) -> bool:
        """Something happens: results, a decision, a cancel, or time. False where nothing more can."""
        if self.durable < len(self.records) and self.dice.random() < 0.5:
            self.advance(self.dice.randint(self.durable + 1, len(self.records)))
            return True
        self.now_ns += self.dice.choice([0, 1, 1_000, 50_000_000])
        commands: list[Any] = self.stale() if self.dice.random() < 0.2 else []
        ready = self.ready_results()
        if ready and self.dice.random() < 0.8:
            commands += [self.give(job) for job in self.dice.sample(ready, self.dice.randint(1, len(ready)))]
        people = [(judge, name) for judge in self.open_judges() for name in judge.interpreter.waiting("approval")]
        if people and (self.dice.random() < 0.3 or not ready):
            judge, name = self.dice.choice(people)
            if self.dice.random() < 0.6 or self.machine.next_due() is None:
                commands.append(self.decide(judge, name))
        if self.open_judges() and self.dice.random() < self.cancels:
            commands.append(self.cancel(self.dice.choice(self.open_judges())))
        self.dice.shuffle(commands)
        due = self.machine.next_due()
        if not commands and not ready and not people:
            if self.durable < len(self.records):
                self.advance(len(self.records))
                return True
            if not self.open_judges():
                return False
            assert due is not None, f"nothing will ever happen again\n{self.open_judges()[0].tail()}"
        is_idle = not commands and not (self.punctual and (ready or self.durable < len(self.records)))
        is_early = not self.punctual and self.dice.random() < 0.05
        if self.open_judges() and due is not None and (is_idle or is_early):
            self.now_ns = max(self.now_ns, due)
            commands.append(Tick())
        self.turn([(0, command) for command in commands])
        return True

    def run_to_end(self, turns_max: int = 5_000) -> None:
        """On until every run has ended."""
        while self.act():
            assert self.turns < turns_max, "the run does not come to its end"
        for judge in self.judges.values():
            assert self.ended[judge.run_id] == judge.interpreter.state

    # --- a bad day ----------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """The process dies. What was durable stays, and of the rest as much as chance has it."""
        kept = self.dice.randint(self.durable, len(self.records))
        del self.records[kept:]
        self.durable, self.term = kept, self.term + 1
        self.handed.clear()
        self.asked_to_stop.clear()
        self.past.clear()
        self.snapshots = [taken for taken in self.snapshots if taken[0] <= kept]
        at = self._recover_from()
        while at < kept:
            upto = self.dice.randint(at + 1, kept)
            assert self.machine.apply(at, packed(self.records[at:upto])) == upto
            at = upto
        self._follow_again()
        jobs = self.machine.recovered()
        for job in jobs:
            self._hand_out(job)
        self._check_in_flight()
        self.turn([])
        waiting = [token for token, start in self.starts.items() if token not in self.replies]
        for token in waiting:
            self.turn([(token, self.start_command(token))])

    def _recover_from(self) -> int:
        """A new machine, from nothing or from a snapshot; the position that it stands at."""
        if self.snapshots and self.dice.random() < 0.5:
            at, snapshot = self.dice.choice(self.snapshots)
            self.machine = Machine.restore(snapshot, self.term, self.partitions, self.limits)
            return at
        self.machine = Machine(partitions=self.partitions, term=self.term, limits=self.limits)
        return 0

    def _follow_again(self) -> None:
        """The judges forget what was lost, and follow what was kept."""
        lost = self.judges
        self.judges, self.requested, self.place_of = {}, {}, {}
        for start in self.starts.values():
            if start.run_id not in lost or not any(reply.run_id == start.run_id for reply in self.replies.values()):
                start.run_id = ""
        for position, body in enumerate(self.records):
            if any(header(body).run_id):
                happened = happening(position, body)
                if happened.type == "RunStarted":
                    self._judge(read_event(position, body).run_id, happened)
                    self.judges[read_event(position, body).run_id].trusting = True
                judge = self.judges[read_event(position, body).run_id]
                self.place_of[judge.run_id, happened.offset] = position
                suffix = {"ToolCallRequested": "", "CompensationRequested": "/undo"}.get(happened.type)
                if suffix is not None:
                    self.requested[judge.run_id, happened.payload["node"] + suffix, happened.payload["attempt"]] = (
                        position
                    )
                judge.read([happened])
        for judge in self.judges.values():
            judge.trusting = False
            run = judge.interpreter
            if run.phase == "failing":
                judge.lost = run.in_flight()
            if run.phase == "ended":
                self.ended[judge.run_id] = run.state
