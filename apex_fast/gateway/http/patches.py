"""Patches of runs over HTTP."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apex_fast.domain import Reply, RollbackPatch, RunView
from apex_fast.gateway.bodies import KEY_CHARS_MAX, REASON_CHARS_MAX, Body
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.patches import Patches, PatchView, patch_command, patched_of, refused_patch, unknown_patch
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


class RollbackBody(Body):
    """Why a patch is dropped."""

    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


class PatchAccepted(msgspec.Struct):
    """A patch that was applied, durably."""

    patch_id: str
    status_url: str
    epoch: int
    """That it made."""
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
    state: Literal["APPLIED", "ROLLED_BACK"]
    operations: msgspec.Raw
    """As sent."""
    base_epoch: int
    epoch: int
    definition_hash: str
    offset: int
    applied_time: str
    author: str = ""
    reason: str = ""
    rolled_back_time: str = ""
    rolled_back_reason: str = ""


class PatchList(msgspec.Struct):
    """The patches of a run, in the order in which they were applied."""

    patches: list[PatchShown]


class DefinitionShown(msgspec.Struct):
    """What a run goes on under."""

    run_id: str
    epoch: int
    definition: msgspec.Raw


_PATCH = msgspec.json.Decoder(PatchBody)
_ROLLBACK = msgspec.json.Decoder(RollbackBody)
_REFUSALS = ("RUN_NOT_FOUND", "RUN_ENDED", "WRONG_STATE")


def shown(view: PatchView) -> PatchShown:
    """A patch for HTTP."""
    return PatchShown(
        patch_id=view.patch_id,
        run_id=view.run_id,
        state="APPLIED" if view.rolled_back_ns is None else "ROLLED_BACK",
        operations=msgspec.Raw(view.operations),
        author=view.author,
        reason=view.reason,
        base_epoch=view.base_epoch,
        epoch=view.epoch,
        definition_hash=view.definition_hash,
        offset=view.offset,
        applied_time=rfc3339(view.applied_ns),
        rolled_back_time=rfc3339(view.rolled_back_ns),
        rolled_back_reason=view.rolled_back_reason,
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
                  self.patch, [Answer(202, "Applied, durably", PatchAccepted, headers={"Location": "The patch."})],
                  body=PatchBody, headers={"Idempotency-Key": "A run takes one patch of a key."},
                  problems=(*_REFUSALS, "PATCH_SHAPE_REFUSED", "PATCH_MEANING_REFUSED", "PATCH_SECURITY_REFUSED",
                            "PATCH_CONFLICT", "IDEMPOTENCY_KEY_REUSED", "LIMIT_EXCEEDED")),
            Route("GET", "/runs/{id}/patches", "listRunPatches", "The patches of a run, oldest first", "runs",
                  self.list_patches, [Answer(200, "All of them", PatchList)],
                  problems=("RUN_NOT_FOUND", "HISTORY_TRIMMED")),
            Route("GET", "/runs/{id}/patches/{patch_id}", "getRunPatch", "A patch of a run", "runs", self.get,
                  [Answer(200, "The patch", PatchShown)],
                  problems=("RUN_NOT_FOUND", "PATCH_NOT_FOUND", "HISTORY_TRIMMED")),
            Route("POST", "/runs/{id}/patches/{patch_id}/rollback", "rollbackPatch",
                  "Drop a patch, where nothing that it added has begun", "runs", self.roll_back,
                  [Answer(200, "Dropped, durably", PatchDropped)], body=RollbackBody, body_required=False,
                  problems=(*_REFUSALS, "PATCH_NOT_FOUND", "PATCH_STARTED", "PATCH_CONFLICT")),
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
            exchange.fail(refused_patch(reply, "/operations"))
            return
        patched = patched_of(reply)
        url = f"/runs/{reply.run_id}/patches/{patched.patch_id}"
        answer = PatchAccepted(patched.patch_id, url, patched.epoch, reply.offset, reply.existing)
        exchange.answer(202, answer, [("location", url)])

    def list_patches(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/patches`."""
        view = self._patches.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._list(exchange, view)))

    async def _list(self, exchange: Exchange, view: RunView) -> None:
        exchange.answer(200, PatchList([shown(patch) for patch in await self._patches.of(view)]))

    def get(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/patches/{patch_id}`."""
        view = self._patches.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._get(exchange, view, exchange.params["patch_id"])))

    async def _get(self, exchange: Exchange, view: RunView, patch_id: str) -> None:
        exchange.answer(200, shown(await self._patches.one(view, patch_id)))

    def roll_back(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/patches/{patch_id}/rollback`."""
        body = exchange.read(_ROLLBACK) if exchange.body else RollbackBody()
        run_id, patch_id = exchange.params["id"], exchange.params["patch_id"]
        if not patch_id.startswith(f"{run_id}~"):
            raise unknown_patch(patch_id)
        command = RollbackPatch(exchange.tenant, patch_id, body.reason)
        self._house.engine.submit(command, partial(self._rolled_back, exchange))

    def _rolled_back(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refused_patch(reply, ""))
            return
        patched = patched_of(reply)
        exchange.answer(200, PatchDropped(patched.patch_id, patched.epoch, reply.offset, reply.existing))
