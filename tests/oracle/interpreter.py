"""What a definition does, as a set of moves: the interpreter says which are open, whoever drives it takes them.

Internal moves (a ready node starts, a join fires, a map opens an item) have no fixed order among each other, so the
interpreter gives none: `moves()` lists all that are open and `take()` does one. What comes from outside (results, time,
people) has a method each. Written from contracts.md and docs/decisions/0005-node-semantics.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.oracle.definition import Document, Graph, Node, Retry, nanoseconds
from tests.oracle.expressions import ABSENT, ExpressionError, is_true, render
from tests.oracle.state import Failure, Items, Iterations, Scope, Verdict, Work


class Move(NamedTuple):
    """Start, skip, unreachable, cancel, schedule, open, finish, close, complete, propose, undo, abandon, fail."""

    kind: str
    node: str = ""
    item: int = 0


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: `ok`, `error`, `timeout` or `cancelled`."""

    status: str
    value: Any = None
    type: str = ""
    retryable: bool | None = None


@dataclass
class Undoing:
    """The compensation of one node."""

    node: str
    attempt: int = 0
    due: tuple[int, int] | None = None
    in_flight: bool = False


class NotNow(Exception):
    """What was asked for does not fit the state of the run."""


class Interpreter:
    """One run."""

    def __init__(self, definition: Document, inputs: Any, started_ns: int = 0, items_max: int = 100_000) -> None:
        self.inputs = inputs
        self.items_max = items_max
        self.root = Scope("", Graph.of(definition))
        self.scopes = {"": self.root}
        self.phase = "running"
        """`running`, `failing` (waits for what is in flight), `undoing`, `ended`."""
        timeout_s = definition.get("timeout_s")
        self.due = None if timeout_s is None else started_ns + nanoseconds(timeout_s)
        self.failure: Failure | None = None
        self.compensate = True
        self.output: Any = None
        self.verdicts: dict[str, Verdict] = {}
        self.last_result: dict[str, int] = {}
        self.unknown: set[str] = set()
        self.requests: list[tuple[str, int]] = []
        """Each attempt handed out: (instance, attempt), compensations as `<instance>/undo`."""
        self.plan: list[str] | None = None
        self.undoing: Undoing | None = None
        self.undone: list[tuple[str, bool]] = []
        limit_s = definition.get("compensation_timeout_s")
        self.undo_timeout_ns = None if limit_s is None else nanoseconds(limit_s)
        self.undo_due: int | None = None
        """Until when compensation may take; none once that has passed."""
        self.undo_expired = False
        self.results = 0
        self.letters: list[str] = []
        """Nodes that failed for good, whose dead letter is yet to be written."""

    # --- where things are ---------------------------------------------------------------------------------------

    def place(self, instance: str) -> tuple[Scope, Node]:
        """The scope and node of an instance path."""
        at = instance.rfind("].") + 2 if "]." in instance else 0
        scope = self.scopes.get(instance[:at])
        if scope is None or scope.closed or instance[at:] not in scope.graph.nodes:
            raise NotNow(f"{instance} is in no open scope")
        return scope, scope.graph.nodes[instance[at:]]

    def node(self, instance: str) -> Node:
        """The node of an instance path, whether or not its scope is still open."""
        graph = self.root.graph
        for step in instance.split("].")[:-1]:
            body = graph.nodes[step[: step.rindex("[")]].body
            assert body is not None
            graph = body
        return graph.nodes[instance[instance.rfind("].") + 2 if "]." in instance else 0 :]]

    def waiting(self, *kinds: str) -> dict[str, Work]:
        """Started nodes that are busy with one of these."""
        return {
            scope.prefix + node: work
            for scope in self.scopes.values()
            for node, work in scope.work.items()
            if work.kind in kinds
        }

    def in_flight(self) -> set[tuple[str, int]]:
        """Jobs whose result is awaited."""
        jobs = {(node, work.attempt) for node, work in self.waiting("job").items()}
        if self.undoing and self.undoing.in_flight:
            jobs.add((f"{self.undoing.node}/undo", self.undoing.attempt))
        return jobs

    def dues(self) -> Iterator[tuple[int, int]]:
        """What time will do: earliest and latest moment of each."""
        for work in self.waiting("job", "retry", "timer", "approval").values():
            if work.due:
                yield work.due
        if self.undoing and self.undoing.due:
            yield self.undoing.due
        if self.due is not None and self.phase == "running":
            yield self.due, self.due
        if self.undo_due is not None and self.phase == "undoing":
            yield self.undo_due, self.undo_due

    def _names(self, scope: Scope) -> dict[str, object]:
        nodes: dict[str, object] = {}
        for around in scope.chain():
            for node in around.graph.nodes:
                verdict = around.decided.get(node)
                nodes[node] = {
                    "status": verdict.status if verdict else ABSENT,
                    "output": verdict.output if verdict else ABSENT,
                    "error": verdict.error if verdict and verdict.error else ABSENT,
                }
        item, iteration = scope.innermost("map") or scope, scope.innermost("loop") or scope
        names = {"item": item.item, "index": item.index, "iteration": iteration.index, "last": iteration.item}
        return {"inputs": self.inputs, "nodes": nodes, **names}

    # --- internal moves -----------------------------------------------------------------------------------------

    def moves(self) -> list[Move]:
        """All that has to happen now, in any order; empty: the run waits for something outside."""
        if self.phase == "running":
            found = [move for scope in self.scopes.values() if not scope.closed for move in self._moves_in(scope)]
            if not found and not self.root.undecided():
                found.append(Move("complete"))
            return found
        if self.phase == "failing" and not self.in_flight():
            return [Move("propose" if self._to_undo() else "fail")]
        if self.phase == "undoing" and self.undo_expired and self.plan:
            return [Move("abandon", self.plan[0])]
        if self.phase == "undoing" and self.undoing is None:
            assert self.plan is not None
            return [Move("undo", self.plan[0]) if self.plan else Move("fail")]
        return []

    def _moves_in(self, scope: Scope) -> Iterator[Move]:
        gives_up = scope.gives_up()
        for node in scope.graph.nodes.values():
            instance, work = scope.prefix + node.id, scope.work.get(node.id)
            if node.id in scope.decided:
                continue
            if gives_up or node.id in scope.doomed:
                yield from self._moves_of_given_up(scope, instance, node, work)
            elif work is None:
                if readiness := scope.readiness(node):
                    yield Move(readiness, instance)
            elif work.kind == "scheduling":
                yield Move("schedule", instance)
            elif work.items:
                yield from self._moves_of_map(instance, node, work.items)
            elif work.loop and not self._open_items(instance):
                goes_on = self._goes_on(scope, node, work.loop)
                yield Move("open", instance, work.loop.opened) if goes_on is True else Move("finish", instance)
        if scope.parent is not None and (self._is_idle(scope) if gives_up else not scope.undecided()):
            yield Move("close", scope.prefix[: scope.prefix.rindex("[")], scope.index)

    def _moves_of_given_up(self, scope: Scope, instance: str, node: Node, work: Work | None) -> Iterator[Move]:
        """Jobs are called back one by one; what merely waits within an item goes with the item."""
        if work is None:
            if node.id in scope.doomed:
                yield Move("skip", instance)
        elif work.kind == "job" or (node.id in scope.doomed and not self._open_items(instance)):
            yield Move("cancel", instance)

    def _is_idle(self, scope: Scope) -> bool:
        """Whether no job is in flight within a scope that was given up."""
        return all(work.kind != "job" for body in self._within(scope) for work in body.work.values())

    def _within(self, scope: Scope) -> list[Scope]:
        """The scope and those inside it that are open."""
        return [body for body in self.scopes.values() if not body.closed and scope in body.chain()]

    def _moves_of_map(self, instance: str, node: Node, items: Items) -> Iterator[Move]:
        is_open = self._open_items(instance)
        if items.failure is None and items.opened < len(items.over):
            if is_open < node.config.get("max_concurrency", 64):
                yield Move("open", instance, items.opened)
        elif not is_open:
            yield Move("finish", instance)

    def _goes_on(self, scope: Scope, node: Node, loop: Iterations) -> bool | ExpressionError:
        """Whether another iteration follows, or why nobody can say."""
        if loop.failure is not None or loop.opened >= node.config["max_iterations"]:
            return False
        try:
            return is_true(node.config["while"], {**self._names(scope), "iteration": loop.opened, "last": loop.last})
        except ExpressionError as error:
            return error

    def _open_items(self, instance: str) -> int:
        scope, node = self.place(instance)
        return sum(not body.closed and body.parent is scope and body.owner == node.id for body in self.scopes.values())

    def take(self, move: Move, now_ns: int) -> Any:
        """Do one open move. What it gave: the input of a job, the output of a join, map, scope or run, …"""
        if move not in self.moves():
            raise NotNow(f"{move} is not open; open are {self.moves()}")
        match move.kind:
            case "start":
                return self._start(move.node, now_ns)
            case "skip":
                return self._settle(*self.place(move.node), Verdict("skipped"))
            case "unreachable":
                return self._unreachable(move.node)
            case "cancel":
                return self._cancel(move.node)
            case "schedule":
                return self._schedule(move.node, now_ns)
            case "open":
                return self._open(move.node, move.item)
            case "close":
                return self._close(move.node, move.item)
            case "finish":
                return self._finish(move.node)
            case "complete":
                return self._complete()
            case "propose":
                self.phase, self.plan = "undoing", self._to_undo()
                self.undo_due = None if self.undo_timeout_ns is None else now_ns + self.undo_timeout_ns
                return list(self.plan)
            case "abandon":
                assert self.plan is not None
                self.plan.remove(move.node)
                self.undone.append((move.node, False))
                self.undoing = None
                return None
            case "undo":
                self.undoing = Undoing(move.node)
                return self._undo_attempt(now_ns)
            case _:
                self.phase = "ended"
                return None

    def _start(self, instance: str, now_ns: int) -> Any:
        scope, node = self.place(instance)
        if node.cancel_rest:
            scope.doomed |= {
                other for other in scope.undecided()
                if other != node.id and scope.graph.only_leads_to(other, node.id)
            }  # fmt: skip
        try:
            return self._begin(scope, node, instance, now_ns)
        except ExpressionError as error:
            self._decide(scope, node, Verdict("failed", error=_error("ExpressionFailed", str(error))))
            self._fail_run(Failure("EXPRESSION_FAILED", "ExpressionFailed", instance))
            return error

    def _begin(self, scope: Scope, node: Node, instance: str, now_ns: int) -> Any:
        names = self._names(scope)
        if node.type == "function":
            rendered = render(node.input, names)
            together = None if node.together_ns is None else now_ns + node.together_ns
            scope.work[node.id] = _job(node, 1, now_ns, together, rendered)
            self.requests.append((instance, 1))
            return rendered
        if node.type == "join":
            output = {"live": scope.live(node.id)}
            self._settle(scope, node, Verdict("ok", output))
            return output
        if node.type == "timer":
            seconds = render(node.config["duration_s"], names)
            assert isinstance(seconds, int | float)
            scope.work[node.id] = Work("timer", due=_after(now_ns, nanoseconds(seconds)))
            return None
        if node.type == "approval":
            timeout_s = node.config.get("timeout_s")
            due = None if timeout_s is None else _after(now_ns, nanoseconds(timeout_s))
            prompt = render(node.config["prompt"], names)
            scope.work[node.id] = Work("approval", due=due)
            return prompt
        if node.type == "loop":
            scope.work[node.id] = Work("loop", loop=Iterations())
            return None
        over = render(node.config["over"], names)
        over = [] if over is None else over
        if not isinstance(over, list):
            raise ExpressionError("over is no list")
        if len(over) > self.items_max:
            self._failed(scope, node, _error("LimitExceeded", "too many items"))
            return None
        scope.work[node.id] = Work("map", items=Items(over, [None] * len(over)))
        return over

    def _unreachable(self, instance: str) -> None:
        scope, node = self.place(instance)
        self._decide(scope, node, Verdict("failed", error=_error("QuorumUnreachable", "")))
        self._fail_run(Failure("QUORUM_UNREACHABLE", "QuorumUnreachable", instance))

    def _cancel(self, instance: str) -> None:
        scope, node = self.place(instance)
        if scope.work[node.id].kind == "job" and node.write:
            self.unknown.add(instance)
        self._decide(scope, node, Verdict("failed", error=_error("Cancelled", "")))

    def _open(self, instance: str, index: int) -> Any:
        scope, node = self.place(instance)
        held = _held(scope.work[node.id])
        assert node.body is not None
        prefix = f"{instance}[{index}]."
        item = held.over[index] if isinstance(held, Items) else held.last
        self.scopes[prefix] = Scope(prefix, node.body, scope, node.id, index, item)
        held.opened += 1
        return item

    def _close(self, instance: str, index: int) -> tuple[str, Any]:
        body = self.scopes[f"{instance}[{index}]."]
        scope, node = self.place(instance)
        held = _held(scope.work[node.id])
        if body.gives_up():
            for inner in self._within(body):
                inner.closed = True
                inner.work.clear()
            if body.ending == "failed" and node.config.get("on_item_error", "fail") == "fail":
                self._fail_bodies(scope, node, held, body.error)
            return body.ending or "cancelled", body.error
        try:
            output = self._output_of(body)
        except ExpressionError as error:
            self._decide(scope, node, Verdict("failed", error=_error("ExpressionFailed", str(error))))
            self._fail_run(Failure("EXPRESSION_FAILED", "ExpressionFailed", instance))
            return "failed", error
        body.closed = True
        if isinstance(held, Items):
            held.results[index] = output
        else:
            held.last = output
        return "ok", output

    def _schedule(self, instance: str, now_ns: int) -> Work:
        scope, node = self.place(instance)
        work = scope.work[node.id]
        early, late = node.retry.delays(work.attempt, work.error)
        work.kind, work.due = "retry", (now_ns + early, now_ns + late)
        return work

    def _fail_bodies(self, scope: Scope, node: Node, held: Items | Iterations, error: dict[str, str] | None) -> None:
        """A body failed, and has closed: its node is to fail with its error, and gives up the others."""
        if held.failure is None:
            held.failure = error
        for other in self.scopes.values():
            if other.parent is scope and other.owner == node.id and not other.closed and not other.ending:
                other.ending = "cancelled"

    def _finish(self, instance: str) -> Any:
        scope, node = self.place(instance)
        held = _held(scope.work[node.id])
        if held.failure is not None:
            self._failed(scope, node, held.failure)
            return None
        if isinstance(held, Iterations) and isinstance(error := self._goes_on(scope, node, held), ExpressionError):
            self._decide(scope, node, Verdict("failed", error=_error("ExpressionFailed", str(error))))
            self._fail_run(Failure("EXPRESSION_FAILED", "ExpressionFailed", instance))
            return error
        output = held.results if isinstance(held, Items) else held.last
        self._settle(scope, node, Verdict("ok", output))
        return output

    def _complete(self) -> Any:
        try:
            self.output = self._output_of(self.root)
        except ExpressionError as error:
            self._fail_run(Failure("EXPRESSION_FAILED", "ExpressionFailed", ""))
            return error
        self.phase = "ended"
        return self.output

    def _output_of(self, scope: Scope) -> Any:
        if scope.graph.output is not None:
            return render(scope.graph.output, self._names(scope))
        return {leaf: scope.decided[leaf].output for leaf in scope.graph.leaves if scope.decided[leaf].status == "ok"}

    # --- deciding -----------------------------------------------------------------------------------------------

    def _decide(self, scope: Scope, node: Node, verdict: Verdict) -> None:
        """The node has its status; tokens come in `_settle`."""
        scope.work.pop(node.id, None)
        scope.decided[node.id] = verdict
        self.verdicts[scope.prefix + node.id] = verdict
        if verdict.status != "skipped":
            self._count(scope.prefix + node.id)

    def _count(self, instance: str) -> None:
        self.results += 1
        self.last_result[instance] = self.results

    def _settle(self, scope: Scope, node: Node, verdict: Verdict) -> list[str]:
        """Decides a node, then the edges out of it. The targets whose guard was false."""
        self._decide(scope, node, verdict)
        dead: list[str] = []
        if self.phase != "running" or scope.gives_up():
            return dead
        names = self._names(scope)
        try:
            for at in scope.graph.out[node.id]:
                edge = scope.graph.edges[at]
                live = verdict.status == ("failed" if edge.on_error else "ok")
                if live and edge.when is not None and not is_true(edge.when, names):
                    live = False
                    dead.append(edge.target)
                scope.tokens[at] = live
        except ExpressionError:
            self._fail_run(Failure("EXPRESSION_FAILED", "ExpressionFailed", scope.prefix + node.id))
        return dead

    def _failed(self, scope: Scope, node: Node, error: dict[str, str]) -> list[str]:
        """A node failed for good."""
        was_given_up = scope.gives_up()
        dead = self._settle(scope, node, Verdict("failed", error=error))
        handled = any(scope.tokens.get(at) for at in scope.graph.out[node.id])
        if self.phase != "running" or was_given_up or handled or node.continues:
            return dead
        if scope.parent is None:
            self._fail_run(Failure("NODE_FAILED", error["type"], node.id))
            return dead
        scope.ending, scope.error = "failed", error
        return dead

    def _dies(self, scope: Scope, node: Node) -> None:
        """A node that ran failed for good: it is a dead letter where nobody takes care of that."""
        handled = any(scope.tokens.get(at) for at in scope.graph.out[node.id])
        if not handled and (node.write or node.retry.attempts_max > 1):
            self.letters.append(scope.prefix + node.id)

    def write_letter(self, instance: str) -> dict[str, str]:
        """The dead letter of a node is written. Its error."""
        if instance not in self.letters:
            raise NotNow(f"{instance} is no dead letter")
        self.letters.remove(instance)
        error = self.verdicts[instance].error
        assert error is not None
        return error

    def _fail_run(self, failure: Failure) -> None:
        self.phase, self.failure = "failing", failure
        for scope in self.scopes.values():
            scope.work = {node: work for node, work in scope.work.items() if work.kind == "job"}

    # --- what comes from outside --------------------------------------------------------------------------------

    def result(self, instance: str, attempt: int, outcome: Outcome, now_ns: int) -> tuple[bool, list[str]]:
        """An attempt ended. Whether another one follows, and the targets whose guard was false.

        A job that was given up may still be quicker than its cancel: that is recorded, and changes nothing else.
        """
        scope, node = self.place(instance)
        work = scope.work.get(node.id)
        if work is None or work.kind != "job" or work.attempt != attempt:
            raise NotNow(f"{instance} does not await attempt {attempt}")
        if outcome.status in ("timeout", "cancelled") and node.write:
            self.unknown.add(instance)
        if scope.gives_up() or node.id in scope.doomed:
            error = None if outcome.status == "ok" else _error(outcome.type, "")
            verdict = Verdict("failed", error=error) if error else Verdict("ok", outcome.value)
            self._decide(scope, node, verdict)
            return False, []
        if outcome.status == "ok":
            self.unknown.discard(instance)
            return False, self._settle(scope, node, Verdict("ok", outcome.value))
        error_type = outcome.type or {"timeout": "Timeout", "cancelled": "Cancelled"}[outcome.status]
        early, _ = node.retry.delays(attempt, error_type)
        too_late = "together" in work.ends and now_ns + early >= work.ends["together"]
        if self.phase == "running" and not too_late and node.retry.goes_on(attempt, error_type, outcome.retryable):
            scope.work[node.id] = Work("scheduling", attempt, error=error_type, ends=work.ends, input=work.input)
            self._count(instance)
            return True, []
        was_running = self.phase == "running"
        dead = self._failed(scope, node, _error(error_type, ""))
        if was_running and outcome.status != "cancelled":
            self._dies(scope, node)
        return False, dead

    def out_of_time(self, instance: str, now_ns: int) -> Outcome:
        """What time makes of a job in flight."""
        scope, node = self.place(instance)
        ends = scope.work[node.id].ends
        if now_ns >= ends.get("attempt", now_ns + 1):
            return Outcome("timeout", type="Timeout")
        if now_ns >= ends.get("together", now_ns + 1):
            return Outcome("timeout", type="Timeout", retryable=False)
        if now_ns >= ends.get("silence", now_ns + 1):
            return Outcome("timeout", type="HeartbeatTimeout")
        raise NotNow(f"{instance} has time until {ends}, it is {now_ns}")

    def retry_is_too_late(self, instance: str, now_ns: int) -> list[str]:
        """The time of all attempts is over when the next one was to begin."""
        scope, node = self._awaited(instance, "retry")
        together = scope.work[node.id].ends.get("together")
        if together is None or now_ns < together:
            raise NotNow(f"{instance} has time until {together}, it is {now_ns}")
        dead = self._failed(scope, node, _error("Timeout", ""))
        self._dies(scope, node)
        return dead

    def retry(self, instance: str, now_ns: int) -> Any:
        """The wait before the next attempt is over. Its input."""
        scope, node = self.place(instance)
        work = scope.work.get(node.id)
        if work is None or work.kind != "retry":
            raise NotNow(f"{instance} waits for no retry")
        _reached(work.due, now_ns)
        scope.work[node.id] = _job(node, work.attempt + 1, now_ns, work.ends.get("together"), work.input)
        self.requests.append((instance, work.attempt + 1))
        return work.input

    def timer(self, instance: str, output: Any, now_ns: int) -> list[str]:
        """A timer ran out."""
        scope, node = self._awaited(instance, "timer")
        _reached(scope.work[node.id].due, now_ns)
        return self._settle(scope, node, Verdict("ok", output))

    def approval(self, instance: str, output: Any) -> list[str]:
        """A person decided."""
        scope, node = self._awaited(instance, "approval")
        return self._settle(scope, node, Verdict("ok", output))

    def approval_timeout(self, instance: str, output: Any, now_ns: int) -> list[str]:
        """Nobody decided in time. `output` stands for the decision where the timeout makes one."""
        scope, node = self._awaited(instance, "approval")
        _reached(scope.work[node.id].due, now_ns)
        if node.config.get("on_timeout", "reject") == "fail":
            return self._failed(scope, node, _error("ApprovalTimeout", ""))
        return self._settle(scope, node, Verdict("ok", output))

    def _awaited(self, instance: str, kind: str) -> tuple[Scope, Node]:
        scope, node = self.place(instance)
        if node.id not in scope.work or scope.work[node.id].kind != kind:
            raise NotNow(f"{instance} is no open {kind}")
        return scope, node

    def cancel(self, compensate: bool) -> bool:
        """Somebody cancels the run. Whether that changes anything."""
        if self.phase != "running":
            return False
        self.compensate = compensate
        self._fail_run(Failure("CANCELLED", "Cancelled", ""))
        return True

    def run_timeout(self, now_ns: int) -> None:
        """The time of the run is over."""
        if self.phase != "running" or self.due is None:
            raise NotNow("the run has no time limit now")
        _reached((self.due, self.due), now_ns)
        self._fail_run(Failure("RUN_TIMEOUT", "Timeout", ""))

    # --- undoing ------------------------------------------------------------------------------------------------

    def _to_undo(self) -> list[str]:
        """Instances to compensate, newest result first."""
        if not self.compensate:
            return []
        done = {node for node, verdict in self.verdicts.items() if verdict.status == "ok"} | self.unknown
        covered = [instance for instance in done if self.node(instance).compensation]
        return sorted(covered, key=lambda instance: -self.last_result[instance])

    def undo_timeout(self, now_ns: int) -> None:
        """The time of the compensation is over: what is not undone by now will not be."""
        if self.phase != "undoing" or self.undo_due is None:
            raise NotNow("the compensation has no time limit now")
        _reached((self.undo_due, self.undo_due), now_ns)
        self.undo_due, self.undo_expired = None, True

    def undo_retry(self, instance: str, now_ns: int) -> Any:
        """The wait before the next attempt of a compensation is over. Its input."""
        if self.undoing is None or self.undoing.node != instance or self.undoing.in_flight:
            raise NotNow(f"{instance} waits for no retry of its compensation")
        _reached(self.undoing.due, now_ns)
        return self._undo_attempt(now_ns)

    def _undo_attempt(self, now_ns: int) -> Any:
        assert self.undoing is not None
        undoing, compensation = self.undoing, self.node(self.undoing.node).compensation
        assert compensation is not None
        undoing.attempt += 1
        undoing.in_flight = True
        timeout_s = compensation.get("timeout_s")
        undoing.due = _after(now_ns, None if timeout_s is None else nanoseconds(timeout_s))
        self.requests.append((f"{undoing.node}/undo", undoing.attempt))
        return render(compensation.get("input", {}), self._names_of(undoing.node))

    def _names_of(self, instance: str) -> dict[str, object]:
        return self._names(self.scopes[instance[: instance.rfind("].") + 2 if "]." in instance else 0]])

    def undo_result(self, instance: str, attempt: int, outcome: Outcome, now_ns: int) -> bool:
        """An attempt to undo ended. Whether another one follows."""
        undoing = self.undoing
        if undoing is None or not undoing.in_flight or (undoing.node, undoing.attempt) != (instance, attempt):
            raise NotNow(f"{instance} is not being undone in attempt {attempt}")
        compensation = self.node(instance).compensation
        assert compensation is not None
        assert self.plan is not None
        policy = Retry.of(compensation.get("retry"), 3)
        error_type = outcome.type or {"timeout": "Timeout", "cancelled": "Cancelled", "ok": ""}[outcome.status]
        if outcome.status != "ok" and policy.goes_on(attempt, error_type, outcome.retryable):
            early, late = policy.delays(attempt, error_type)
            undoing.due, undoing.in_flight = (now_ns + early, now_ns + late), False
            return True
        self.undone.append((instance, outcome.status == "ok"))
        self.plan.remove(instance)
        self.undoing = None
        return False

    @property
    def state(self) -> str:
        """COMPLETED, FAILED or CANCELLED once ended, else as the decision page has it."""
        if self.phase == "ended":
            if self.failure is None:
                return "COMPLETED"
            return "CANCELLED" if self.failure.code == "CANCELLED" else "FAILED"
        if self.phase != "running":
            return "COMPENSATING"
        if self.waiting("job"):
            return "RUNNING"
        return "WAITING" if self.waiting("timer", "approval", "retry") else "PENDING"


def _held(work: Work) -> Items | Iterations:
    """What a map or a loop is at."""
    held = work.items or work.loop
    assert held is not None
    return held


def _error(type_: str, message: str) -> dict[str, str]:
    return {"type": type_, "message": message}


def _after(now_ns: int, timeout_ns: int | None) -> tuple[int, int] | None:
    return None if timeout_ns is None else (now_ns + timeout_ns, now_ns + timeout_ns)


def _job(node: Node, attempt: int, now_ns: int, together: int | None, input: Any) -> Work:
    limits = {
        "attempt": None if node.timeout_ns is None else now_ns + node.timeout_ns,
        "together": together,
        "silence": None if node.heartbeat_ns is None else now_ns + node.heartbeat_ns,
    }
    ends = {name: at for name, at in limits.items() if at is not None}
    first = min(ends.values(), default=None)
    return Work("job", attempt, None if first is None else (first, first), ends=ends, input=input)


def _reached(due: tuple[int, int] | None, now_ns: int) -> None:
    if due is None or now_ns < due[0]:
        raise NotNow(f"it is {now_ns}, due is {due}")
