"""Histories of varied runs as files: what a later engine must still read and decide alike.

    .venv/bin/python tools/histories.py FOLDER [NAME…]

Drives a machine without a gateway: jobs are answered by the name of their function, time goes to the next timer.
Files that are there stay as they are: a kept history is never made anew.
"""

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from apex_fast.app import version
from apex_fast.core import (
    ApplyPatch,
    CancelRun,
    Job,
    JobResult,
    Machine,
    MigrateRun,
    PatchRule,
    PatchRules,
    PauseRun,
    RegisterWorkflow,
    ResolveApproval,
    ResumeRun,
    RollbackPatch,
    StartRun,
    Tick,
    compile,
    history_header,
    read_event,
    split_records,
)

TENANT = "default"
_ANY = PatchRule(reaches_any=True)
RULES = PatchRules(_ANY, _ANY, _ANY)
BEGAN_NS = 1_700_000_000_000_000_000
TURNS_MAX = 200


def call(node: str, function: str = "ok", **more: Any) -> dict[str, Any]:
    """A node that calls a function; its name says how it ends."""
    return {"id": node, "type": "function", "config": {"name": function}, **more}


def chain(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Nodes one after the other."""
    edges = [{"from": one["id"], "to": two["id"]} for one, two in pairwise(nodes)]
    return {"nodes": list(nodes), "edges": edges, **more}


UNDO: dict[str, Any] = {"compensation": {"name": "ok", "input": {}}}
EACH: dict[str, Any] = {
    "over": "${inputs.list}",
    "body": {
        "nodes": [call("x", input={"v": "${item}"}), call("y", input={})],
        "edges": [{"from": "x", "to": "y"}],
    },
    "max_concurrency": 2,
}
ASK: dict[str, Any] = {
    "id": "ask",
    "type": "approval",
    "config": {"prompt": "Go on?", "timeout_s": 60, "on_timeout": "reject"},
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "chain": chain(call("a"), call("b", input={"v": "${nodes.a.output.v}"}), call("c")),
    "map": chain({"id": "m", "type": "map", "config": EACH}, call("end")),
    "nested-map": chain(
        {"id": "m", "type": "map", "config": {"over": [[1, 2], [], [3]], "body": {"nodes": [
            {"id": "n", "type": "map", "config": {"over": "${item}", "body": {"nodes": [call("x")]}}}]}}}
    ),
    "item-fails": chain({"id": "m", "type": "map", "config": {
        "over": [1, 2, 3, 4], "body": {"nodes": [call("x", "boom_third", **UNDO)]}, "max_concurrency": 2}}),
    "item-skipped": chain({"id": "m", "type": "map", "config": {
        "over": [1, 2, 3, 4], "body": {"nodes": [call("x", "boom_third")]}, "on_item_error": "skip"}}),
    "retry": chain(call("a", "flaky", retry={"max_attempts": 3, "initial_s": 1})),
    "saga": chain(call("a", effect="write", **UNDO), call("b", effect="write", **UNDO), call("c", "boom")),
    "undo-retried": chain(
        call("a", effect="write", compensation={"name": "flaky", "input": {}, "retry": {"max_attempts": 3}}),
        call("b", "boom")),
    "timeout": chain(call("a", "hangs", effect="write", timeout_s=5, **UNDO), timeout_s=600),
    "run-timeout": chain(call("a"), call("b", "hangs"), timeout_s=30),
    "approved": chain(ASK, call("end")),
    "rejected-in-time": chain(ASK, call("end")),
    "timer": chain({"id": "wait", "type": "timer", "config": {"duration_s": 30}}, call("end")),
    "cancelled": chain(call("a", effect="write", **UNDO), ASK),
    "paused": chain(call("a"), call("b"), call("c")),
    "error-edge": {"nodes": [call("a", "boom"), call("sad"), call("glad")],
                   "edges": [{"from": "a", "to": "sad", "on": "error"}, {"from": "a", "to": "glad"}]},
    "joins": {"nodes": [call("a"), call("b"), call("slow", "hangs"),
                        {"id": "j", "type": "join", "join": "any", "cancel_rest": True}, call("end")],
              "edges": [{"from": one, "to": "j"} for one in ("a", "b", "slow")] + [{"from": "j", "to": "end"}]},
    "guards": {"nodes": [call("a"), call("high"), call("low")],
               "edges": [{"from": "a", "to": "high", "when": "nodes.a.output.v > 5"},
                         {"from": "a", "to": "low", "when": "nodes.a.output.v <= 5"}]},
    "expression-fails": chain(call("a", **UNDO), call("b", input={"v": "${nodes.a.output.v + 'x'}"})),
    "moved-and-patched": chain(call("a"), ASK, call("gone")),
    "after-a-crash": chain(call("a"), {"id": "m", "type": "map", "config": EACH}, ASK),
}  # fmt: skip


class Stage:
    """One machine, and one run on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.now_ns = BEGAN_NS
        self.machine = Machine(4, 1)
        self.records: list[bytes] = []
        self.jobs: dict[int, Job] = {}
        self.asked_to_end: set[int] = set()
        self.run_id = ""
        document = {"name": name, "version": "1", **DEFINITIONS[name]}
        self._step(RegisterWorkflow(TENANT, compile(json.dumps(document).encode()).canonical))
        self._step(StartRun(TENANT, name, inputs=b'{"list": [1, 2, 3], "x": 1}'))

    def _step(self, *commands: Any) -> None:
        batch = [(1, command) for command in commands]
        while True:
            turn = self.machine.step(self.now_ns, batch)
            self.records += split_records(turn.records())
            jobs, cancels, replies, _ = self.machine.advance(turn.position)
            self.jobs.update({job.id: job for job in jobs})
            self.asked_to_end.update(cancels)
            self.run_id = next((reply.run_id for reply in replies if reply.run_id), self.run_id)
            batch = []
            if not turn.more:
                return

    def _crash(self) -> None:
        """The process ends and another one goes on."""
        self.machine = Machine(4, 2)
        self.machine.apply(0, b"".join(len(body).to_bytes(4, "little") + body for body in self.records))
        self.jobs = {job.id: job for job in self.machine.recovered()}

    @property
    def ended(self) -> bool:
        view = self.machine.run(TENANT, self.run_id)
        return view is not None and view.ended_ns is not None

    def play(self) -> None:
        """To the end of the run."""
        for turn in range(TURNS_MAX):
            if self.ended:
                return
            self.now_ns += 1_000_000
            for command in self._next(turn):
                self._step(command)
        raise AssertionError(f"{self.name} does not end")

    def _next(self, turn: int) -> Iterator[Any]:
        if self.name == "paused" and turn == 1:
            yield PauseRun(TENANT, self.run_id)
            yield Tick()
            yield ResumeRun(TENANT, self.run_id)
        if self.name == "moved-and-patched" and turn == 1:
            yield from self._changes()
        if self.name == "after-a-crash" and turn == 3:
            self._crash()
        answers = [self._answer(job) for job in self.jobs.values()]
        found = next((answer for answer in answers if answer is not None), None)
        if found is not None:
            del self.jobs[found.job]
            yield found
            return
        [*waiting], _ = self.machine.approvals(TENANT, 1)
        if waiting and self.name == "cancelled":
            yield CancelRun(TENANT, self.run_id, "enough")
        elif waiting and self.name != "rejected-in-time":
            yield ResolveApproval(TENANT, waiting[0].ticket, True, "fine", b'{"n": 1}', "ann")
        else:
            due = self.machine.next_due()
            assert due is not None, f"{self.name} waits for nothing"
            self.now_ns = max(self.now_ns, due)
            yield Tick()

    def _changes(self) -> Iterator[Any]:
        """Another version, two patches on it, and one of them dropped."""
        document = {"name": self.name, "version": "2", **chain(call("a"), ASK, call("b"))}
        yield RegisterWorkflow(TENANT, compile(json.dumps(document).encode()).canonical)
        yield MigrateRun(TENANT, self.run_id, "2")
        for node in ("c", "dropped"):
            edge = {"from": "b", "to": node}
            operations = [
                {"op": "add", "path": "/nodes/-", "value": call(node)},
                {"op": "add", "path": "/edges/-", "value": edge},
            ]
            yield ApplyPatch(TENANT, self.run_id, json.dumps(operations).encode(), RULES, "more", "ann")
        yield RollbackPatch(TENANT, f"{self.run_id}~p2", RULES, "less")

    def _answer(self, job: Job) -> JobResult | None:
        fails = (
            job.name == "boom"
            or (job.name == "flaky" and job.attempt == 1)
            or (job.name == "boom_third" and job.node.startswith("m[2]"))
        )
        if job.id in self.asked_to_end:
            return JobResult.cancelled(job.id, job.attempt)
        if job.name == "hangs":
            return None
        if fails:
            return JobResult.failed(job.id, job.attempt, "Broken", "as its name says")
        return JobResult.ok(job.id, job.attempt, b'{"v": 7}')

    def file(self) -> bytes:
        """The history."""
        bodies = [body for at, body in enumerate(self.records) if read_event(at, body).run_id == self.run_id]
        header = history_header(version(), self.run_id, TENANT, self.machine.workflows(TENANT))
        return header + b"".join(len(body).to_bytes(4, "little") + body for body in bodies)


def main(folder: Path, names: list[str]) -> None:
    """Make what is not there."""
    for name in names or DEFINITIONS:
        file = folder / f"{name}.apexhist"
        if not file.exists():
            stage = Stage(name)
            stage.play()
            file.write_bytes(stage.file())
            print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
