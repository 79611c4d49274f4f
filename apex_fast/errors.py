"""Every error that apex_fast answers with: one tree, each class with a code and whether a retry helps.

    ApexError                 INTERNAL             something of ours went wrong
    ├── InvalidInput          INVALID_INPUT        the request is not what the contract says
    │   ├── DefinitionInvalid DEFINITION_INVALID   a workflow definition was refused
    │   ├── PatchConflict     PATCH_CONFLICT       other patches touch what this one does; `conflict` has them
    │   └── TooLarge          TOO_LARGE            more bytes than a request may have
    ├── Unauthenticated       UNAUTHENTICATED      no credential, or one that is not valid
    ├── Forbidden             FORBIDDEN            the caller may not do this
    ├── NotFound              NOT_FOUND            what is named does not exist (for this tenant)
    ├── Conflict              CONFLICT             what is asked contradicts what is there
    │   ├── KeyReused         IDEMPOTENCY_KEY_REUSED  the key was used for another request
    │   └── WrongState        WRONG_STATE          it exists, but its state does not allow this (an ended run)
    ├── LimitExceeded         LIMIT_EXCEEDED       over a configured limit; smaller helps, again does not
    ├── Overloaded            OVERLOADED           full at this moment (retry; `retry_after_s`)
    ├── Unavailable           UNAVAILABLE          cannot answer now: starting, stopping, unreachable (retry)
    ├── DeadlineExceeded      DEADLINE_EXCEEDED    no answer in time; outcome unknown (retry with a key)
    ├── NotRunning            NOT_RUNNING_YET      part of the contract, not running in this version
    ├── PlanNotFound          PLAN_NOT_FOUND       no template serves the goal, and no model is switched on
    └── RunFailed             RUN_FAILED           the run that was awaited ended as failed
        └── RunCancelled      CANCELLED            the run that was awaited was cancelled

Knows nothing else of the project. A class is chosen by what the caller can do about it; `code` may be more
exact than the class (`NotFound` with `RUN_NOT_FOUND`). The code is stable and has a page in `docs/errors/`; a
message is for a person and never holds a secret. Statuses of gRPC and HTTP are the gateway's table, not ours.
Settings that cannot be read are `apex_fast.settings.SettingsError`: they stop the process before there is
anyone to answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

FieldError: TypeAlias = tuple[str, str]
"""(JSON Pointer, RFC 6901, to the place; what is wrong there, in a sentence)."""


@dataclass(frozen=True, slots=True)
class ConflictingPatch:
    """A patch that stands against another one, or on one that is to be dropped."""

    patch_id: str
    epoch: int = 0
    """Of its run, that it made; 0: none."""
    dropped_epoch: int = 0
    """That dropping it made; 0: it is in force."""
    what: tuple[str, ...] = ()
    """What both touch, for people. Empty: the two make no definition together, or nothing was compared."""
    operations: tuple[dict[str, Any], ...] = ()
    """What it does there, by ids; all that it does where `what` is empty."""
    own_operations: tuple[dict[str, Any], ...] = ()
    """What the other patch does there, by ids."""
    truncated: bool = False
    """`what` and the operations were too large to be sent: read the patch by its id."""


@dataclass(frozen=True, slots=True)
class PatchConflicts:
    """What is in the way of a patch."""

    epoch: int = 0
    """In force in the run; 0 also where it is a workflow that is patched."""
    patches: tuple[ConflictingPatch, ...] = ()
    truncated: bool = False
    """There are more patches than these."""


class ApexError(Exception):
    """Base of all. ``code`` is UPPER_SNAKE and stable; ``retryable``: the same request may succeed later."""

    default_code: ClassVar[str] = "INTERNAL"
    default_retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.retryable = self.default_retryable if retryable is None else retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class InvalidInput(ApexError):
    """The request is not what the contract says. ``errors`` names the places known, in document order."""

    default_code = "INVALID_INPUT"

    def __init__(
        self,
        message: str,
        *,
        errors: Sequence[FieldError] = (),
        code: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable)
        self.errors: list[FieldError] = list(errors)


class DefinitionInvalid(InvalidInput):
    """A workflow definition was refused; ``errors`` holds every diagnostic."""

    default_code = "DEFINITION_INVALID"


class PatchConflict(InvalidInput):
    """Other patches touch what this one does, or stand on the one that is to be dropped; ``conflict`` has them."""

    default_code = "PATCH_CONFLICT"

    def __init__(
        self,
        message: str,
        *,
        conflict: PatchConflicts = PatchConflicts(),
        errors: Sequence[FieldError] = (),
        code: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, errors=errors, code=code, retryable=retryable)
        self.conflict = conflict


class TooLarge(InvalidInput):
    """More bytes than a request may have; larger values go through blobs."""

    default_code = "TOO_LARGE"


class Unauthenticated(ApexError):
    """No credential, or one that is not valid."""

    default_code = "UNAUTHENTICATED"


class Forbidden(ApexError):
    """The caller is known and may not do this."""

    default_code = "FORBIDDEN"


class NotFound(ApexError):
    """What is named does not exist, or not for this tenant."""

    default_code = "NOT_FOUND"


class Conflict(ApexError):
    """What is asked contradicts what is there."""

    default_code = "CONFLICT"


class KeyReused(Conflict):
    """The idempotency key was used for another request; ``conflict``: for this patch, where it was one."""

    default_code = "IDEMPOTENCY_KEY_REUSED"

    def __init__(
        self,
        message: str,
        *,
        conflict: PatchConflicts | None = None,
        code: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable)
        self.conflict = conflict


class WrongState(Conflict):
    """It exists, but its state does not allow this."""

    default_code = "WRONG_STATE"


class LimitExceeded(ApexError):
    """Over a configured limit. A smaller request helps, the same one again does not."""

    default_code = "LIMIT_EXCEEDED"


class Overloaded(ApexError):
    """Full at this moment; nothing was done. ``retry_after_s``: seconds after which a retry may help."""

    default_code = "OVERLOADED"
    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 1.0,
        code: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable)
        self.retry_after_s = retry_after_s


class Unavailable(ApexError):
    """Cannot answer now: starting, stopping, unreachable, or the log is gone."""

    default_code = "UNAVAILABLE"
    default_retryable = True


class DeadlineExceeded(ApexError):
    """No answer in time. Whether it was done is unknown: repeat it with the same idempotency key."""

    default_code = "DEADLINE_EXCEEDED"
    default_retryable = True


class NotRunning(ApexError):
    """Part of the contract, but not running in this version; the message says which capability is missing."""

    default_code = "NOT_RUNNING_YET"


class PlanNotFound(ApexError):
    """No template serves the goal and no model is switched on; the message says how to switch one on."""

    default_code = "PLAN_NOT_FOUND"


class RunFailed(ApexError):
    """The run that was awaited ended as failed.

    ``run_id``; ``node``: instance path of the node that failed, or empty; ``error_type``: type of its error,
    such as ``Timeout`` or the name of the exception's class.
    """

    default_code = "RUN_FAILED"

    def __init__(
        self,
        message: str,
        *,
        run_id: str = "",
        node: str = "",
        error_type: str = "",
        code: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable)
        self.run_id = run_id
        self.node = node
        self.error_type = error_type


class RunCancelled(RunFailed):
    """The run that was awaited was cancelled."""

    default_code = "CANCELLED"


CLASS_OF_CODE: dict[str, type[ApexError]] = {
    # the classes' own codes
    **{
        kind.default_code: kind
        for kind in (
            ApexError,
            InvalidInput,
            DefinitionInvalid,
            PatchConflict,
            TooLarge,
            Unauthenticated,
            Forbidden,
            NotFound,
            Conflict,
            KeyReused,
            WrongState,
            LimitExceeded,
            Overloaded,
            Unavailable,
            DeadlineExceeded,
            NotRunning,
            PlanNotFound,
            RunFailed,
            RunCancelled,
        )
    },
    # the core's and the gateway's, each narrower than its class
    "BAD_JSON": InvalidInput,
    "EXPRESSION_INVALID": InvalidInput,
    "EXPRESSION_FAILED": InvalidInput,
    "INPUTS_INVALID": InvalidInput,
    "SCHEDULE_INVALID": InvalidInput,
    "GOAL_INVALID": InvalidInput,
    "RUN_NOT_FOUND": NotFound,
    "HISTORY_TRIMMED": NotFound,
    "WORKFLOW_NOT_FOUND": NotFound,
    "SCHEDULE_NOT_FOUND": NotFound,
    "TICKET_NOT_FOUND": NotFound,
    "NODE_NOT_FOUND": NotFound,
    "WRITES_NOT_ALLOWED": InvalidInput,
    "VERSION_INCOMPATIBLE": InvalidInput,
    "PATCH_SHAPE_REFUSED": InvalidInput,
    "PATCH_MEANING_REFUSED": InvalidInput,
    "PATCH_SECURITY_REFUSED": InvalidInput,
    "PATCH_STARTED": InvalidInput,
    "PATCH_NOT_FOUND": NotFound,
    "PASS_NOT_FOUND": NotFound,
    "DEAD_LETTER_NOT_FOUND": NotFound,
    "BLOB_NOT_FOUND": NotFound,
    "BLOB_DAMAGED": ApexError,
    "QUOTA_EXCEEDED": LimitExceeded,
    "WORKFLOW_EXISTS": Conflict,
    "TAG_MOVED": Conflict,
    "RUN_ENDED": WrongState,
    "TICKET_RESOLVED": WrongState,
    "APPROVAL_RESOLVED": WrongState,
    "SUBSCRIBER_TOO_SLOW": Overloaded,
    "DISK_FULL": Overloaded,
    # the front door's
    "FULL": Overloaded,
    "STOPPING": Unavailable,
    "BODY_TOO_LARGE": TooLarge,
    "MESSAGE_TOO_LARGE": TooLarge,
}
"""Class of each code: what crossed a border as a code becomes an exception again."""


def error_of(
    code: str,
    message: str,
    *,
    errors: Sequence[FieldError] = (),
    retry_after_s: float | None = None,
    conflict: PatchConflicts | None = None,
    fallback: type[ApexError] = ApexError,
) -> ApexError:
    """The exception for a code from the core or the wire; an unknown code becomes ``fallback``."""
    kind = CLASS_OF_CODE.get(code, fallback)
    if issubclass(kind, PatchConflict):
        return kind(message, conflict=conflict or PatchConflicts(), errors=errors, code=code)
    if issubclass(kind, KeyReused):
        return kind(message, conflict=conflict, code=code)
    if issubclass(kind, InvalidInput):
        return kind(message, errors=errors, code=code)
    if issubclass(kind, Overloaded):
        return kind(message, retry_after_s=1.0 if retry_after_s is None else retry_after_s, code=code)
    return kind(message, code=code)
