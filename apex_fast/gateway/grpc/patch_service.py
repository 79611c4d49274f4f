"""`apex.v1.PatchService`: changes to a run while it runs, or to a workflow (`workflow_patches.py`)."""

import asyncio
from contextlib import suppress
from functools import partial

from apex_fast.domain import Reply, RunView
from apex_fast.drawing import TooLarge
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import invalid
from apex_fast.gateway.drawings import Drawings
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.grpc.workflow_patches import GATES, WorkflowPatches
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.patch_effect import Effect
from apex_fast.gateway.patch_sets import MARK
from apex_fast.gateway.patches import (
    Patches,
    PatchView,
    approve_command,
    patch_command,
    patched_of,
    refused_patch,
    rollback_command,
)
from apex_fast.gateway.problems import conflict_message
from apex_fast.gateway.translate import rfc3339
from apex_fast.wire.apex.v1 import common_pb2, patch_pb2

SERVICE = "apex.v1.PatchService"
_STATES = {
    "PROPOSED": patch_pb2.PATCH_STATE_PROPOSED,
    "REJECTED": patch_pb2.PATCH_STATE_REJECTED,
    "APPLIED": patch_pb2.PATCH_STATE_APPLIED,
    "ROLLED_BACK": patch_pb2.PATCH_STATE_ROLLED_BACK,
}
_KNOWN_STATES = frozenset(patch_pb2.PatchState.values())


def patch_message(view: PatchView, effect: Effect | None = None) -> patch_pb2.Patch:
    """`apex.v1.Patch`."""
    message = patch_pb2.Patch(
        patch_id=view.patch_id,
        run_id=view.run_id,
        state=_STATES[view.state],
        operations_json=view.operations,
        author=view.author,
        reason=view.reason,
        base_epoch=view.base_epoch,
        epoch=view.epoch,
        definition_hash=view.definition_hash,
        gate=GATES.get(view.gate, patch_pb2.PATCH_GATE_UNSPECIFIED),
        proposed_time=rfc3339(view.proposed_ns),
        decided_time=rfc3339(view.decided_ns),
        rolled_back_time=rfc3339(view.rolled_back_ns),
        decided_by=view.decided_by,
        decision_reason=view.decision_reason,
        rolled_back_by=view.rolled_back_by,
        rolled_back_reason=view.rolled_back_reason,
    )
    if view.code:
        message.error.CopyFrom(common_pb2.Error(code=view.code, message=view.message))
    if view.conflict is not None:
        message.conflict.CopyFrom(conflict_message(view.conflict))
    if effect is not None:
        message.effect.CopyFrom(
            patch_pb2.PatchEffect(
                nodes_added=effect.nodes_added,
                nodes_run=effect.nodes_run,
                attempts=effect.attempts,
                time_s=effect.time_s,
                tokens_in=effect.tokens_in,
                tokens_out=effect.tokens_out,
            )
        )
    return message


