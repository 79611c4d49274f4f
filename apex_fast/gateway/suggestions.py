"""What the optimizer says of versions, for gRPC and HTTP."""

from dataclasses import dataclass, field
from typing import Literal

from apex_fast.domain import WorkflowView
from apex_fast.errors import NotFound
from apex_fast.gateway.house import House
from apex_fast.optimizer.savings import Saving
from apex_fast.optimizer.suggestions import Suggestion

NO_PROFILE = b'{"runs":0,"nodes":{}}'


@dataclass(frozen=True)
class Said:
    """Of a version: the policy of its workflow, whether passes have answered, what they propose, what was saved."""

    policy: Literal["off", "suggest", "apply"]
    state: Literal["OFF", "ASKING", "READY"]
    profile_runs: int = 0
    suggestions: list[Suggestion] = field(default_factory=list)
    savings: list[Saving] = field(default_factory=list)


def version_of(house: House, tenant: str, name: str, version: str) -> WorkflowView:
    """A registered version. Raises NotFound."""
    view = house.engine.workflow(tenant, name, version)
    if view is None:
        raise NotFound(f"there is no workflow {name!r} with version {version!r}", code="WORKFLOW_NOT_FOUND")
    return view


def said_of(house: House, tenant: str, view: WorkflowView) -> Said:
    """What the optimizer says of a version now; it asks the passes where it does not know."""
    optimizer = house.optimizer
    policy = optimizer.policy_of(view.name) if optimizer is not None else "off"
    if optimizer is None or policy == "off":
        return Said(policy, "OFF")
    found = optimizer.suggested(tenant, view.name, view.version)
    savings = optimizer.savings(tenant, view.name, view.version)
    if found is None:
        return Said(policy, "ASKING", savings=savings)
    return Said(policy, "READY", found.profile_runs, found.suggestions, savings)


def profile_of(house: House, tenant: str, view: WorkflowView) -> bytes:
    """What was observed of the runs of a version (JSON)."""
    optimizer = house.optimizer
    found = optimizer.profile(tenant, view.name, view.version) if optimizer is not None else None
    return found.document() if found is not None else NO_PROFILE


async def take(house: House, tenant: str, view: WorkflowView, name: str, tag: str) -> str:
    """Make a version with what a pass proposes; the id of the patch on the workflow. Raises as `Optimizer.take`."""
    optimizer = house.optimizer
    if optimizer is None or optimizer.policy_of(view.name) == "off":
        raise NotFound(f"the optimizer is off for {view.name!r}: see optimizer.policy", code="PASS_NOT_FOUND")
    return await optimizer.take(tenant, view, name, tag)
