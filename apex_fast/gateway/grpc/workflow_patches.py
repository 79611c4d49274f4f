"""The half of `apex.v1.PatchService` that is about workflows."""

from functools import partial

from apex_fast.domain import Reply, WorkflowPatchView
from apex_fast.gateway.bodies import invalid
from apex_fast.gateway.house import House
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.patch_sets import (
    check_workflow,
    drop_command,
    find,
    places_of,
    propose_command,
    proposed_of,
    set_key,
)
from apex_fast.gateway.patches import refused_patch
from apex_fast.gateway.translate import rfc3339
from apex_fast.wire.apex.v1 import common_pb2, patch_pb2

_STATES = {
    "PENDING": patch_pb2.PATCH_STATE_PENDING,
    "APPLIED": patch_pb2.PATCH_STATE_APPLIED,
    "REJECTED": patch_pb2.PATCH_STATE_REJECTED,
    "ROLLED_BACK": patch_pb2.PATCH_STATE_ROLLED_BACK,
}
GATES = {
    "shape": patch_pb2.PATCH_GATE_SHAPE,
    "meaning": patch_pb2.PATCH_GATE_MEANING,
    "security": patch_pb2.PATCH_GATE_SECURITY,
    "limit": patch_pb2.PATCH_GATE_LIMIT,
}


def patch_message(view: WorkflowPatchView) -> patch_pb2.Patch:
    """`apex.v1.Patch` of a workflow."""
    message = patch_pb2.Patch(
        patch_id=view.patch_id,
        workflow=common_pb2.WorkflowRef(name=view.workflow, version=view.base_version),
        state=_STATES[view.status],
        operations_json=view.operations,
        author=view.author,
        reason=view.reason,
        proposed_time=rfc3339(view.proposed_ns),
        decided_time=rfc3339(view.decided_ns),
        set=view.set,
        tag=view.tag,
        version=view.version,
        rolled_back_version=view.rolled_back_in,
        rolled_back_reason=view.rolled_back_reason,
    )
    if view.code:
        message.gate = GATES[view.gate]
        message.error.CopyFrom(common_pb2.Error(code=view.code, message=sentence_of(view)))
    return message


def sentence_of(view: WorkflowPatchView) -> str:
    """Why a patch was refused, and where."""
    places = "; ".join(f"{place.pointer}: {place.detail}" for place in places_of(view))
    return f"{view.message} ({places})" if places else view.message


class WorkflowPatches:
    """The handlers, each for a request about a workflow."""

    def __init__(self, house: House) -> None:
        self._house = house

    def propose(self, token: int, tenant: str, request: patch_pb2.ApplyPatchRequest, key: str, size: int) -> None:
        """`ApplyPatch`. Raises InvalidInput."""
        if request.share:
            raise invalid("/share", "a patch set gets a share of new runs as an arm of a tag: TagWorkflow")
        if request.HasField("base_epoch"):
            raise invalid("/base_epoch", "a workflow has no epochs")
        ref = request.workflow
        command = propose_command(
            self._house,
            tenant,
            ref.name,
            request.operations_json,
            version=ref.version or None,
            tag=ref.tag or None,
            set_name=request.set,
            reason=request.reason,
            author=request.author,
            key=key,
        )
        self._house.engine.submit(command, partial(self._proposed, token, ref.name), size)

    def _proposed(self, token: int, name: str, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refused_patch(reply, name, "/operations_json"))
            return
        answer = patch_pb2.ApplyPatchResponse(patch_id=proposed_of(reply).patch_id, state=patch_pb2.PATCH_STATE_PENDING)
        self._house.outbox.grpc(token, answer.SerializeToString())

    def list(self, token: int, tenant: str, request: patch_pb2.ListPatchesRequest) -> None:
        """`ListPatches`: a page, of which `states` selects. Raises NotFound, InvalidInput."""
        ref = request.workflow
        if request.set and not ref.version:
            raise invalid("/workflow/version", "a patch set stands on a version")
        check_workflow(self._house, tenant, ref.name)
        views, page = self._house.engine.workflow_patches(
            tenant, ref.name, set_key(ref.version, request.set), page_size_of(request.page_size), request.page_token
        )
        states = frozenset(request.states)
        answer = patch_pb2.ListPatchesResponse(next_page_token=page)
        answer.patches.extend(patch for patch in map(patch_message, views) if not states or patch.state in states)
        self._house.when_durable(token, lambda: self._house.outbox.grpc(token, answer.SerializeToString()))

    def get(self, token: int, tenant: str, patch_id: str) -> None:
        """`GetPatch`. Raises NotFound."""
        answer = patch_message(find(self._house, tenant, patch_id))
        self._house.when_durable(token, lambda: self._house.outbox.grpc(token, answer.SerializeToString()))

    def roll_back(self, token: int, tenant: str, request: patch_pb2.RollbackPatchRequest) -> None:
        """`RollbackPatch`. Raises InvalidInput."""
        command = drop_command(self._house, tenant, request.patch_id, request.reason)
        self._house.engine.submit(command, partial(self._rolled_back, token, tenant, request.patch_id))

    def _rolled_back(self, token: int, tenant: str, patch_id: str, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refused_patch(reply, patch_id))
            return
        answer = patch_pb2.RollbackPatchResponse()
        answer.patch.CopyFrom(patch_message(find(self._house, tenant, proposed_of(reply).patch_id)))
        self._house.outbox.grpc(token, answer.SerializeToString())
