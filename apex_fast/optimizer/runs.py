"""What the optimizer asks of the house: to read runs and versions, and to be heard as everybody else is.

1. What a view shows is durable, or will be before anything that is asked for because of it.
2. `timeline` may be called from any thread, for a run whose end was told; everything else on the engine's loop.
3. `call` answers when the answer is durable.
"""

from collections.abc import Sequence
from typing import Protocol

from apex_fast.domain import Command, Event, Reply, RunView, TagView, WorkflowPatchView, WorkflowView


class Runs(Protocol):
    """The engine, as far as the optimizer needs it."""

    def workflows(self, tenant: str) -> list[WorkflowView]:
        """All registered versions."""

    def workflow(
        self, tenant: str, name: str, version: str | None = None, tag: str | None = None
    ) -> WorkflowView | None:
        """A registered version with its definition."""

    def workflow_patches(
        self, tenant: str, workflow: str, set_key: str, limit: int
    ) -> tuple[list[WorkflowPatchView], str]:
        """Patches of a set on a workflow, newest first, and the next page."""

    def workflow_patch(self, tenant: str, patch_id: str) -> WorkflowPatchView | None:
        """One of them."""

    def arms(self, tenant: str, workflow: str, tag: str) -> TagView | None:
        """A tag and its arms."""

    def run(self, tenant: str, run_id: str) -> RunView | None:
        """A run."""

    def runs(
        self,
        tenant: str,
        limit: int,
        page: str = "",
        states: Sequence[str] | None = None,
    ) -> tuple[list[RunView], str]:
        """Runs, newest first, and the next page."""

    def timeline(self, view: RunView, from_offset: int, limit: int) -> list[Event]:
        """Durable events of a run."""

    def definition_of(self, tenant: str, run_id: str) -> tuple[bytes, int]:
        """What an open run goes on under, and its epoch. Raises CoreError."""

    async def call(self, command: Command) -> Reply:
        """Have a command decided. Raises Unavailable."""