class PatchService:
    """The handlers; `methods` is the table."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._patches = Patches(house, histories)
        self._of_workflows = WorkflowPatches(house)
        self._drawings = Drawings(house, histories)

    def methods(self) -> list[Method]:
        """All methods of the service."""
        return [
            unary(SERVICE, "ApplyPatch", self.apply_patch),
            unary(SERVICE, "ListPatches", self.list_patches),
            unary(SERVICE, "GetPatch", self.get_patch),
            unary(SERVICE, "ApprovePatch", self.approve_patch),
            unary(SERVICE, "RollbackPatch", self.rollback_patch),
        ]

    def apply_patch(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ApplyPatch`."""
        request = patch_pb2.ApplyPatchRequest.FromString(message)
        key = request.idempotency_key or metadata.get("idempotency-key", "")
        if _target(request) == "workflow":
            self._of_workflows.propose(token, tenant_of(metadata), request, key, len(message))
            return
        base_epoch = request.base_epoch if request.HasField("base_epoch") else None
        command = patch_command(
            self._house, tenant_of(metadata), request.run_id, request.operations_json, request.reason, base_epoch, key
        )
        self._house.engine.submit(command, partial(self._applied, token, request.run_id), len(message))

    def _applied(self, token: int, run_id: str, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refused_patch(reply, run_id, "/operations_json"))
            return
        patched = patched_of(reply)
        answer = patch_pb2.ApplyPatchResponse(
            patch_id=patched.patch_id, state=_STATES[patched.state], epoch=patched.epoch, offset=reply.offset
        )
        self._house.outbox.grpc(token, answer.SerializeToString())

    def list_patches(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ListPatches`: all of a run on one page, for a run has few."""
        request = patch_pb2.ListPatchesRequest.FromString(message)
        target = _target(request)
        for index, state in enumerate(request.states):
            if state not in _KNOWN_STATES:
                raise invalid(f"/states/{index}", f"{state} is no state")
        if target == "workflow":
            self._of_workflows.list(token, tenant_of(metadata), request)
            return
        view = self._house.run(tenant_of(metadata), request.run_id)
        states = frozenset(request.states)

        async def show() -> None:
            shown = [patch_message(patch) for patch in await self._patches.of(view)]
            answer = patch_pb2.ListPatchesResponse()
            answer.patches.extend(patch for patch in shown if not states or patch.state in states)
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.when_durable(token, lambda: self._house.beside_call(token, show()))

    def get_patch(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetPatch`."""
        request = patch_pb2.GetPatchRequest.FromString(message)
        if MARK in request.patch_id:
            self._of_workflows.get(token, tenant_of(metadata), request.patch_id)
            return
        view = self._patches.run_of(tenant_of(metadata), request.patch_id)
        self._house.when_durable(token, lambda: self._house.beside_call(token, self._show(token, view, request)))

    async def _show(self, token: int, view: RunView, request: patch_pb2.GetPatchRequest) -> None:
        patch = await self._patches.one(view, request.patch_id)
        message = patch_message(patch, await self._patches.effect(view, patch))
        if request.with_difference:
            message.difference.CopyFrom(await self._difference(view, request.patch_id))
        self._house.outbox.grpc(token, message.SerializeToString())

    async def _difference(self, view: RunView, patch_id: str) -> patch_pb2.PatchDifference:
        changed = await self._drawings.patch(view, patch_id)
        message = patch_pb2.PatchDifference(text=changed.difference.text())
        with suppress(TooLarge):
            message.mermaid = await asyncio.to_thread(changed.drawn, "mermaid")
            message.svg = await asyncio.to_thread(changed.drawn, "svg")
        return message

    def approve_patch(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ApprovePatch`."""
        request = patch_pb2.ApprovePatchRequest.FromString(message)
        tenant, patch_id = tenant_of(metadata), request.patch_id
        command = approve_command(self._house, tenant, patch_id, request.approve, request.reason)
        self._house.engine.submit(command, partial(self._decided, token, tenant, patch_id))

    def _decided(self, token: int, tenant: str, patch_id: str, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refused_patch(reply, patch_id))
            return
        view = self._patches.run_of(tenant, patch_id)

        async def show() -> None:
            answer = patch_pb2.ApprovePatchResponse(patch=patch_message(await self._patches.one(view, patch_id)))
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.beside_call(token, show())

    def rollback_patch(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`RollbackPatch`."""
        request = patch_pb2.RollbackPatchRequest.FromString(message)
        if MARK in request.patch_id:
            self._of_workflows.roll_back(token, tenant_of(metadata), request)
            return
        tenant, patch_id = tenant_of(metadata), request.patch_id
        command = rollback_command(self._house, tenant, patch_id, request.reason)
        self._house.engine.submit(command, partial(self._rolled_back, token, tenant, patch_id))

    def _rolled_back(self, token: int, tenant: str, patch_id: str, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refused_patch(reply, patch_id))
            return
        patched = patched_of(reply)
        view = self._patches.run_of(tenant, patched.patch_id)

        async def show() -> None:
            answer = patch_pb2.RollbackPatchResponse(epoch=patched.epoch, offset=reply.offset)
            answer.patch.CopyFrom(patch_message(await self._patches.one(view, patched.patch_id)))
            self._house.outbox.grpc(token, answer.SerializeToString())

        # The run may be ahead of the rollback by now.
        self._house.when_durable(token, lambda: self._house.beside_call(token, show()))


def _target(request: patch_pb2.ApplyPatchRequest | patch_pb2.ListPatchesRequest) -> str:
    target = request.WhichOneof("target")
    if target is None:
        raise invalid("/target", "a patch is of a run or of a workflow")
    return target
