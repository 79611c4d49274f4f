"""Pages of runs and workflows: what a reader may select, and how many come at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from apex_fast.domain import RunView, WorkflowView
from apex_fast.engine import Engine
from apex_fast.errors import InvalidInput

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000


@dataclass(frozen=True)
class RunFilter:
    """What a page of runs selects; what is empty or None selects all."""

    states: frozenset[str] = frozenset()
    workflow: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    started_after_ns: int | None = None
    started_before_ns: int | None = None
    parent_run_id: str = ""


def page_size_of(asked: int) -> int:
    """0 is 100, more than 1,000 is 1,000 (proto/README.md)."""
    if asked < 0:
        raise InvalidInput("page_size is negative", errors=[("/page_size", "0 or more")])
    return min(asked or PAGE_SIZE, PAGE_SIZE_MAX)


def list_runs(engine: Engine, tenant: str, wanted: RunFilter, size: int, page: str) -> tuple[list[RunView], str]:
    """At most ``size`` runs, newest first, and the token of the next page (empty at the end)."""
    if wanted.version and not wanted.workflow:
        raise InvalidInput("version needs workflow", errors=[("/version", "only together with workflow")])
    if wanted.parent_run_id and not _is_run_id(wanted.parent_run_id):
        raise InvalidInput("parent_run_id is no id of a run", errors=[("/parent_run_id", "a UUID")])
    return engine.runs(
        tenant,
        size,
        page,
        sorted(wanted.states) or None,
        wanted.workflow,
        wanted.version,
        dict(wanted.labels) or None,
        wanted.started_after_ns,
        wanted.started_before_ns,
        wanted.parent_run_id,
    )


def _is_run_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def list_workflows(
    views: list[WorkflowView], name: str, tag: str, size: int, page: str
) -> tuple[list[WorkflowView], str]:
    """A page by name, then newest version first. The token is the place in that order."""
    if (page and not page.isascii()) or (page and not page.isdigit()):
        raise InvalidInput("page_token is not one of ours", errors=[("/page_token", "not a token of this list")])
    chosen = [view for view in views if (not name or view.name == name) and (not tag or tag in view.tags)]
    chosen.sort(key=lambda view: (view.name, -view.registered_ns))
    start = int(page[:18]) if page else 0
    following = start + size
    return chosen[start:following], str(following) if following < len(chosen) else ""
