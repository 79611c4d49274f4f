"""Patches of runs over HTTP."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apex_fast.domain import Reply, RunView
from apex_fast.errors import PatchConflicts
from apex_fast.gateway.bodies import KEY_CHARS_MAX, REASON_CHARS_MAX, Body
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.patch_effect import Effect
from apex_fast.gateway.patches import (
    Patches,
    PatchView,
    State,
    approve_command,
    patch_command,
    patched_of,
    refused_patch,
    rollback_command,
    unknown_patch,
)
from apex_fast.gateway.problems import Detail
from apex_fast.gateway.translate import rfc3339

Epoch = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class PatchBody(Body):
    """A change of the definition that a run goes on under."""

    operations: msgspec.Raw
    """JSON Patch (RFC 6902)."""
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""
    base_epoch: Epoch | None = None
    """The epoch of the definition that the operations are for. None: the one in force."""
    idempotency_key: Annotated[str, Meta(max_length=KEY_CHARS_MAX)] = ""


class ApproveBody(Body):
    """A decision about a patch that waits for a person."""

    decision: Literal["approve", "reject"] = "approve"
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


class RollbackBody(Body):
    """Why a patch is dropped."""

    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


class PatchAccepted(msgspec.Struct):
    """A patch that was taken, durably."""

    patch_id: str
    status_url: str
    state: State
    """APPLIED, or PROPOSED where a policy holds it for a person."""
    epoch: int
    """That it made; 0: none."""
    offset: int
    existing: bool


class PatchDecided(msgspec.Struct):
    """A decision that was taken, durably."""

    patch_id: str
    state: State
    epoch: int
    """That the patch made; 0: none."""
    offset: int
    existing: bool


class PatchDropped(msgspec.Struct):
    """A patch that was dropped, durably."""

    patch_id: str
    epoch: int
    """That dropping it made."""
    offset: int
    existing: bool


class PatchShown(msgspec.Struct, omit_defaults=True):
    """A patch of a run."""

    patch_id: str
    run_id: str
    state: State
    author: str
    """`client`, `agent:<instance path>` or `optimizer:<pass>@<version>`."""
    operations: msgspec.Raw
    """As sent; null where what was sent is no JSON or too large."""
    base_epoch: int
    offset: int
    """Of the event that decided it, or proposed it."""
    proposed_time: str
    reason: str = ""
    epoch: int = 0
    """That it made."""
    definition_hash: str = ""
    applied_time: str = ""
    decided_time: str = ""
    decided_by: str = ""
    """Who approved or rejected it, where that was a person."""
    decision_reason: str = ""
    rolled_back_time: str = ""
    rolled_back_by: str = ""
    rolled_back_reason: str = ""
    gate: str = ""
    """That refused it: `shape`, `meaning` or `security`."""
    code: str = ""
    detail: str = ""
    errors: list[Detail] = []
    conflict: PatchConflicts | None = None
    """With what, where that is why it was refused."""
    effect: Effect | None = None
    """What it did so far; of one patch that took effect."""


class PatchList(msgspec.Struct):
    """The patches of a run, in the order in which they were given."""

    patches: list[PatchShown]


class DefinitionShown(msgspec.Struct):
    """What a run goes on under."""

    run_id: str
    epoch: int
    definition: msgspec.Raw


_PATCH = msgspec.json.Decoder(PatchBody)
_APPROVE = msgspec.json.Decoder(ApproveBody)
_ROLLBACK = msgspec.json.Decoder(RollbackBody)
_REFUSALS = ("RUN_NOT_FOUND", "RUN_ENDED", "WRONG_STATE")


def shown(view: PatchView, effect: Effect | None = None) -> PatchShown:
    """A patch for HTTP."""
    return PatchShown(
        patch_id=view.patch_id,
        run_id=view.run_id,
        state=view.state,
        author=view.author,
        operations=msgspec.Raw(view.operations or b"null"),
        base_epoch=view.base_epoch,
        offset=view.offset,
        proposed_time=rfc3339(view.proposed_ns),
        reason=view.reason,
        epoch=view.epoch,
        definition_hash=view.definition_hash,
        applied_time=rfc3339(view.applied_ns),
        decided_time=rfc3339(view.decided_ns),
        decided_by=view.decided_by,
        decision_reason=view.decision_reason,
        rolled_back_time=rfc3339(view.rolled_back_ns),
        rolled_back_by=view.rolled_back_by,
        rolled_back_reason=view.rolled_back_reason,
        gate=view.gate,
        code=view.code,
        detail=view.message,
        errors=[Detail(pointer, detail) for pointer, detail in view.errors],
        conflict=view.conflict,
        effect=effect,
    )


class PatchRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._patches = Patches(house, histories)

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("GET", "/runs/{id}/definition", "getRunDefinition", "The definition that a run goes on under", "runs",
                  self.definition, [Answer(200, "The definition and its epoch", DefinitionShown)],
                  problems=("RUN_NOT_FOUND", "RUN_ENDED")),
            Route("POST", "/runs/{id}/patch", "patchRun", "Change the definition of a run while it runs", "runs",
                  self.patch, [Answer(202, "Taken, durably", PatchAccepted, headers={"Location": "The patch."})],
                  body=PatchBody, headers={"Idempotency-Key": "A run takes one patch of a key."},
                  problems=(*_REFUSALS, "PATCH_SHAPE_REFUSED", "PATCH_MEANING_REFUSED", "PATCH_SECURITY_REFUSED",
                            "PATCH_CONFLICT", "IDEMPOTENCY_KEY_REUSED", "LIMIT_EXCEEDED")),
            Route("GET", "/runs/{id}/patches", "listRunPatches", "The patches of a run, oldest first", "runs",
                  self.list_patches, [Answer(200, "All of them", PatchList)],
                  problems=("RUN_NOT_FOUND", "HISTORY_TRIMMED")),
            Route("GET", "/runs/{id}/patches/{patch_id}", "getRunPatch", "A patch of a run", "runs", self.get,
                  [Answer(200, "The patch", PatchShown)],
                  problems=("RUN_NOT_FOUND", "PATCH_NOT_FOUND", "HISTORY_TRIMMED")),
            Route("POST", "/runs/{id}/patches/{patch_id}/approve", "approvePatch",
                  "Apply or reject a patch that waits for a person", "runs", self.approve,
                  [Answer(200, "Decided, durably", PatchDecided)], body=ApproveBody, body_required=False,
                  problems=(*_REFUSALS, "PATCH_NOT_FOUND", "PATCH_MEANING_REFUSED", "PATCH_SECURITY_REFUSED",
                            "PATCH_CONFLICT")),
            Route("POST", "/runs/{id}/patches/{patch_id}/rollback", "rollbackPatch",
                  "Drop a patch, where nothing that it added has begun", "runs", self.roll_back,
                  [Answer(200, "Dropped, durably", PatchDropped)], body=RollbackBody, body_required=False,
                  problems=(*_REFUSALS, "PATCH_NOT_FOUND", "PATCH_STARTED", "PATCH_CONFLICT",
                            "PATCH_SECURITY_REFUSED")),
        ]  # fmt: skip

    def definition(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/definition`."""
        run_id = exchange.params["id"]
        definition, epoch = self._house.engine.definition_of(exchange.tenant, run_id)
        answer = DefinitionShown(run_id, epoch, msgspec.Raw(definition))
        exchange.when_durable(lambda: exchange.answer(200, answer))

    def patch(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/patch`."""
        body = exchange.read(_PATCH)
        key = body.idempotency_key or exchange.headers.get("idempotency-key", "")
        operations, run_id = bytes(body.operations), exchange.params["id"]
        command = patch_command(self._house, exchange.tenant, run_id, operations, body.reason, body.base_epoch, key)
        self._house.engine.submit(command, partial(self._applied, exchange), len(exchange.body))

    def _applied(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refused_patch(reply, exchange.params["id"], "/operations"))
            return
        patched = patched_of(reply)
        url = f"/runs/{reply.run_id}/patches/{patched.patch_id}"
        answer = PatchAccepted(patched.patch_id, url, patched.state, patched.epoch, reply.offset, reply.existing)
        exchange.answer(202, answer, [("location", url)])

    def list_patches(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/patches`."""
        view = self._house.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._list(exchange, view)))

    async def _list(self, exchange: Exchange, view: RunView) -> None:
        exchange.answer(200, PatchList([shown(patch) for patch in await self._patches.of(view)]))

    def get(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/patches/{patch_id}`."""
        view = self._house.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._get(exchange, view, exchange.params["patch_id"])))

    async def _get(self, exchange: Exchange, view: RunView, patch_id: str) -> None:
        patch = await self._patches.one(view, patch_id)
        exchange.answer(200, shown(patch, await self._patches.effect(view, patch)))

    def approve(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/patches/{patch_id}/approve`."""
        body = exchange.read(_APPROVE) if exchange.body else ApproveBody()
        patch_id = _patch_of(exchange)
        command = approve_command(self._house, exchange.tenant, patch_id, body.decision == "approve", body.reason)
        self._house.engine.submit(command, partial(self._decided, exchange))

    def _decided(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refused_patch(reply, exchange.params["patch_id"]))
            return
        patched = patched_of(reply)
        answer = PatchDecided(patched.patch_id, patched.state, patched.epoch, reply.offset, reply.existing)
        exchange.answer(200, answer)

    def roll_back(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/patches/{patch_id}/rollback`."""
        body = exchange.read(_ROLLBACK) if exchange.body else RollbackBody()
        command = rollback_command(self._house, exchange.tenant, _patch_of(exchange), body.reason)
        self._house.engine.submit(command, partial(self._rolled_back, exchange))

    def _rolled_back(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refused_patch(reply, exchange.params["patch_id"]))
            return
        patched = patched_of(reply)
        exchange.answer(200, PatchDropped(patched.patch_id, patched.epoch, reply.offset, reply.existing))


def _patch_of(exchange: Exchange) -> str:
    """The patch in the path. Raises NotFound where it is of another run."""
    patch_id = exchange.params["patch_id"]
    if not patch_id.startswith(f"{exchange.params['id']}~"):
        raise unknown_patch(patch_id)
    return patch_id
