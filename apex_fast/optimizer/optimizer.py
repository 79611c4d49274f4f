"""The optimizer at work beside the engine: versions that are new, and runs that are under way.

Two tasks on the engine's loop, and one thread in which passes are asked. Whatever a pass does, the house goes on: what
is not proved is refused and counted, and what goes wrong here is logged and costs nothing but this.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from prometheus_client.core import Metric

from apex_fast.domain import CompileError, Ended, PatchRules, WorkflowView
from apex_fast.errors import ApexError, NotFound, Unavailable
from apex_fast.optimizer.asking import Asking
from apex_fast.optimizer.counts import Counts
from apex_fast.optimizer.deriving import Deriving
from apex_fast.optimizer.folder import PassFolder
from apex_fast.optimizer.metrics import families
from apex_fast.optimizer.patching import Patching
from apex_fast.optimizer.profile import Profile
from apex_fast.optimizer.profiles import Profiles
from apex_fast.optimizer.runs import Runs
from apex_fast.optimizer.savings import Saving, Version
from apex_fast.optimizer.suggestions import Suggested, suggest
from apex_fast.settings import OptimizerSettings

log = logging.getLogger(__name__)

VERSIONS_KEPT = 1_000
VERSIONS_WAITING_MAX = 10_000
_NONE: Mapping[str, str] = MappingProxyType({})


class Optimizer:
    """What the gateway knows of the optimizer. Every method is called on the engine's loop."""

    def __init__(
        self, runs: Runs, folder: PassFolder, settings: OptimizerSettings, tenants: Sequence[str], rules: PatchRules
    ) -> None:
        """Nothing is asked yet. ``rules``: what passes may patch in runs."""
        self._runs = runs
        self._settings = settings
        self._tenants = tenants
        self.counts = Counts()
        self._asking = Asking(folder, self.counts.asked)
        self._profiles = Profiles(runs, self._asking, settings)
        self._deriving = Deriving(runs, self._asking, self.counts, rules.optimizer)
        self._patching = Patching(runs, self._asking, self._profiles.ledger, self.counts, settings, rules)
        # Ordered, and each version once.
        self._waiting: OrderedDict[Version, dict[str, str]] = OrderedDict()
        self._wake = asyncio.Event()
        self._suggested: OrderedDict[Version, Suggested] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []
        self._taking: set[asyncio.Task[None]] = set()

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: with the versions that tags point at, and the runs that were there before."""
        if not self._settings.is_on:
            return
        self._tasks = [self._task(self._ask_versions())]
        if self._settings.interval_s:
            self._tasks.append(self._task(self._look_again()))
        for tenant in self._tenants:
            for view in self._runs.workflows(tenant):
                if view.tags:
                    self.tagged(tenant, view.name, view.version)

    async def close(self) -> None:
        """Stop; what is being asked comes to an end by its limits and is forgotten."""
        tasks = [*self._tasks, *self._taking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asking.close()

    def _task(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    # --- what the house tells -------------------------------------------------------------------------------------

    def policy_of(self, workflow: str) -> Literal["off", "suggest", "apply"]:
        """The policy of a workflow."""
        return self._settings.policy_of(workflow)

    def tagged(self, tenant: str, workflow: str, version: str, tags: Mapping[str, str] = _NONE) -> None:
        """A version was registered, or ``tags`` set to it (each with the version that it pointed at before, or empty);
        the passes are asked about it when they are free."""
        if self.policy_of(workflow) == "off":
            return
        if len(self._waiting) >= VERSIONS_WAITING_MAX:
            log.warning("too many versions wait for the optimizer", extra={"workflow": workflow, "version": version})
            return
        self._waiting.setdefault((tenant, workflow, version), {}).update(tags)
        self._wake.set()

    @property
    def observes(self) -> bool:
        """Whether it is to be told of runs that ended. Where no policy wants a profile, no run pays for one."""
        return self._settings.is_on and self._settings.interval_s > 0

    def ended(self, ended: list[Ended]) -> None:
        """Runs ended, durably."""
        self._profiles.ended(ended)

    # --- what the house asks --------------------------------------------------------------------------------------

    def suggested(self, tenant: str, workflow: str, version: str) -> Suggested | None:
        """What the passes propose for a registered version; None: they are being asked, or the policy is `off`.

        Where the profile is another one by now they are asked again, and what they said before stands until then.
        """
        key = (tenant, workflow, version)
        found = self._suggested.get(key)
        if found is None or found.profile != self._told(key)[0]:
            self.tagged(tenant, workflow, version)
        return found

    def profile(self, tenant: str, workflow: str, version: str) -> Profile | None:
        """What was observed of the runs of a version."""
        return self._profiles.ledger.profile((tenant, workflow, version))

    def savings(self, tenant: str, workflow: str, version: str) -> list[Saving]:
        """What patches of passes saved runs of a version."""
        wanted = (tenant, workflow, version)
        ledger = self._profiles.ledger
        return [one for one in ledger.savings() if (one.tenant, one.workflow, one.version) == wanted]

    async def take(self, tenant: str, view: WorkflowView, name: str, tag: str) -> str:
        """Make a version with what one pass proposes for a registered one; the id of the patch on the workflow. A tag
        that is named goes there.

        Raises NotFound where there is no such pass or it proposes nothing, Conflict where the version is not the last
        one that passes were taken for, and what a patch on a workflow raises.
        """
        version = (tenant, view.name, view.version)
        found = [one for one in await self._asking.passes() if one.name == name]
        document, _ = self._told(version)
        definition = await self._asking.compiled(view.definition)
        patch_id = await self._deriving.take(tenant, view, definition, found[0], document) if found else None
        if patch_id is None:
            said = (
                f"pass {name[:64]!r} proposes nothing for version {view.version!r}"
                if found
                else f"there is no pass {name[:64]!r}"
            )
            raise NotFound(said, code="PASS_NOT_FOUND")
        work = self._guarded(self._deriving.taken(tenant, view, definition, found[0], patch_id, tag))
        task = self._task(work)
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        return patch_id

    def metrics(self) -> Iterator[Metric]:
        """For Prometheus."""
        return families(self.counts, self._profiles.ledger)

    # --- what it does ---------------------------------------------------------------------------------------------

    async def _ask_versions(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                version, tags = self._waiting.popitem(last=False)
                await self._guarded(self._ask_version(version, tags))

    async def _ask_version(self, version: Version, tags: Mapping[str, str]) -> None:
        view = self._runs.workflow(*version)
        if view is None:
            return
        document, runs = self._told(version)
        try:
            definition = await self._asking.compiled(view.definition)
        except CompileError:
            return  # of an engine that is newer than this one
        passes = await self._asking.passes()
        self._suggested[version] = await suggest(self._asking, passes, definition, document, runs)
        self._suggested.move_to_end(version)
        if len(self._suggested) > VERSIONS_KEPT:
            self._suggested.popitem(last=False)
        if self.policy_of(view.name) == "apply":
            await self._deriving.apply(version[0], view, definition, passes, document, tags)

    def _told(self, version: Version) -> tuple[bytes, int]:
        """What passes are told of the runs of a version, and how many those are."""
        profile = self.profile(*version)
        return (profile.settled(), profile.runs) if profile is not None else (b"null", 0)

    async def _look_again(self) -> None:
        for tenant in self._tenants:
            await self._guarded(self._profiles.recall(tenant))
        while True:
            await self._guarded(self._look())
            await asyncio.sleep(self._settings.interval_s)

    async def _look(self) -> None:
        await self._profiles.read()
        if not self._settings.names("apply"):
            return
        for tenant in self._tenants:
            await self._patching.look(tenant)

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        """Do something; what goes wrong is logged."""
        try:
            await work
        except Unavailable:
            log.info("the optimizer stops: the gateway does")
            raise asyncio.CancelledError from None
        except ApexError as refused:
            log.info("the optimizer was refused", extra={"code": refused.code})
        except Exception:
            log.exception("something went wrong in the optimizer; the house goes on")
