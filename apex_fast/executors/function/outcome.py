"""What a call gave or raised, as a `JobResult`."""

import asyncio
import logging
import time
from typing import Final

from apex_fast.authoring import Function, InvalidResult
from apex_fast.core import check_value
from apex_fast.domain import CoreError, JobResult
from apex_fast.executors.assignment import Assignment

log = logging.getLogger(__name__)
MESSAGE_CHARS_MAX: Final = 4_096
TRACEBACKS_PER_S_MAX: Final = 20
# Results that need no second look: what no-op and yes-or-no functions return.
KNOWN: Final = frozenset({b"null", b"true", b"false", b"{}", b"[]"})


class TracebackLog:
    """Tracebacks of failed calls in the log, not in events; over the rate only the sentence is kept."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def write(self, assignment: Assignment, error: BaseException) -> None:
        """Log one failure."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        log.warning(
            "function %s failed: %s (run %s, node %s, attempt %d)",
            assignment.job.name,
            type(error).__name__,
            assignment.job.run_id,
            assignment.job.node,
            assignment.attempt,
            exc_info=error if self._count <= TRACEBACKS_PER_S_MAX else None,
        )


tracebacks: Final = TracebackLog()


def ok(assignment: Assignment, function: Function, result: object, bytes_max: int) -> JobResult:
    """The result of a call that returned. Raises InvalidResult where it is no value, or too large."""
    value = function.encode(result)
    if value not in KNOWN:
        if len(value) > bytes_max:
            raise InvalidResult(
                f"{function.name} returned {len(value)} bytes of JSON; functions.result_bytes_max is {bytes_max}"
            )
        try:
            check_value(value)
        except CoreError as error:
            raise InvalidResult(f"{function.name} returned what is no value: {error.message}") from None
    return JobResult.ok(assignment.id, assignment.attempt, value)


def failed(assignment: Assignment, error: BaseException) -> JobResult:
    """The result of a call that raised: type is the name of the class, message its text.

    An exception may say with a bool attribute ``retryable`` whether another attempt helps; else that is left to the
    node's policy.
    """
    if isinstance(error, asyncio.CancelledError) and assignment.stopped_by:
        return stopped(assignment)
    retryable = getattr(error, "retryable", None)
    if not isinstance(retryable, bool):
        retryable = None
    tracebacks.write(assignment, error)
    return JobResult.failed(assignment.id, assignment.attempt, type(error).__name__, message_of(error), retryable)


def stopped(assignment: Assignment) -> JobResult:
    """The result of a job whose end was asked for."""
    if assignment.stopped_by == "timeout":
        return JobResult.timed_out(assignment.id, assignment.attempt, "no result within functions.timeout_s")
    return JobResult.cancelled(assignment.id, assignment.attempt, "cancelled")


def message_of(error: BaseException) -> str:
    """The exception's text, bounded, as valid UTF-8; an exception that cannot be printed is said to be one."""
    try:
        text = str(error)
    except BaseException as second:
        text = f"(no message: its __str__ raised {type(second).__name__})"
    return text[:MESSAGE_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")
