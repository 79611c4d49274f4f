"""Patches of runs: asked for, and read from the events of their runs. Shared by gRPC and HTTP."""

import logging
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from apex_fast.domain import ApplyPatch, ApprovePatch, Event, Reply, RollbackPatch, RunView
from apex_fast.errors import ApexError, FieldError, NotFound, PatchConflicts
from apex_fast.gateway.bodies import NAME_CHARS_MAX, REASON_CHARS_MAX, check_key, check_text
from apex_fast.gateway.faults import Refusal, refusal_of
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.patch_effect import TYPES, Effect, effect_of, nodes_added

log = logging.getLogger(__name__)

State = Literal["PROPOSED", "REJECTED", "APPLIED", "ROLLED_BACK"]
CLIENT = "client"
"""The author of what comes in at the doors."""
_NEVER_DECIDED = "the run ended before anybody decided"


class Patched(msgspec.Struct):
    """What a patch, its approval or its rollback came to."""

    patch_id: str = ""
    state: State = "APPLIED"
    epoch: int = 0


class _Record(msgspec.Struct):
    """Any of the four events."""

    number: int
    operations: msgspec.Raw = msgspec.Raw(b"[]")
    patch: msgspec.Raw = msgspec.Raw()
    author: str = ""
    reason: str = ""
    base_epoch: int = 0
    epoch: int = 0
    definition_hash: str = ""
    approved: bool = False
    approved_by: str = ""
    approval_reason: str = ""
    gate: str = ""
    code: str = ""
    message: str = ""
    details: Refusal = msgspec.field(default_factory=Refusal)
    by: str = ""
    decision_reason: str = ""


_PATCHED = msgspec.json.Decoder(Patched)
_RECORD = msgspec.json.Decoder(_Record)


@dataclass(frozen=True)
class PatchView:
    """A patch of a run. Times are in nanoseconds since 1970; None: that has not happened."""

    patch_id: str
    run_id: str
    state: State
    operations: bytes
    """RFC 6902, as sent (canonical JSON); of one that was refused for its shape maybe empty."""
    on_ids: bytes
    """What it does, by ids."""
    author: str
    reason: str
    base_epoch: int
    offset: int
    """Of the record that decided it, or proposed it."""
    proposed_ns: int
    epoch: int = 0
    """That it made; 0: none."""
    definition_hash: str = ""
    decided_ns: int | None = None
    decided_by: str = ""
    """Who approved or rejected it, where that was a person."""
    decision_reason: str = ""
    rolled_back_ns: int | None = None
    rolled_back_by: str = ""
    rolled_back_reason: str = ""
    gate: str = ""
    """That refused it: `shape`, `meaning` or `security`."""
    code: str = ""
    message: str = ""
    errors: tuple[FieldError, ...] = ()
    conflict: PatchConflicts | None = None
    """With what, where that is why it was refused."""

    @property
    def applied_ns(self) -> int | None:
        """When it took effect."""
        return self.decided_ns if self.epoch else None


def patched_of(reply: Reply) -> Patched:
    """The patch that an answer is about."""
    return _PATCHED.decode(reply.details)


def refused_patch(reply: Reply, about: str, prefix: str = "") -> ApexError:
    """The error in a reply, logged. ``about``: the run, the workflow or the patch; ``prefix``: where the operations
    stand; other places are in the definition made of them."""
    log.info("patch refused", extra={"about": about, "code": reply.code, "reason": reply.message})
    return refusal_of(reply, prefix if reply.code == "PATCH_SHAPE_REFUSED" else "")


def patch_command(
    house: House, tenant: str, run_id: str, operations: bytes, reason: str, base_epoch: int | None, key: str
) -> ApplyPatch:
    """The command of a patch. Raises InvalidInput."""
    check_text(reason, "/reason", REASON_CHARS_MAX)
    check_key(key)
    return ApplyPatch(tenant, run_id, operations, house.rules, reason, CLIENT, base_epoch, key)


def approve_command(house: House, tenant: str, patch_id: str, approve: bool, reason: str) -> ApprovePatch:
    """The command of a decision. Raises InvalidInput."""
    check_text(reason, "/reason", REASON_CHARS_MAX)
    return ApprovePatch(tenant, patch_id, approve, house.rules, reason, CLIENT)


