"""Open runs, patched where their profile says that it pays.

A look takes some open runs, groups those that go on under one definition, and asks the passes about each such
definition with the profile of its version. What is proposed and proved is put to every run of the group as any patch
is: for that epoch only, since it was proved of that definition only; where it would change what has begun, the run
refuses it and goes on as it is.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from apex_fast.domain import ApplyPatch, CompileError, CoreError, Definition, PatchRules, RunView
from apex_fast.optimizer.asking import Asking, patch_in
from apex_fast.optimizer.counts import Counts
from apex_fast.optimizer.folder import Found
from apex_fast.optimizer.optimize import ROUNDS_MAX
from apex_fast.optimizer.patch import OptimizedPatch
from apex_fast.optimizer.reason import author_of, reason_of
from apex_fast.optimizer.runs import Runs
from apex_fast.optimizer.savings import Ledger
from apex_fast.settings import OptimizerSettings

OPEN = ("PENDING", "RUNNING", "WAITING", "PAUSED")
REFUSALS_KEPT = 100_000

Group = tuple[Definition, list[RunView]]


class _Answer(msgspec.Struct):
    """What became of a patch."""

    state: str


_ANSWER = msgspec.json.Decoder(_Answer)


class Patching:
    """Looks at open runs, some at a time, and at all of them in turn."""

    def __init__(
        self,
        runs: Runs,
        asking: Asking,
        ledger: Ledger,
        counts: Counts,
        settings: OptimizerSettings,
        rules: PatchRules,
    ) -> None:
        """The first look begins with the newest runs. ``rules``: what passes may."""
        self._runs = runs
        self._asking = asking
        self._ledger = ledger
        self._counts = counts
        self._settings = settings
        self._rules = rules
        self._page: dict[str, str] = {}
        # What has begun never becomes what has not: a run is not asked twice.
        self._refused: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    async def look(self, tenant: str) -> None:
        """Look at the next open runs of a tenant."""
        limit = self._settings.runs_per_look_max
        views, self._page[tenant] = self._runs.runs(tenant, limit, self._page.get(tenant, ""), OPEN)
        groups: dict[tuple[str, str, str], list[RunView]] = {}
        for view in views:
            if self._settings.policy_of(view.workflow) == "apply":
                groups.setdefault((view.workflow, view.version, view.ir_hash), []).append(view)
        passes = await self._asking.passes() if groups else []
        least = min(self._settings.profile_runs_min, self._settings.profile_runs)
        for (workflow, version, _), members in groups.items():
            profile = self._ledger.profile((tenant, workflow, version))
            if profile is not None and profile.runs >= least:
                await self._group(passes, members, profile.settled())

    async def _group(self, passes: list[Found], members: list[RunView], profile: bytes) -> None:
        """Ask all passes about runs that go on under one definition."""
        try:
            canonical, _ = self._runs.definition_of(members[0].tenant, members[0].run_id)
            definition = await self._asking.compiled(canonical)
        except (CoreError, CompileError):
            return  # it ended meanwhile, or nobody can read what it runs
        members = [view for view in members if view.ir_hash == definition.hash]
        groups: list[Group] = [(definition, members)] if members else []
        for one in passes:
            groups = [after for group in groups for after in await self._asked(one, group, profile)]

    async def _asked(self, one: Found, group: Group, profile: bytes) -> list[Group]:
        """Ask a pass until it finds nothing more; its runs, by what they go on under then."""
        definition, members = group
        left: list[Group] = []
        for _ in range(ROUNDS_MAX):
            asked = await self._asking.ask(one, definition, profile)
            patch = patch_in(asked)
            if patch is None or asked.after is None or not self._pays(patch, members):
                break
            took, refused = await self._apply(one, patch, definition, members)
            if refused:
                left.append((definition, refused))
            definition, members = asked.after, took
        return [*left, (definition, members)] if members else left

    def _pays(self, patch: OptimizedPatch, members: Sequence[RunView]) -> bool:
        gain_s = patch.expected.gain_s * len(members)
        return gain_s > 0 and gain_s >= self._settings.gain_s_min

    async def _apply(
        self, one: Found, patch: OptimizedPatch, definition: Definition, members: list[RunView]
    ) -> tuple[list[RunView], list[RunView]]:
        """Those that took it, as they are now, and those that did not."""
        took: list[RunView] = []
        refused: list[RunView] = []
        for view in members:
            tried = (view.run_id, definition.hash, one.hash)
            after = None if tried in self._refused else await self._put(one, patch, definition, view)
            if after is not None:
                took.append(after)
                continue
            refused.append(view)
            self._refused[tried] = None
            if len(self._refused) > REFUSALS_KEPT:
                self._refused.popitem(last=False)
        return took, refused

    async def _put(self, one: Found, patch: OptimizedPatch, definition: Definition, view: RunView) -> RunView | None:
        """The run under the patch; None where it goes on without."""
        command = ApplyPatch(
            view.tenant,
            view.run_id,
            bytes(patch.operations),
            self._rules,
            reason_of(patch),
            author_of(one.name, one.hash),
            view.epoch,
            # Who rolled it back does not get it again.
            f"{one.name[:64]}:{one.hash[:23]}:{definition.hash}",
            exact=True,
        )
        reply = await self._runs.call(command)
        if reply.code:
            self._counts.refused(one.name, one.hash, reply.code, view.run_id)
            return None
        if reply.existing:
            return None  # it was dropped again, or waits for a person
        if _ANSWER.decode(reply.details).state != "APPLIED":
            self._counts.count(one.name, "held")
            return None
        self._counts.applied(one.name, one.hash, {"run": view.run_id})
        return self._runs.run(view.tenant, view.run_id)
