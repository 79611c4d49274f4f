"""Which runs profiles are made of: the last ones that completed, a bounded number of them between two looks.

Only runs of workflows that a policy names cost anything. After a restart the last runs of each such workflow are read
again, so nothing about profiles is kept on disk.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from apex_fast.domain import CoreError, Ended, LogError, RunView
from apex_fast.optimizer.asking import Asking
from apex_fast.optimizer.deriving import SET
from apex_fast.optimizer.patch import Expected
from apex_fast.optimizer.reason import expected_in, pass_of
from apex_fast.optimizer.runs import Runs
from apex_fast.optimizer.savings import Ledger
from apex_fast.optimizer.seen import Seen, seen_in
from apex_fast.settings import OptimizerSettings

RUNS_PER_READING_MAX = 50
"""Of one workflow; the last ones count."""
WORKFLOWS_MAX = 1_000
RECALLED_PAGE = 1_000
RECALLED_PAGES_MAX = 20
EVENTS_MAX = 10_000
"""A run with more events is passed over."""


class Profiles:
    """Reads runs that ended into a ledger."""

    def __init__(self, runs: Runs, asking: Asking, settings: OptimizerSettings) -> None:
        """Nothing is read yet."""
        self._runs = runs
        self._asking = asking
        self._settings = settings
        self._waiting: dict[tuple[str, str], deque[str]] = {}
        self.ledger = Ledger(settings.profile_runs)

    def ended(self, ended: Iterable[Ended]) -> None:
        """Runs that ended, durably."""
        for run in ended:
            if run.state == "COMPLETED" and self._settings.policy_of(run.workflow) != "off":
                key = (run.tenant, run.workflow)
                waiting = self._waiting.get(key)
                if waiting is None:
                    if len(self._waiting) >= WORKFLOWS_MAX:
                        continue
                    waiting = self._waiting[key] = deque(maxlen=RUNS_PER_READING_MAX)
                waiting.append(run.run_id)

    async def read(self) -> None:
        """Read what ended since the last time."""
        waiting, self._waiting = self._waiting, {}
        for (tenant, _), run_ids in waiting.items():
            for run_id in run_ids:
                view = self._runs.run(tenant, run_id)
                if view is not None:
                    await self._read(view)

    async def recall(self, tenant: str) -> None:
        """Read the last runs of each workflow among the last ones of a tenant, oldest first, as if they ended now."""
        found: dict[str, list[RunView]] = {}
        page = ""
        for _ in range(RECALLED_PAGES_MAX):
            views, page = self._runs.runs(tenant, RECALLED_PAGE, page, ["COMPLETED"])
            for view in views:
                mine = found.setdefault(view.workflow, [])
                if len(mine) < self._settings.profile_runs and self._settings.policy_of(view.workflow) != "off":
                    mine.append(view)
            if not page:
                break
            await asyncio.sleep(0)
        for mine in found.values():
            for view in reversed(mine):
                await self._read(view)

    async def _read(self, view: RunView) -> None:
        if view.offset >= EVENTS_MAX or view.fidelity != "full" or view.ended_ns is None:
            return
        seen = await self._asking.beside(self._seen, view)
        if seen is not None:
            self.ledger.add((view.tenant, view.workflow, view.version), seen)
            base = self._base(view) if not seen.patches else None
            if base is not None:
                seen.patches = base[1]
                self.ledger.add((view.tenant, view.workflow, base[0]), seen)

    def _base(self, view: RunView) -> tuple[str, dict[str, Expected]] | None:
        """The version that the one of a run was made of by passes, and what each expected; None: it was not."""
        version = self._runs.workflow(view.tenant, view.workflow, view.version)
        expected: dict[str, Expected] = {}
        for patch_id in version.patches if version is not None and version.set == SET else ():
            patch = self._runs.workflow_patch(view.tenant, patch_id)
            author = pass_of(patch.author) if patch is not None else None
            if patch is None or author is None:
                return None
            expected[author[0]] = expected.get(author[0], Expected()) + expected_in(patch.reason)
        return (version.base_version, expected) if version is not None and expected else None

    def _seen(self, view: RunView) -> Seen | None:
        try:
            events = self._runs.timeline(view, 0, EVENTS_MAX)
        except (LogError, CoreError):
            return None  # erased, or of an engine that is newer than this one
        return seen_in(events) if events and events[0].offset == 0 else None
