"""One table: code → gRPC status, HTTP status, title. The only place where an error gets a status.

Sources: google/rpc/code.proto and error_details.proto; RFC 9457 (problem details); RFC 9110 (statuses).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from apex_fast.errors import (
    ApexError,
    ConflictingPatch,
    FieldError,
    InvalidInput,
    KeyReused,
    PatchConflict,
    PatchConflicts,
)
from apex_fast.wire.apex.v1 import patch_pb2

DOMAIN = "apex"
TYPE = "urn:apex:problem:"
"""Prefix of a problem's `type`; the rest is the code, which has its page in `docs/errors/`."""
PROBLEM_JSON = "application/problem+json"
# Of the trailers of a failed call: percent-encoded message; its copy, the places and the rest in base64.
MESSAGE_BYTES_MAX = 1_536
VIOLATIONS_BYTES_MAX = 2_048
STATUS_BYTES_MAX = 4_800
# What a detail takes beside itself: the name of its type, and lengths.
_ANY_BYTES = 64


@dataclass(frozen=True, slots=True)
class Problem:
    """A row: canonical gRPC status (google.rpc.Code), HTTP status, a title that never varies."""

    grpc: int
    http: int
    title: str
    retry_after_s: float | None = None
    """Seconds after which the same request may succeed; None where it does not help."""


(
    CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
    RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED,
) = (1, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 16)  # fmt: skip

