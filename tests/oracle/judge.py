"""Reads the events of one run and says where they are not what the interpreter allows.

Every event must be an open move of the interpreter, or something from outside that was really offered (a result, a
decision, a cancel) or whose time has really come; it must say what the interpreter computes. So the order of events is
the machine's, and what they may be is the oracle's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from tests.oracle.definition import SECOND, Document, nanoseconds
from tests.oracle.expressions import ExpressionError, same
from tests.oracle.interpreter import Interpreter, Move, NotNow, Outcome
from tests.oracle.state import Failure, Scope


class Happening(NamedTuple):
    """A recorded event."""

    offset: int
    type: str
    time_ns: int
    payload: dict[str, Any]


class Offer(NamedTuple):
    """Something from outside that the machine was given: `result`, `approval` or `cancel`.

    `node`: the instance; a compensation is `<instance>/undo`. `value`: an `Outcome`, the payload of a decision, or
    that of a cancel.
    """

    kind: str
    node: str
    attempt: int
    value: Any


class Disagreement(AssertionError):
    """The machine and the oracle do not agree."""


def parse_time(text: str) -> int:
    """RFC 3339 in UTC → ns since 1970."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = round(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * SECOND + int((fraction or "0").ljust(9, "0"))


@dataclass
class Judge:
    """One run, followed event by event."""

    definition: Document
    inputs: Any
    run_id: str = ""
    trusting: bool = False
    """What comes from outside needs no offer: another judge has seen it before."""
    items_max: int = 100_000
    offers: list[Offer] = field(default_factory=list)
    history: list[Happening] = field(default_factory=list)
    handed_out: set[tuple[str, int]] = field(default_factory=set)
    """Attempts that an executor has seen; one that none has seen may be cancelled without asking."""
    lost: set[tuple[str, int]] = field(default_factory=set)
    """Attempts in flight when a process died while the run was failing: nobody will ever tell how they ended."""
    interpreter: Interpreter = field(init=False)

    def read(self, happenings: Iterable[Happening]) -> None:
        """Follow the events, or raise `Disagreement` at the first that does not fit."""
        for happening in happenings:
            self._expect("offset", happening.offset, len(self.history))
            if self.history and happening.time_ns < self.history[-1].time_ns:
                raise Disagreement("time runs backwards")
            handler: Callable[[Happening], None] | None = getattr(self, f"_on_{happening.type}", None)
            self.history.append(happening)
            if handler is None:
                raise Disagreement(f"nothing like this was to happen: {happening}")
            try:
                handler(happening)
            except (NotNow, Disagreement, AssertionError, KeyError) as error:
                raise Disagreement(f"{happening}: {type(error).__name__}: {error}\n{self.tail()}") from error

    def tail(self) -> str:
        """The last events, for messages."""
        return "\n".join(f"  {h.offset} {h.type} {h.payload}" for h in self.history[-40:])

    def check_quiet(self) -> None:
        """The machine says it has nothing more to do: so must the oracle."""
        if self.history and self.interpreter.moves():
            raise Disagreement(f"still to do: {self.interpreter.moves()}\n{self.tail()}")
        if self.history and self.interpreter.letters:
            raise Disagreement(f"no dead letter of {self.interpreter.letters}\n{self.tail()}")

    def check_offers(self) -> None:
        """Every offer was taken, or had nothing to change; then all are forgotten."""
        for offer in self.offers:
            if offer.kind == "result" and (offer.node, offer.attempt) in self.interpreter.in_flight():
                raise Disagreement(f"was not taken: {offer}\n{self.tail()}")
            if offer.kind == "cancel" and self.interpreter.phase == "running":
                raise Disagreement(f"was not taken: {offer}\n{self.tail()}")
            if offer.kind == "approval" and offer.node in self.interpreter.waiting("approval"):
                raise Disagreement(f"was not taken: {offer}\n{self.tail()}")
        self.offers.clear()

    # --- what is compared ---------------------------------------------------------------------------------------

    def _expect(self, what: str, have: object, want: object) -> None:
        if not same(have, want):
            raise Disagreement(f"{what} is {have!r}, to be {want!r}")

    def _expect_due(self, have: str | None, bounds: tuple[int, int] | None) -> None:
        if (have is None) != (bounds is None):
            raise Disagreement(f"due is {have}, to be {bounds}")
        if have is not None and bounds is not None and not bounds[0] <= parse_time(have) <= bounds[1]:
            raise Disagreement(f"due is {parse_time(have)}, to be within {bounds}")

    def _expect_failure(self, have: Any, scope: Scope | None = None, node: str = "") -> None:
        """The `fails` of an event: the run's failure, that of the item only, or none."""
        failure = self.interpreter.failure
        if failure is not None:
            self._expect_error(have, failure)
        elif scope is not None and scope.ending == "failed":
            assert scope.error is not None
            self._expect("fails", {k: v for k, v in (have or {}).items() if k != "message"},
                         {"code": "NODE_FAILED", "type": scope.error["type"], "node": node, "item": True})  # fmt: skip
        else:
            self._expect("fails", have, None)

    def _expect_error(self, have: Any, failure: Failure) -> None:
        shown = (have or {}).get("code"), (have or {}).get("node", "")
        self._expect("the failure", list(shown), [failure.code, failure.node])
        if failure.code == "NODE_FAILED":
            self._expect("the type of the failure", have.get("type"), failure.type)

    def _offer(self, kind: str, node: str, attempt: int) -> Offer | None:
        for at, offer in enumerate(self.offers):
            if offer[:3] == (kind, node, attempt):
                return self.offers.pop(at)
        return None

    def _outcome(
        self, node: str, attempt: int, payload: dict[str, Any], due: tuple[int, int] | None, now: int
    ) -> Outcome:
        """The outcome that the event tells of: offered by an executor, or made by time."""
        error = payload.get("error") or {}
        told = Outcome(payload["status"], payload.get("output"), error.get("type", ""))
        offer = self._offer("result", node, attempt)
        if self.trusting:
            happened = told.status != "cancelled" or payload.get("unknown", False)
            status = told.status if happened else "unseen"
            return Outcome(status, told.value, told.type, None if payload.get("retry") else False)
        if offer is None and told.status == "cancelled" and self.interpreter.phase == "failing":
            if (node, attempt) in self.handed_out:
                raise Disagreement("an executor may be at it: its result is to be awaited")
            return Outcome("cancelled" if (node, attempt) in self.lost else "unseen", type="Cancelled")
        if offer is None:
            if told.status != "timeout" or due is None or now < due[0]:
                raise Disagreement("nobody offered this result, and it is not the time")
            made = Outcome("timeout", type="Timeout")
            if not node.endswith("/undo"):
                made = self.interpreter.out_of_time(node, now)
            self._expect("error", told.type, made.type)
            return made
        outcome: Outcome = offer.value
        self._expect("status", told.status, outcome.status)
        if outcome.status == "ok":
            self._expect("output", told.value, outcome.value)
        if outcome.status == "error":
            self._expect("error", told.type, outcome.type)
        return outcome

    # --- the run ------------------------------------------------------------------------------------------------

    def _on_RunStarted(self, h: Happening) -> None:
        self.interpreter = Interpreter(self.definition, self.inputs, h.time_ns, self.items_max)
        self._expect("inputs", h.payload.get("inputs"), self.inputs)
        self._expect("nodes", h.payload["nodes_total"], len(self.interpreter.root.graph.nodes))
        due = self.interpreter.due
        self._expect_due(h.payload.get("due"), None if due is None else (due, due))

    def _on_RunCancelled(self, h: Happening) -> None:
        offer = self._offer("cancel", "", 0)
        if offer is None and not self.trusting:
            raise Disagreement("nobody cancelled")
        if offer is not None:
            self._expect("cancel", h.payload, offer.value)
        if not self.interpreter.cancel(h.payload["compensate"]):
            raise Disagreement("a cancel of a run that is ending is to change nothing")

    def _on_WorkflowCompleted(self, h: Happening) -> None:
        self._expect("dead letters to write", self.interpreter.letters, [])
        output = self.interpreter.take(Move("complete"), h.time_ns)
        self._expect("output", h.payload.get("output"), output)

    def _on_CompensationPlanned(self, h: Happening) -> None:
        self._output_failed(h)
        steps = self.interpreter.take(Move("propose"), h.time_ns)
        self._expect("steps", h.payload["steps"], steps)
        due = self.interpreter.undo_due
        self._expect_due(h.payload.get("due"), None if due is None else (due, due))
        assert self.interpreter.failure is not None
        if "error" in h.payload:
            self._expect_error(h.payload["error"], self.interpreter.failure)

    def _on_WorkflowFailed(self, h: Happening) -> None:
        self._output_failed(h)
        self.interpreter.take(Move("fail"), h.time_ns)
        assert self.interpreter.failure is not None
        self._expect_error(h.payload["error"], self.interpreter.failure)
        self._expect("executed", h.payload["compensation_executed"], bool(self.interpreter.undone))
        results = [[step["step_id"], step["success"]] for step in h.payload["compensation_results"]]
        self._expect("results", results, [list(step) for step in self.interpreter.undone])

    def _output_failed(self, h: Happening) -> None:
        """The output of the run may be what fails it; no event of its own says so."""
        if self.interpreter.phase == "running":
            output = self.interpreter.take(Move("complete"), h.time_ns)
            if not isinstance(output, ExpressionError):
                raise Disagreement("the run is to complete")

    # --- nodes --------------------------------------------------------------------------------------------------

    def _on_ToolCallRequested(self, h: Happening) -> None:
        name, now = h.payload["node"], h.time_ns
        if name in self.interpreter.waiting("retry"):
            given = self.interpreter.retry(name, now)
        else:
            given = self.interpreter.take(Move("start", name), now)
        node, work = self.interpreter.node(name), self.interpreter.waiting("job")[name]
        self._expect("attempt", h.payload["attempt"], work.attempt)
        self._expect("input", h.payload["input"], given)
        self._expect("name", h.payload["name"], node.config["name"])
        self._expect("attempts", h.payload["max_attempts"], node.retry.attempts_max)
        self._expect("timeout", h.payload["timeout_ns"], node.timeout_ns or 0)

    def _on_ToolResultReceived(self, h: Happening) -> None:
        name, now = h.payload["node"], h.time_ns
        scope, node = self.interpreter.place(name)
        work = scope.work.get(node.id)
        if Move("cancel", name) in self.interpreter.moves() and h.payload["status"] == "cancelled":
            seen = self.trusting or (name, h.payload["attempt"]) in self.handed_out
            unknown = seen and work is not None and work.kind == "job" and node.write
            if not self.trusting:
                self._expect("unknown", h.payload.get("unknown", False), unknown)
            # An attempt before this one may have been a write of unknown outcome: that stays so.
            was_unknown = name in self.interpreter.unknown
            self.interpreter.take(Move("cancel", name), now)
            if not h.payload.get("unknown", False) and not was_unknown:
                self.interpreter.unknown.discard(name)
        elif work is None:
            self._started_and_decided(h, scope)
        elif work.kind == "job":
            outcome = self._outcome(name, h.payload["attempt"], h.payload, work.due, now)
            was_given_up = scope.gives_up() or node.id in scope.doomed
            again, dead = self.interpreter.result(name, h.payload["attempt"], outcome, now)
            self._expect("retry", h.payload.get("retry", False), again)
            if self.interpreter.phase == "running" and not was_given_up:
                self._expect("dead", sorted(h.payload.get("dead", [])), sorted(dead))
            if not again and not was_given_up and not self._was_failing(h):
                self._expect_failure(h.payload.get("fails"), scope, name)
            self._expect("unknown", h.payload.get("unknown", False),
                         outcome.status in ("timeout", "cancelled") and node.write)  # fmt: skip
        elif work.kind == "retry":
            self._expect("error", h.payload["error"]["type"], "Timeout")
            self._expect("retry", h.payload.get("retry", False), False)
            dead = self.interpreter.retry_is_too_late(name, now)
            self._expect("dead", sorted(h.payload.get("dead", [])), sorted(dead))
            self._expect_failure(h.payload.get("fails"), scope, name)
        elif work.kind == "approval":
            self._expect("error", h.payload["error"]["type"], "ApprovalTimeout")
            was_given_up = scope.gives_up() or node.id in scope.doomed
            dead = self.interpreter.approval_timeout(name, None, now)
            if not was_given_up:
                self._expect("dead", sorted(h.payload.get("dead", [])), sorted(dead))
                self._expect_failure(h.payload.get("fails"), scope, name)
        elif Move("finish", name) not in self.interpreter.moves():
            self._output_of_item_failed(h)
        else:
            output = self.interpreter.take(Move("finish", name), now)
            self._decided_bodies(h, scope, output)

    def _output_of_item_failed(self, h: Happening) -> None:
        """The output of an item may be what fails the run; the event is that of its map."""
        items = [move for move in self.interpreter.moves() if move[:2] == ("close", h.payload["node"])]
        for item in items:
            if isinstance(self.interpreter.take(item, h.time_ns)[1], ExpressionError):
                self._expect_failure(h.payload["fails"])
                return
        raise Disagreement("the output of no item fails")

    def _was_failing(self, h: Happening) -> bool:
        """Whether the run was failing before this event: then it gives no reason of its own."""
        failure = self.interpreter.failure
        return failure is not None and (h.payload.get("fails") is None) and failure.node != h.payload["node"]

    def _started_and_decided(self, h: Happening, scope: Scope) -> None:
        """A node that is decided by starting: a join, a map of nothing, or one that can't start."""
        name, now = h.payload["node"], h.time_ns
        node = self.interpreter.node(name)
        if Move("unreachable", name) in self.interpreter.moves():
            self.interpreter.take(Move("unreachable", name), now)
            self._expect_failure(h.payload.get("fails"))
            return
        output = self.interpreter.take(Move("start", name), now)
        if isinstance(output, ExpressionError):
            self._expect_failure(h.payload.get("fails"))
        elif node.type in ("map", "loop"):
            if scope.work.get(node.id):
                output = self.interpreter.take(Move("finish", name), now)
            self._decided_bodies(h, scope, output)
        else:
            self._expect("type", node.type, "join")
            self._expect("status", h.payload["status"], "ok")
            self._expect("output", h.payload["output"], output)
            self._expect_failure(h.payload.get("fails"))

    def _decided_bodies(self, h: Happening, scope: Scope, output: Any) -> None:
        """A map or a loop is done."""
        name = h.payload["node"]
        if isinstance(output, ExpressionError):
            self._expect_failure(h.payload.get("fails"))
            return
        verdict = self.interpreter.verdicts[name]
        self._expect("status", h.payload["status"], "ok" if verdict.status == "ok" else "error")
        if verdict.status == "ok":
            self._expect("output", h.payload["output"], output)
        else:
            assert verdict.error is not None
            self._expect("error", h.payload["error"]["type"], verdict.error["type"])
        self._expect_failure(h.payload.get("fails"), scope, name)

    def _on_DeadLettered(self, h: Happening) -> None:
        error = self.interpreter.write_letter(h.payload["node"])
        self._expect("error", h.payload["error"]["type"], error["type"])

    def _on_NodeSkipped(self, h: Happening) -> None:
        self.interpreter.take(Move("skip", h.payload["node"]), h.time_ns)

    def _on_NodeRetryScheduled(self, h: Happening) -> None:
        name, attempt = h.payload["node"], h.payload["attempt"]
        if h.payload.get("compensation"):
            undoing = self.interpreter.undoing
            assert undoing is not None
            status = "timeout" if h.payload["error"]["type"] == "Timeout" else "error"
            told = {"status": status, "error": h.payload["error"], "retry": True}
            outcome = self._outcome_of_undo(f"{name}/undo", attempt - 1, told, undoing.due, h.time_ns)
            if not self.interpreter.undo_result(name, attempt - 1, outcome, h.time_ns):
                raise Disagreement("no attempt is left")
            self._expect_due(h.payload["due"], undoing.due)
            undoing.due = (parse_time(h.payload["due"]),) * 2
            return
        work = self.interpreter.take(Move("schedule", name), h.time_ns)
        self._expect("attempt", attempt, work.attempt + 1)
        self._expect_due(h.payload["due"], work.due)
        work.due = (parse_time(h.payload["due"]),) * 2

    def _on_ScopeOpened(self, h: Happening) -> None:
        name, index = h.payload["node"], h.payload["index"]
        if name not in self.interpreter.waiting("map", "loop"):
            over = self.interpreter.take(Move("start", name), h.time_ns)
            self._expect("over", h.payload.get("over"), over)
            self._expect("items", h.payload["items"], len(over or []))
        item = self.interpreter.take(Move("open", name, index), h.time_ns)
        if self.interpreter.node(name).type == "map":
            self._expect("item", h.payload["item"], item)

    def _on_ScopeClosed(self, h: Happening) -> None:
        name, index = h.payload["node"], h.payload["index"]
        body = self.interpreter.scopes[f"{name}[{index}]."]
        cancelled = any((verdict.error or {}).get("type") == "Cancelled" for verdict in body.decided.values())
        status, output = self.interpreter.take(Move("close", name, index), h.time_ns)
        if status != "cancelled":
            self._expect("status", h.payload["status"], status)
        elif h.payload["status"] == "ok" and (cancelled or body.undecided()):
            raise Disagreement("an item that was given up before it was done is not ok")
        config = self.interpreter.node(name).config
        fails = h.payload["status"] == "failed" and config.get("on_item_error", "fail") == "fail"
        self._expect("fails", h.payload.get("fails", False), fails)
        if status == "ok":
            self._expect("output", h.payload["output"], output)

    # --- waiting ------------------------------------------------------------------------------------------------

    def _on_TimerStarted(self, h: Happening) -> None:
        self.interpreter.take(Move("start", h.payload["node"]), h.time_ns)
        self._expect_due(h.payload["due"], self.interpreter.waiting("timer")[h.payload["node"]].due)

    def _on_TimerFired(self, h: Happening) -> None:
        if h.payload.get("timer") == "run":
            self.interpreter.run_timeout(h.time_ns)
            self._expect_failure(h.payload.get("fails"))
            return
        if h.payload.get("timer") == "compensation":
            self.interpreter.undo_timeout(h.time_ns)
            return
        output = h.payload["output"]
        self._expect("fired at", parse_time(output["fired_at"]), h.time_ns)
        self._resolved(h, self.interpreter.timer(h.payload["node"], output, h.time_ns))

    def _on_ApprovalRequested(self, h: Happening) -> None:
        name = h.payload["node"]
        prompt = self.interpreter.take(Move("start", name), h.time_ns)
        self._expect("prompt", h.payload["prompt"], prompt)
        self._expect("ticket", h.payload["ticket"], f"{self.run_id}~{name}")
        self._expect_due(h.payload.get("due"), self.interpreter.waiting("approval")[name].due)

    def _on_ApprovalResolved(self, h: Happening) -> None:
        name, output = h.payload["node"], h.payload["output"]
        timed_out = h.payload["timed_out"]
        if timed_out:
            decision = self.interpreter.node(name).config.get("on_timeout", "reject")
            self._expect("decision", output["decision"], decision)
            dead = self.interpreter.approval_timeout(name, output, h.time_ns)
        else:
            offer = self._offer("approval", name, 0)
            if offer is None and not self.trusting:
                raise Disagreement("nobody decided")
            if offer is not None:
                self._expect("output", output, offer.value)
            dead = self.interpreter.approval(name, output)
        self._expect("timed out", output["timed_out"], timed_out)
        self._expect("approved", output["approved"], output["decision"] == "approve")
        self._resolved(h, dead)

    def _resolved(self, h: Happening, dead: list[str]) -> None:
        if self.interpreter.phase == "running":
            self._expect("dead", sorted(h.payload.get("dead", [])), sorted(dead))
        self._expect_failure(h.payload.get("fails"))

    # --- undoing ------------------------------------------------------------------------------------------------

    def _on_CompensationRequested(self, h: Happening) -> None:
        name, undoing = h.payload["node"], self.interpreter.undoing
        if undoing is None:
            given = self.interpreter.take(Move("undo", name), h.time_ns)
        else:
            given = self.interpreter.undo_retry(name, h.time_ns)
        undoing, compensation = self.interpreter.undoing, self.interpreter.node(name).compensation
        assert undoing is not None
        assert compensation is not None
        self._expect("attempt", h.payload["attempt"], undoing.attempt)
        self._expect("input", h.payload["input"], given)
        self._expect("name", h.payload["name"], compensation["name"])
        self._expect("timeout", h.payload["timeout_ns"], nanoseconds(compensation.get("timeout_s", 0)))

    def _on_CompensationCompleted(self, h: Happening) -> None:
        name, undoing = h.payload["node"], self.interpreter.undoing
        if Move("abandon", name) in self.interpreter.moves():
            self._expect("success", h.payload["success"], False)
            self.interpreter.take(Move("abandon", name), h.time_ns)
            return
        assert undoing is not None
        error = h.payload.get("error")
        status = "ok" if error is None else "timeout" if error["type"] == "Timeout" else "error"
        self._expect("success", h.payload["success"], error is None)
        told = {"status": status, "error": error}
        outcome = self._outcome_of_undo(f"{name}/undo", h.payload["attempt"], told, undoing.due, h.time_ns)
        if self.interpreter.undo_result(name, h.payload["attempt"], outcome, h.time_ns):
            raise Disagreement("another attempt is to follow")

    def _outcome_of_undo(
        self, node: str, attempt: int, told: dict[str, Any], due: tuple[int, int] | None, now: int
    ) -> Outcome:
        """Its value is nobody's business: `CompensationCompleted` does not carry it."""
        for offer in self.offers:
            if offer[:3] == ("result", node, attempt) and offer.value.status == "ok":
                told = {**told, "output": offer.value.value}
                break
        return self._outcome(node, attempt, told, due, now)
