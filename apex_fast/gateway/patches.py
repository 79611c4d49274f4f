"""Patches of runs: asked for, and read from the events of their runs. Shared by gRPC and HTTP."""

from dataclasses import dataclass, replace

import msgspec

from apex_fast.domain import ApplyPatch, Event, Reply, RunView
from apex_fast.errors import ApexError, NotFound
from apex_fast.gateway.bodies import NAME_CHARS_MAX, REASON_CHARS_MAX, check_key, check_text
from apex_fast.gateway.faults import refusal_of, unknown_run
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House

_TYPES = frozenset({"PatchApplied", "PatchRolledBack"})


class Patched(msgspec.Struct):
    """What a patch, or its rollback, came to."""

    patch_id: str = ""
    epoch: int = 0


class _Applied(msgspec.Struct):
    number: int
    patch: msgspec.Raw
    author: str = ""
    reason: str = ""
    base_epoch: int = 0
    epoch: int = 0
    definition_hash: str = ""


class _RolledBack(msgspec.Struct):
    number: int
    reason: str = ""


_PATCHED = msgspec.json.Decoder(Patched)
_APPLIED = msgspec.json.Decoder(_Applied)
_ROLLED_BACK = msgspec.json.Decoder(_RolledBack)


@dataclass(frozen=True)
class PatchView:
    """A patch of a run."""

    patch_id: str
    run_id: str
    operations: bytes
    """RFC 6902, as sent (canonical JSON)."""
    author: str
    reason: str
    base_epoch: int
    epoch: int
    """That it made."""
    definition_hash: str
    offset: int
    applied_ns: int
    rolled_back_ns: int | None = None
    rolled_back_reason: str = ""


def patched_of(reply: Reply) -> Patched:
    """The patch that an answer is about."""
    return _PATCHED.decode(reply.details)


def refused_patch(reply: Reply, prefix: str) -> ApexError:
    """The error in a reply. ``prefix``: where the operations stand; other places are in the definition made of them."""
    return refusal_of(reply, prefix if reply.code == "PATCH_SHAPE_REFUSED" else "")


def patch_command(
    house: House, tenant: str, run_id: str, operations: bytes, reason: str, base_epoch: int | None, key: str
) -> ApplyPatch:
    """The command of a patch. Raises InvalidInput."""
    check_text(reason, "/reason", REASON_CHARS_MAX)
    check_key(key)
    return ApplyPatch(
        tenant,
        run_id,
        operations,
        reason,
        "",
        base_epoch,
        key,
        house.functions,
        house.options.patches_reach_any,
    )


class Patches:
    """What runs were patched with."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._histories = histories

    def run(self, tenant: str, run_id: str) -> RunView:
        """The run. Raises NotFound."""
        view = self._house.engine.run(tenant, run_id)
        if view is None:
            raise unknown_run(run_id)
        return view

    def run_of(self, tenant: str, patch_id: str) -> RunView:
        """The run of a patch. Raises NotFound."""
        run_id, mark, _ = patch_id.partition("~p")
        view = self._house.engine.run(tenant, run_id) if mark else None
        if view is None:
            raise unknown_patch(patch_id)
        return view

    async def of(self, view: RunView) -> list[PatchView]:
        """The patches of a run, in the order in which they were applied."""
        if not view.epoch:
            return []
        found: dict[int, PatchView] = {}
        for event in await self._histories.of_types(view, _TYPES):
            if event.type == "PatchApplied":
                applied = _APPLIED.decode(event.payload)
                found[applied.number] = _view_of(applied, view, event)
            else:
                dropped = _ROLLED_BACK.decode(event.payload)
                before = found[dropped.number]
                found[dropped.number] = replace(before, rolled_back_ns=event.time_ns, rolled_back_reason=dropped.reason)
        return list(found.values())

    async def one(self, view: RunView, patch_id: str) -> PatchView:
        """One of them. Raises NotFound."""
        for patch in await self.of(view):
            if patch.patch_id == patch_id:
                return patch
        raise unknown_patch(patch_id)


def _view_of(applied: _Applied, view: RunView, event: Event) -> PatchView:
    return PatchView(
        patch_id=f"{view.run_id}~p{applied.number}",
        run_id=view.run_id,
        operations=bytes(applied.patch),
        author=applied.author,
        reason=applied.reason,
        base_epoch=applied.base_epoch,
        epoch=applied.epoch,
        definition_hash=applied.definition_hash,
        offset=event.offset,
        applied_ns=event.time_ns,
    )


def unknown_patch(patch_id: str) -> NotFound:
    """The error for a patch that does not exist, or not for this tenant."""
    return NotFound(f"there is no patch {patch_id[:NAME_CHARS_MAX]!r}", code="PATCH_NOT_FOUND")