PROBLEMS: dict[str, Problem] = {
    "INTERNAL": Problem(INTERNAL, 500, "Something of ours went wrong"),
    "BLOB_DAMAGED": Problem(INTERNAL, 500, "The stored bytes of the blob do not verify"),
    # the request is not what the contract says
    "INVALID_INPUT": Problem(INVALID_ARGUMENT, 400, "The request is not what the contract says"),
    "BAD_JSON": Problem(INVALID_ARGUMENT, 400, "The JSON cannot be accepted"),
    "BAD_MESSAGE": Problem(INVALID_ARGUMENT, 400, "The protobuf message cannot be read"),
    "SCHEMA_VERSION_UNSUPPORTED": Problem(INVALID_ARGUMENT, 400, "The envelope has a version that is not spoken"),
    "EVENT_TYPE_UNSUPPORTED": Problem(INVALID_ARGUMENT, 422, "The envelope has a type that starts nothing"),
    "DEFINITION_INVALID": Problem(INVALID_ARGUMENT, 422, "The workflow definition was refused"),
    "WORKFLOW_INVALID": Problem(INVALID_ARGUMENT, 422, "The registered definition does not compile"),
    "VALUE_INVALID": Problem(INVALID_ARGUMENT, 422, "A value cannot be taken"),
    "INPUTS_INVALID": Problem(INVALID_ARGUMENT, 422, "The inputs do not fit the workflow"),
    "EXPRESSION_INVALID": Problem(INVALID_ARGUMENT, 400, "A text is no expression"),
    "EXPRESSION_FAILED": Problem(INVALID_ARGUMENT, 422, "An expression cannot be evaluated"),
    "SCHEDULE_INVALID": Problem(INVALID_ARGUMENT, 422, "What the schedule says cannot be"),
    "GOAL_INVALID": Problem(INVALID_ARGUMENT, 422, "The goal cannot be read"),
    "MEDIA_TYPE_UNSUPPORTED": Problem(INVALID_ARGUMENT, 415, "The body has another media type"),
    "TOO_LARGE": Problem(RESOURCE_EXHAUSTED, 413, "More bytes than a request may have"),
    # who asks
    "UNAUTHENTICATED": Problem(UNAUTHENTICATED, 401, "No valid credential"),
    "FORBIDDEN": Problem(PERMISSION_DENIED, 403, "The caller may not do this"),
    "TENANT_MISMATCH": Problem(PERMISSION_DENIED, 403, "Another tenant than the caller's is named"),
    "CHAOS_REFUSED": Problem(PERMISSION_DENIED, 403, "Faults may not be asked for here"),
    "HOST_REFUSED": Problem(PERMISSION_DENIED, 403, "The Host header names a host that is not served"),
    "ORIGIN_REFUSED": Problem(PERMISSION_DENIED, 403, "A page of another origin may not change anything"),
    # what is named
    "NOT_FOUND": Problem(NOT_FOUND, 404, "What is named does not exist"),
    "ROUTE_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such route"),
    "RUN_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such run"),
    "HISTORY_TRIMMED": Problem(NOT_FOUND, 410, "The history of the run is no longer kept"),
    "WORKFLOW_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such workflow, version or tag"),
    "PARTITION_UNKNOWN": Problem(NOT_FOUND, 404, "The id names a partition that is not here"),
    "NODE_NOT_FOUND": Problem(NOT_FOUND, 404, "The workflow has no such node"),
    "SCHEDULE_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such schedule"),
    "TICKET_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such approval"),
    "DEAD_LETTER_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such dead letter"),
    "PATCH_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such patch"),
    "PASS_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such pass, or it proposes nothing"),
    "BLOB_NOT_FOUND": Problem(NOT_FOUND, 404, "There is no such blob"),
    "METHOD_NOT_ALLOWED": Problem(UNIMPLEMENTED, 405, "The route does not take this method"),
    # what is there already, and its state
    "CONFLICT": Problem(ALREADY_EXISTS, 409, "It contradicts what is there"),
    "IDEMPOTENCY_KEY_REUSED": Problem(ALREADY_EXISTS, 409, "The idempotency key was used for another request"),
    "RUN_EXISTS": Problem(ALREADY_EXISTS, 409, "Another run has this id"),
    "WORKFLOW_EXISTS": Problem(ALREADY_EXISTS, 409, "The version holds another definition"),
    "TAG_MOVED": Problem(ABORTED, 409, "The tag points elsewhere by now"),
    "WRITES_NOT_ALLOWED": Problem(FAILED_PRECONDITION, 409, "Nodes that write would run"),
    "VERSION_INCOMPATIBLE": Problem(FAILED_PRECONDITION, 409, "The version differs in what the run has done"),
    "PATCH_SHAPE_REFUSED": Problem(INVALID_ARGUMENT, 422, "The patch is none, or does not apply"),
    "PATCH_MEANING_REFUSED": Problem(INVALID_ARGUMENT, 422, "The run cannot go on under what the patch makes"),
    "PATCH_SECURITY_REFUSED": Problem(INVALID_ARGUMENT, 422, "The patch reaches what it may not"),
    "PATCH_CONFLICT": Problem(ABORTED, 409, "Two patches touch the same"),
    "PATCH_STARTED": Problem(FAILED_PRECONDITION, 409, "What the patch changed has begun"),
    "HISTORY_INVALID": Problem(INTERNAL, 500, "The records of the run cannot be read"),
    "HISTORY_DIFFERS": Problem(FAILED_PRECONDITION, 409, "The history is decided otherwise by this engine"),
    "WRONG_STATE": Problem(FAILED_PRECONDITION, 409, "Its state does not allow this"),
    "RUN_ENDED": Problem(FAILED_PRECONDITION, 409, "The run has ended"),
    "TICKET_RESOLVED": Problem(FAILED_PRECONDITION, 409, "The approval is decided"),
    "APPROVAL_RESOLVED": Problem(FAILED_PRECONDITION, 409, "The approval is decided"),
    # limits and moments
    "LIMIT_EXCEEDED": Problem(RESOURCE_EXHAUSTED, 422, "Over a configured limit"),
    "QUOTA_EXCEEDED": Problem(RESOURCE_EXHAUSTED, 507, "The blobs would be over the quota"),
    "OVERLOADED": Problem(RESOURCE_EXHAUSTED, 503, "Full at this moment", 1.0),
    "SUBSCRIBER_TOO_SLOW": Problem(RESOURCE_EXHAUSTED, 503, "The viewer was too slow", 0.0),
    "DISK_FULL": Problem(RESOURCE_EXHAUSTED, 507, "The disk of the log is nearly full", 5.0),
    "UNAVAILABLE": Problem(UNAVAILABLE, 503, "It cannot answer now", 1.0),
    "DEADLINE_EXCEEDED": Problem(DEADLINE_EXCEEDED, 504, "No answer in time", 0.0),
    # what does not run yet
    "NOT_RUNNING_YET": Problem(UNIMPLEMENTED, 501, "Not running in this version"),
    # planning
    "PLAN_NOT_FOUND": Problem(FAILED_PRECONDITION, 422, "No plan serves the goal"),
    "PLAN_INVALID": Problem(INVALID_ARGUMENT, 422, "A plan breaks a rule"),
    "MODEL_FAILED": Problem(UNAVAILABLE, 503, "The model gave no usable plan", 5.0),
    # what the front door answers by itself (crates/front), before the gateway hears of it
    "BODY_TOO_LARGE": Problem(RESOURCE_EXHAUSTED, 413, "The body is larger than a request may have"),
    "MESSAGE_TOO_LARGE": Problem(RESOURCE_EXHAUSTED, 413, "The message is larger than a call may have"),
    "BODY_TIMEOUT": Problem(DEADLINE_EXCEEDED, 408, "The body did not arrive in time", 0.0),
    "BODY_BROKEN": Problem(INVALID_ARGUMENT, 400, "The body broke off"),
    "BAD_FRAME": Problem(INTERNAL, 500, "The frames of the call are not gRPC"),
    "BAD_TIMEOUT": Problem(INVALID_ARGUMENT, 400, "The deadline of the call cannot be read"),
    "UNKNOWN_METHOD": Problem(UNIMPLEMENTED, 501, "There is no such gRPC method"),
    "COMPRESSION_UNSUPPORTED": Problem(UNIMPLEMENTED, 501, "The message is compressed in a way that is not read"),
    "FULL": Problem(RESOURCE_EXHAUSTED, 503, "The front door is full at this moment", 1.0),
    "STOPPING": Problem(UNAVAILABLE, 503, "The gateway is stopping", 1.0),
    "MISFIT": Problem(INTERNAL, 500, "The answer does not fit the call"),
    # the outcome of a run, where a call waits for it
    "RUN_FAILED": Problem(ABORTED, 409, "The run ended as failed"),
    "CANCELLED": Problem(CANCELLED, 409, "The run was cancelled"),
}


