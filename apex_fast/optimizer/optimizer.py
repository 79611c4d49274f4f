"""The optimizer at work beside the engine: versions that are new, and runs that are under way.

Two tasks on the engine's loop, and one thread in which passes are asked. Whatever a pass does, the house goes on: what
is not proved is refused and counted, and what goes wrong here is logged and costs nothing but this.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Iterator, Sequence
from typing import Literal

from prometheus_client.core import Metric

from apex_fast.domain import CompileError, Ended
from apex_fast.errors import Unavailable
from apex_fast.optimizer.asking import Asking
from apex_fast.optimizer.counts import Counts
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


class Optimizer:
    """What the gateway knows of the optimizer. Every method is called on the engine's loop."""

    def __init__(self, runs: Runs, folder: PassFolder, settings: OptimizerSettings, tenants: Sequence[str]) -> None:
        """Nothing is asked yet."""
        self._runs = runs
        self._settings = settings
        self._tenants = tenants
        self.counts = Counts()
        self._asking = Asking(folder, self.counts.asked)
        self._profiles = Profiles(runs, self._asking, settings)
        self._patching = Patching(runs, self._asking, self._profiles.ledger, self.counts, settings)
        # Ordered, and each version once.
        self._waiting: OrderedDict[Version, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._suggested: OrderedDict[Version, Suggested] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: with the versions that tags point at, and the runs that were there before."""
        if not (self._settings.names("suggest") or self._settings.names("apply")):
            return
        self._tasks = [self._task(self._ask_versions())]
        if self._settings.interval_s:
            self._tasks.append(self._task(self._look_again()))
        for tenant in self._tenants:
            for view in self._runs.workflows(tenant):
                if view.tags:
                    self.registered(tenant, view.name, view.version)

    async def close(self) -> None:
        """Stop; what is being asked comes to an end by its limits and is forgotten."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._asking.close()

    def _task(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    # --- what the house tells -------------------------------------------------------------------------------------

    def policy_of(self, workflow: str) -> Literal["off", "suggest", "apply"]:
        """The policy of a workflow."""
        return self._settings.policy_of(workflow)

    def registered(self, tenant: str, workflow: str, version: str) -> None:
        """A version was registered or tagged; the passes are asked about it when they are free."""
        if self.policy_of(workflow) == "off":
            return
        if len(self._waiting) >= VERSIONS_WAITING_MAX:
            log.warning("too many versions wait for the optimizer", extra={"workflow": workflow, "version": version})
            return
        self._waiting[tenant, workflow, version] = None
        self._wake.set()

    def ended(self, ended: list[Ended]) -> None:
        """Runs ended, durably."""
        if self._settings.interval_s:
            self._profiles.ended(ended)

    # --- what the house asks --------------------------------------------------------------------------------------

    def suggested(self, tenant: str, workflow: str, version: str) -> Suggested | None:
        """What the passes propose for a registered version; None: they are being asked, or the policy is `off`."""
        found = self._suggested.get((tenant, workflow, version))
        if found is None:
            self.registered(tenant, workflow, version)
        return found

    def profile(self, tenant: str, workflow: str, version: str) -> Profile | None:
        """What was observed of the runs of a version."""
        return self._profiles.ledger.profile((tenant, workflow, version))

    def savings(self, tenant: str, workflow: str, version: str) -> list[Saving]:
        """What patches of passes saved runs of a version."""
        wanted = (tenant, workflow, version)
        ledger = self._profiles.ledger
        return [one for one in ledger.savings() if (one.tenant, one.workflow, one.version) == wanted]

    def metrics(self) -> Iterator[Metric]:
        """For Prometheus."""
        return families(self.counts, self._profiles.ledger)

    # --- what it does ---------------------------------------------------------------------------------------------

    async def _ask_versions(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                version, _ = self._waiting.popitem(last=False)
                await self._guarded(self._ask_version(version))

    async def _ask_version(self, version: Version) -> None:
        view = self._runs.workflow(*version)
        if view is None:
            return
        profile = self.profile(*version)
        document, runs = (profile.settled(), profile.runs) if profile is not None else (b"null", 0)
        try:
            definition = await self._asking.compiled(view.definition)
        except CompileError:
            return  # of an engine that is newer than this one
        self._suggested[version] = await suggest(self._asking, await self._asking.passes(), definition, document, runs)
        self._suggested.move_to_end(version)
        if len(self._suggested) > VERSIONS_KEPT:
            self._suggested.popitem(last=False)

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
        except Exception:
            log.exception("something went wrong in the optimizer; the house goes on")
