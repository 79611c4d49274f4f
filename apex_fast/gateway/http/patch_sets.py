"""Patches on workflows over HTTP."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apex_fast.domain import Reply, WorkflowPatchView
from apex_fast.gateway.bodies import KEY_CHARS_MAX, NAME_CHARS_MAX, REASON_CHARS_MAX, Body, invalid
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.patches import RollbackBody
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.patch_sets import (
    MARK,
    Refusal,
    check_workflow,
    drop_command,
    find,
    places_of,
    propose_command,
    proposed_of,
    set_key,
)
from apex_fast.gateway.patches import refused_patch, unknown_patch
from apex_fast.gateway.translate import rfc3339

State = Literal["PENDING", "APPLIED", "REJECTED", "ROLLED_BACK"]


class WorkflowPatchBody(Body):
    """A change of a workflow: a version is derived of it with the next batch."""

    operations: msgspec.Raw
    """JSON Patch (RFC 6902), on the definition as the patches before this one make it."""
    version: str | None = None
    tag: str | None = None
    """On which version; a tag moves to what is derived. Neither: the tag `main`."""
    set: str = ""
    """The patch set; empty: that of the derived version that is patched, else `patches`."""
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""
    author: Annotated[str, Meta(max_length=NAME_CHARS_MAX)] = ""
    idempotency_key: Annotated[str, Meta(max_length=KEY_CHARS_MAX)] = ""


class WorkflowPatchProposed(msgspec.Struct):
    """A patch that waits for its batch, durably."""

    patch_id: str
    status_url: str
    existing: bool


class WorkflowPatchDropped(msgspec.Struct):
    """A version without a patch, durably."""

    patch_id: str
    version: str
    """The first one without it."""
    existing: bool


class PatchRefused(msgspec.Struct):
    """Why a patch was refused."""

    gate: Literal["shape", "meaning", "security", "limit"]
    code: str
    message: str
    errors: list[Refusal]
    """Places: in the operations for the gate `shape`, else in the definition made of them."""


class WorkflowPatchShown(msgspec.Struct, omit_defaults=True):
    """A patch on a workflow."""

    patch_id: str
    workflow: str
    base_version: str
    set: str
    state: State
    operations: msgspec.Raw
    """As sent."""
    proposed_time: str
    due_time: str
    """When its batch begins, at the latest."""
    tag: str = ""
    """Moves to the version with it."""
    author: str = ""
    reason: str = ""
    version: str = ""
    """The first one with it."""
    decided_time: str = ""
    refused: PatchRefused | None = None
    rolled_back_version: str = ""
    """The first one without it."""
    rolled_back_reason: str = ""


class WorkflowPatchPage(msgspec.Struct):
    """Patches on a workflow, newest first."""

    patches: list[WorkflowPatchShown]
    next_page_token: str


class WorkflowPatchesQuery(Body):
    """What a page of patches selects."""

    version: str = ""
    set: str = ""
    """Both or none: those of this patch set on this version."""
    page_size: int = 0
    page_token: str = ""


_PATCH = msgspec.json.Decoder(WorkflowPatchBody)
_ROLLBACK = msgspec.json.Decoder(RollbackBody)
_GATES: dict[str, Literal["shape", "meaning", "security", "limit"]] = {
    "shape": "shape",
    "meaning": "meaning",
    "security": "security",
    "limit": "limit",
}


def shown(view: WorkflowPatchView) -> WorkflowPatchShown:
    """A patch on a workflow for HTTP."""
    refusal = None
    if view.code:
        refusal = PatchRefused(_GATES[view.gate], view.code, view.message, places_of(view))
    return WorkflowPatchShown(
        patch_id=view.patch_id,
        workflow=view.workflow,
        base_version=view.base_version,
        set=view.set,
        state=view.status,
        operations=msgspec.Raw(view.operations),
        proposed_time=rfc3339(view.proposed_ns),
        due_time=rfc3339(view.due_ns),
        tag=view.tag,
        author=view.author,
        reason=view.reason,
        version=view.version,
        decided_time=rfc3339(view.decided_ns),
        refused=refusal,
        rolled_back_version=view.rolled_back_in,
        rolled_back_reason=view.rolled_back_reason,
    )


class PatchSetRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """All routes of the group."""
        unknown = ("WORKFLOW_NOT_FOUND", "PATCH_NOT_FOUND")
        return [
            Route("POST", "/definitions/{name}/patches", "patchDefinition",
                  "Change a workflow: a version is derived with the next batch", "definitions", self.propose,
                  [Answer(202, "It waits for its batch, durably", WorkflowPatchProposed,
                          headers={"Location": "The patch."})],
                  body=WorkflowPatchBody, headers={"Idempotency-Key": "A workflow takes one patch of a key."},
                  problems=("WORKFLOW_NOT_FOUND", "PATCH_SHAPE_REFUSED", "IDEMPOTENCY_KEY_REUSED",
                            "LIMIT_EXCEEDED")),
            Route("GET", "/definitions/{name}/patches", "listDefinitionPatches",
                  "The patches on a workflow, newest first", "definitions", self.list,
                  [Answer(200, "A page of patches", WorkflowPatchPage)], query=WorkflowPatchesQuery,
                  problems=("WORKFLOW_NOT_FOUND",)),
            Route("GET", "/definitions/{name}/patches/{patch_id}", "getDefinitionPatch",
                  "A patch on a workflow: whether it waits, was applied or refused", "definitions", self.get,
                  [Answer(200, "The patch", WorkflowPatchShown)], problems=unknown),
            Route("POST", "/definitions/{name}/patches/{patch_id}/rollback", "rollbackDefinitionPatch",
                  "Derive a version without a patch", "definitions", self.roll_back,
                  [Answer(200, "The version stands in the registry, durably", WorkflowPatchDropped)],
                  body=RollbackBody, body_required=False,
                  problems=(*unknown, "WRONG_STATE", "PATCH_CONFLICT", "PATCH_SECURITY_REFUSED", "LIMIT_EXCEEDED")),
        ]  # fmt: skip

    def propose(self, exchange: Exchange) -> None:
        """`POST /definitions/{name}/patches`."""
        body = exchange.read(_PATCH)
        if body.version is not None and body.tag is not None:
            raise invalid("/tag", "version or tag, not both")
        command = propose_command(
            self._house,
            exchange.tenant,
            exchange.params["name"],
            bytes(body.operations),
            version=body.version,
            tag=body.tag,
            set_name=body.set,
            reason=body.reason,
            author=body.author,
            key=body.idempotency_key or exchange.headers.get("idempotency-key", ""),
        )
        self._house.engine.submit(command, partial(self._proposed, exchange), len(exchange.body))

    def _proposed(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refused_patch(reply, exchange.params["name"], "/operations"))
            return
        patch_id = proposed_of(reply).patch_id
        url = f"/definitions/{exchange.params['name']}/patches/{patch_id}"
        exchange.answer(202, WorkflowPatchProposed(patch_id, url, reply.existing), [("location", url)])

    def list(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/patches`."""
        query = exchange.select(WorkflowPatchesQuery)
        if bool(query.version) != bool(query.set):
            raise invalid("/set", "a patch set is named by version and set, both")
        name = exchange.params["name"]
        check_workflow(self._house, exchange.tenant, name)
        views, page = self._house.engine.workflow_patches(
            exchange.tenant, name, set_key(query.version, query.set), page_size_of(query.page_size), query.page_token
        )
        exchange.when_durable(lambda: exchange.answer(200, WorkflowPatchPage([shown(view) for view in views], page)))

    def get(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/patches/{patch_id}`."""
        view = find(self._house, exchange.tenant, self._patch_id(exchange))
        exchange.when_durable(lambda: exchange.answer(200, shown(view)))

    def roll_back(self, exchange: Exchange) -> None:
        """`POST /definitions/{name}/patches/{patch_id}/rollback`."""
        body = exchange.read(_ROLLBACK) if exchange.body else RollbackBody()
        command = drop_command(self._house, exchange.tenant, self._patch_id(exchange), body.reason)
        self._house.engine.submit(command, partial(self._rolled_back, exchange))

    def _patch_id(self, exchange: Exchange) -> str:
        patch_id = exchange.params["patch_id"]
        if not patch_id.startswith(f"{exchange.params['name']}{MARK}"):
            raise unknown_patch(patch_id)
        return patch_id

    def _rolled_back(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refused_patch(reply, exchange.params["patch_id"]))
            return
        dropped = proposed_of(reply)
        exchange.answer(200, WorkflowPatchDropped(dropped.patch_id, dropped.version, reply.existing))