class Detail(msgspec.Struct):
    """One place in the request and what is wrong there."""

    pointer: str
    """JSON Pointer (RFC 6901)."""
    detail: str


class ProblemBody(msgspec.Struct, omit_defaults=True):
    """`application/problem+json` (RFC 9457) with our `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    errors: list[Detail] = []
    conflict: PatchConflicts | None = None
    """With PATCH_CONFLICT: the patches in the way. With IDEMPOTENCY_KEY_REUSED of a patch: the one with the key."""
    retry_after_s: float | None = None


def problem_of(code: str) -> Problem:
    """The row of a code; a code without one is an error of ours."""
    return PROBLEMS.get(code, PROBLEMS["INTERNAL"])


def retry_after_s(error: ApexError) -> float | None:
    """Seconds after which a retry may help, or None."""
    own: object = getattr(error, "retry_after_s", None)
    if isinstance(own, float | int):
        return float(own)
    row = problem_of(error.code).retry_after_s
    return 1.0 if row is None and error.retryable else row


def _shortened(text: str, bytes_max: int) -> str:
    """At most this many bytes once it is percent-encoded, as gRPC sends a message."""
    if len(text) * 12 <= bytes_max:
        return text
    size = 0
    for index, char in enumerate(text):
        size += 1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode("utf-8", "replace"))
        if size > bytes_max - 9:
            return text[:index] + "…"
    return text


def _violations(errors: Sequence[FieldError]) -> error_details_pb2.BadRequest:
    """As many of the places as fit, at least one, and then how many there are beside."""
    found = error_details_pb2.BadRequest()
    size = 0
    for index, (pointer, detail) in enumerate(errors):
        field, description = _shortened(pointer, 1_024), _shortened(detail, 1_024)
        size += len(field.encode()) + len(description.encode()) + 8
        if index and size > VIOLATIONS_BYTES_MAX:
            found.field_violations.add(description=f"and {len(errors) - index} more places")
            break
        found.field_violations.add(field=field, description=description)
    return found


def _patch_message(patch: ConflictingPatch) -> patch_pb2.ConflictingPatch:
    return patch_pb2.ConflictingPatch(
        patch_id=patch.patch_id,
        epoch=patch.epoch,
        dropped_epoch=patch.dropped_epoch,
        what=patch.what,
        operations_json=msgspec.json.encode(patch.operations),
        own_operations_json=msgspec.json.encode(patch.own_operations),
        truncated=patch.truncated,
    )


def conflict_message(conflict: PatchConflicts, bytes_max: int | None = None) -> patch_pb2.PatchConflict:
    """`apex.v1.PatchConflict`. Where that is too large: the ids of as many patches as fit, with the operations of as
    many as still do."""
    whole = [_patch_message(patch) for patch in conflict.patches]
    message = patch_pb2.PatchConflict(epoch=conflict.epoch, patches=whole, truncated=conflict.truncated)
    if bytes_max is None or message.ByteSize() <= bytes_max:
        return message
    message = patch_pb2.PatchConflict(epoch=conflict.epoch, truncated=True)
    for patch in whole:
        short = patch_pb2.ConflictingPatch(
            patch_id=patch.patch_id, epoch=patch.epoch, dropped_epoch=patch.dropped_epoch, truncated=True
        )
        # The rest is for what the first ones do.
        if message.ByteSize() + short.ByteSize() + 4 > bytes_max * 3 // 4:
            break
        message.patches.append(short)
    else:
        message.truncated = conflict.truncated
    for short, patch in zip(message.patches, whole, strict=False):
        if message.ByteSize() - short.ByteSize() + patch.ByteSize() + 4 <= bytes_max:
            short.CopyFrom(patch)
    return message


def _conflict_of(error: ApexError) -> PatchConflicts | None:
    return error.conflict if isinstance(error, PatchConflict | KeyReused) else None


def grpc_failure(error: ApexError) -> tuple[int, str, bytes]:
    """Status code, message, and a serialized `google.rpc.Status` with ErrorInfo, BadRequest, RetryInfo and, of patches,
    `apex.v1.PatchConflict`.

    All of it leaves as trailers, of which a client of gRPC takes 8 KiB: message and places are cut to fit.
    """
    row = problem_of(error.code)
    message = _shortened(error.message, MESSAGE_BYTES_MAX)
    status = status_pb2.Status(code=row.grpc, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN))
    if isinstance(error, InvalidInput) and error.errors:
        status.details.add().Pack(_violations(error.errors))
    wait_s = retry_after_s(error)
    if wait_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(wait_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    conflict = _conflict_of(error)
    if conflict is not None:
        room = STATUS_BYTES_MAX - status.ByteSize() - _ANY_BYTES
        status.details.add().Pack(conflict_message(conflict, room))
    serialized: bytes = status.SerializeToString()
    return row.grpc, message, serialized


def http_failure(error: ApexError) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of the problem."""
    row = problem_of(error.code)
    wait_s = retry_after_s(error)
    headers = [("content-type", PROBLEM_JSON), ("cache-control", "no-store")]
    if wait_s is not None:
        headers.append(("retry-after", str(math.ceil(wait_s))))
    errors = error.errors if isinstance(error, InvalidInput) else []
    body = ProblemBody(
        type=TYPE + error.code,
        title=row.title,
        status=row.http,
        code=error.code,
        detail=error.message,
        errors=[Detail(pointer, detail) for pointer, detail in errors],
        conflict=_conflict_of(error),
        retry_after_s=wait_s,
    )
    return row.http, headers, msgspec.json.encode(body)