def rollback_command(house: House, tenant: str, patch_id: str, reason: str) -> RollbackPatch:
    """The command of a rollback. Raises InvalidInput."""
    check_text(reason, "/reason", REASON_CHARS_MAX)
    return RollbackPatch(tenant, patch_id, house.rules, reason, CLIENT)


class Patches:
    """What runs were patched with."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._histories = histories

    def run_of(self, tenant: str, patch_id: str) -> RunView:
        """The run of a patch. Raises NotFound."""
        run_id, mark, _ = patch_id.partition("~p")
        view = self._house.engine.run(tenant, run_id) if mark else None
        if view is None:
            raise unknown_patch(patch_id)
        return view

    async def of(self, view: RunView) -> list[PatchView]:
        """The patches of a run, in the order in which they were given."""
        places = [(offset, position) for _, offset, position in view.patch_records]
        return patches_in(view, await self._histories.at_places(view, places))

    async def one(self, view: RunView, patch_id: str) -> PatchView:
        """One of them. Raises NotFound."""
        places = [
            (offset, position)
            for number, offset, position in view.patch_records
            if patch_id == f"{view.run_id}~p{number}"
        ]
        for patch in patches_in(view, await self._histories.at_places(view, places)):
            return patch
        raise unknown_patch(patch_id)

    async def effect(self, view: RunView, patch: PatchView) -> Effect | None:
        """What a patch did so far; None: it never took effect."""
        if not patch.epoch:
            return None
        added = nodes_added(patch.on_ids)
        # Nothing that it added ran where it was dropped; what came later under the same ids is of another patch.
        is_empty = not added or patch.state == "ROLLED_BACK"
        return effect_of(added, [] if is_empty else await self._histories.of_types(view, TYPES, patch.offset))


def patches_in(view: RunView, events: list[Event]) -> list[PatchView]:
    """The patches that these events of a run are about."""
    found: dict[int, PatchView] = {}
    for event in events:
        record = _RECORD.decode(event.payload)
        known = found.get(record.number)
        found[record.number] = _next(view, event, record, known)
    # What nobody decided ended with the run.
    ended_ns = view.ended_ns
    if ended_ns is None:
        return list(found.values())
    return [
        replace(patch, state="REJECTED", decided_ns=ended_ns, code="RUN_ENDED", message=_NEVER_DECIDED)
        if patch.state == "PROPOSED"
        else patch
        for patch in found.values()
    ]


def _next(view: RunView, event: Event, record: _Record, known: PatchView | None) -> PatchView:
    """A patch after an event about it."""
    patch = known or PatchView(
        patch_id=f"{view.run_id}~p{record.number}",
        run_id=view.run_id,
        state="PROPOSED",
        operations=bytes(record.patch),
        on_ids=bytes(record.operations),
        author=record.author,
        reason=record.reason,
        base_epoch=record.base_epoch,
        offset=event.offset,
        proposed_ns=event.time_ns,
    )
    match event.type:
        case "PatchApplied":
            return replace(
                patch,
                state="APPLIED",
                offset=event.offset,
                epoch=record.epoch,
                definition_hash=record.definition_hash,
                decided_ns=event.time_ns,
                decided_by=record.approved_by,
                decision_reason=record.approval_reason,
            )
        case "PatchRejected":
            return replace(
                patch,
                state="REJECTED",
                offset=event.offset,
                decided_ns=event.time_ns,
                decided_by=record.by,
                decision_reason=record.decision_reason,
                gate=record.gate,
                code=record.code,
                message=record.message,
                errors=tuple(record.details.places()),
                conflict=record.details.conflict,
            )
        case "PatchRolledBack":
            return replace(
                patch,
                state="ROLLED_BACK",
                rolled_back_ns=event.time_ns,
                rolled_back_by=record.by,
                rolled_back_reason=record.reason,
            )
        case _:
            return patch


def unknown_patch(patch_id: str) -> NotFound:
    """The error for a patch that does not exist, or not for this tenant."""
    return NotFound(f"there is no patch {patch_id[:NAME_CHARS_MAX]!r}", code="PATCH_NOT_FOUND")
