"""Patches on workflows: asked for and looked up. Shared by gRPC and HTTP."""

import msgspec

from apex_fast.domain import PatchWorkflow, Reply, UnpatchWorkflow, WorkflowPatchView
from apex_fast.errors import NotFound
from apex_fast.gateway.bodies import NAME_CHARS_MAX, REASON_CHARS_MAX, check_key, check_text, invalid
from apex_fast.gateway.house import House
from apex_fast.gateway.patches import unknown_patch

OF_THE_HOUSE = ("agent:", "optimizer:")
"""How authors begin that are no clients."""
MARK = "~w"
"""Between the workflow and the number in the id of a patch."""


class Proposed(msgspec.Struct):
    """The patch that waits, or the version without it."""

    patch_id: str = ""
    version: str = ""


class Refusal(msgspec.Struct):
    """A place that a gate refused."""

    pointer: str = ""
    detail: str = ""


class _Refusals(msgspec.Struct):
    errors: list[Refusal] = []


_PROPOSED = msgspec.json.Decoder(Proposed)
_REFUSALS = msgspec.json.Decoder(_Refusals)


def propose_command(
    house: House,
    tenant: str,
    name: str,
    operations: bytes,
    *,
    version: str | None,
    tag: str | None,
    set_name: str,
    reason: str,
    author: str,
    key: str,
) -> PatchWorkflow:
    """The command of a patch on a workflow; neither version nor tag: `main`. Raises InvalidInput."""
    check_text(reason, "/reason", REASON_CHARS_MAX)
    check_text(author, "/author", NAME_CHARS_MAX)
    if author.startswith(OF_THE_HOUSE):
        raise invalid("/author", f"only the house writes names that begin with {' or '.join(OF_THE_HOUSE)}")
    check_key(key)
    return PatchWorkflow(tenant, name, operations, house.rules.client, version, tag, set_name, reason, author, key)


def drop_command(house: House, tenant: str, patch_id: str, reason: str) -> UnpatchWorkflow:
    """The command that drops a patch of a workflow. Raises InvalidInput."""
    check_text(reason, "/reason", REASON_CHARS_MAX)
    return UnpatchWorkflow(tenant, patch_id, house.rules.client, reason)


def proposed_of(reply: Reply) -> Proposed:
    """What an answer is about."""
    return _PROPOSED.decode(reply.details)


def places_of(view: WorkflowPatchView) -> list[Refusal]:
    """Where a gate refused a patch: in the patch for the gate `shape`, else in the definition made of it."""
    return _REFUSALS.decode(view.details).errors if view.details else []


def find(house: House, tenant: str, patch_id: str) -> WorkflowPatchView:
    """A patch on a workflow; show it only when durable. Raises NotFound."""
    view = house.engine.workflow_patch(tenant, patch_id)
    if view is None:
        raise unknown_patch(patch_id)
    return view


def check_workflow(house: House, tenant: str, name: str) -> None:
    """Raises NotFound where there is no such workflow."""
    # Its first version may be under no tag: any version of it will do.
    if house.engine.workflow(tenant, name) is None:
        raise NotFound(f"there is no workflow {name[:NAME_CHARS_MAX]!r}", code="WORKFLOW_NOT_FOUND")


def set_key(base_version: str, set_name: str) -> str:
    """How the engine names a patch set; empty: any."""
    return f"{base_version}+{set_name}" if set_name else ""
