"""Runs a definition on the interpreter alone, in its own order: what a machine must come to where order has no say."""

from collections.abc import Callable
from typing import Any

from tests.oracle.definition import Document
from tests.oracle.interpreter import Interpreter, Outcome

OutcomeOf = Callable[[str, int, bool], Outcome]
"""(instance, attempt, has a time limit) → outcome; one with status `hangs` never comes."""


def run_alone(definition: Document, inputs: Any, outcome_of: OutcomeOf, approves: Callable[[str], bool]) -> Interpreter:
    """The first open move, else the first result, the first decision, or the time. The interpreter at the end."""
    run = Interpreter(definition, inputs)
    now = 0
    while run.phase != "ended":
        if moves := run.moves():
            run.take(moves[0], now)
            continue
        if _give_a_result(run, outcome_of, now):
            continue
        if people := run.waiting("approval"):
            name = next(iter(people))
            run.approval(name, decision(approves(name)))
            continue
        now = max(now, min(due for due, _ in run.dues()))
        _pass_time(run, now)
    return run


def decision(approved: bool) -> dict[str, Any]:
    """The output of an approval that a person decided."""
    word = "approve" if approved else "reject"
    return {
        "approved": approved,
        "decision": word,
        "reason": "as drawn",
        "by": "ann",
        "edits": None,
        "timed_out": False,
    }


def _give_a_result(run: Interpreter, outcome_of: OutcomeOf, now: int) -> bool:
    for name, work in run.waiting("job").items():
        outcome = outcome_of(name, work.attempt, work.due is not None)
        if outcome.status != "hangs":
            run.result(name, work.attempt, outcome, now)
            return True
    if run.undoing and run.undoing.in_flight:
        undoing = run.undoing
        outcome = outcome_of(f"{undoing.node}/undo", undoing.attempt, undoing.due is not None)
        if outcome.status != "hangs":
            run.undo_result(undoing.node, undoing.attempt, outcome, now)
            return True
    return False


def _pass_time(run: Interpreter, now: int) -> None:
    """One thing whose time has come."""
    timeout = Outcome("timeout", type="Timeout")
    if run.due is not None and run.phase == "running" and now >= run.due:
        run.run_timeout(now)
        return
    for name, work in run.waiting("job", "retry", "timer").items():
        if work.due is not None and now >= work.due[0]:
            if work.kind == "job":
                run.result(name, work.attempt, run.out_of_time(name, now), now)
            elif work.kind == "retry":
                run.retry(name, now)
            else:
                run.timer(name, {"fired_at": ""}, now)
            return
    if run.undo_due is not None and run.phase == "undoing" and now >= run.undo_due:
        run.undo_timeout(now)
        return
    undoing = run.undoing
    if undoing is not None and undoing.due is not None and now >= undoing.due[0]:
        if undoing.in_flight:
            run.undo_result(undoing.node, undoing.attempt, timeout, now)
        else:
            run.undo_retry(undoing.node, now)
        return
    raise AssertionError("time passes, and nothing comes of it")
