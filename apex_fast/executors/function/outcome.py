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
TYPE_CHARS_MAX: Final = 128
TRACEBACKS_PER_S_MAX: Final = 20
# Results that need no second look: what no-op and yes-or-no functions return.
KNOWN: Final = frozenset({b"null", b"true", b"false", b"{}", b"[]"})


class Outcomes:
    """Makes results of calls, and logs what failed. Used from several threads."""

    def __init__(self, result_bytes_max: int) -> None:
        self._bytes_max = result_bytes_max
        self._second = 0
        self._tracebacks = 0

    def ok(self, assignment: Assignment, function: Function, result: object) -> JobResult:
        """The result of a call that returned. Raises InvalidResult where it is no value, or too large."""
        value = function.encode(result)
        if value not in KNOWN:
            if len(value) > self._bytes_max:
                raise InvalidResult(
                    f"{function.name} returned {len(value)} bytes of JSON; "
                    f"functions.result_bytes_max is {self._bytes_max}"
                )
            try:
                check_value(value)
            except CoreError as error:
                raise InvalidResult(f"{function.name} returned what is no value: {error.message}") from None
        return JobResult.ok(assignment.id, assignment.attempt, value)

    def failed(self, assignment: Assignment, error: BaseException) -> JobResult:
        """The result of a call that raised: type is the name of the class, message its text.

        An exception may say with a bool attribute ``retryable`` whether another attempt helps; else that is left to
        the node's policy. The traceback goes to the log, not into the event.
        """
        if isinstance(error, asyncio.CancelledError) and assignment.stopped_by:
            return stopped(assignment)
        self._log(assignment, error)
        return JobResult.failed(
            assignment.id, assignment.attempt, type_of(error), message_of(error), retryable_of(error)
        )

    def _log(self, assignment: Assignment, error: BaseException) -> None:
        """Over the rate, only that it failed: a traceback costs 0.1 ms to format."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._tracebacks = second, 0
        self._tracebacks += 1
        log.warning(
            "function %s failed: %s (run %s, node %s, attempt %d)",
            assignment.job.name,
            type_of(error),
            assignment.job.run_id,
            assignment.job.node,
            assignment.attempt,
            exc_info=error if self._tracebacks <= TRACEBACKS_PER_S_MAX else None,
        )


def stopped(assignment: Assignment) -> JobResult:
    """The result of a job whose end was asked for."""
    if assignment.stopped_by == "timeout":
        return JobResult.timed_out(assignment.id, assignment.attempt, "no result within functions.timeout_s")
    return JobResult.cancelled(assignment.id, assignment.attempt, "cancelled")


def type_of(error: BaseException) -> str:
    """The name of the exception's class, bounded."""
    return type(error).__name__[:TYPE_CHARS_MAX]


def retryable_of(error: BaseException) -> bool | None:
    """What the exception says by an attribute of this name; None where it does not, or raises when asked."""
    try:
        found = getattr(error, "retryable", None)
    except BaseException:
        return None
    return found if isinstance(found, bool) else None


def message_of(error: BaseException) -> str:
    """The exception's text, bounded, as valid UTF-8; an exception that cannot be printed is said to be one."""
    try:
        text = str(error)
    except BaseException as second:
        text = f"(no message: its __str__ raised {type(second).__name__})"
    return text[:MESSAGE_CHARS_MAX].encode("utf-8", "replace").decode("utf-8")
