"""Whatever was raised, as an error with a code: the one place where foreign exceptions are told apart."""

import logging

import msgspec
from google.protobuf.message import DecodeError

from apex_fast.domain import CompileError, CoreError, Diagnostic, LogError, Reply
from apex_fast.errors import (
    ApexError,
    DefinitionInvalid,
    FieldError,
    InvalidInput,
    NotFound,
    PatchConflicts,
    error_of,
)

log = logging.getLogger(__name__)


class Refusal(msgspec.Struct):
    """What the machine says of a refusal beside a sentence."""

    errors: list[dict[str, str]] = []
    conflict: PatchConflicts | None = None

    def places(self, prefix: str = "") -> list[FieldError]:
        """Where; ``prefix``: JSON Pointer of the value that the pointers in it are relative to."""
        return [(prefix + found.get("pointer", ""), found.get("detail", "")) for found in self.errors]


_REFUSAL = msgspec.json.Decoder(Refusal)


def sentence_of(diagnostic: Diagnostic) -> str:
    """A diagnostic as one line: what is wrong, what to do, and its code."""
    hint = f"; {diagnostic.hint}" if diagnostic.hint else ""
    return f"{diagnostic.message}{hint} [{diagnostic.code}]"


def fault_of(error: Exception) -> ApexError:
    """The ApexError that stands for an exception. What nobody expected is logged and says nothing of itself."""
    match error:
        case ApexError():
            return error
        case CompileError():
            errors = [(found.pointer, sentence_of(found)) for found in error.diagnostics]
            return DefinitionInvalid(error.message, errors=errors)
        case LogError() if error.code == "TRIMMED":
            return NotFound("the run ended longer ago than histories are kept here", code="HISTORY_TRIMMED")
        case CoreError():
            return error_of(error.code, error.message, fallback=InvalidInput)
        case DecodeError():
            return InvalidInput("the message is not the protobuf message of this method", code="BAD_MESSAGE")
        case _:
            log.error("a request failed unexpectedly", exc_info=error)
            return ApexError("something of ours went wrong; the log of the gateway says what")


def refusal_of(reply: Reply, prefix: str = "") -> ApexError:
    """The error in a reply. ``prefix``: JSON Pointer of the value that the pointers in it are relative to."""
    found = _REFUSAL.decode(reply.details) if reply.details else Refusal()
    return error_of(reply.code, reply.message, errors=found.places(prefix), conflict=found.conflict)


def unknown_run(run_id: str) -> NotFound:
    """The error for a run that does not exist, or not for this tenant."""
    return NotFound(f"there is no run {run_id[:64]!r}", code="RUN_NOT_FOUND")
