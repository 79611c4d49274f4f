"""Versions made of what passes propose: `<version>+optimizer.<n>`, by patches on the workflow as anybody makes them.

What is made is proved once more before a tag goes there, whoever else patched the set meanwhile.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from apex_fast.domain import Definition, PatchRule, PatchWorkflow, TagWorkflow, WorkflowPatchView, WorkflowView
from apex_fast.errors import Conflict, error_of
from apex_fast.optimizer.asking import Asking
from apex_fast.optimizer.counts import Counts
from apex_fast.optimizer.folder import Found
from apex_fast.optimizer.patch import OptimizedPatch
from apex_fast.optimizer.reason import author_of, pass_of, reason_of
from apex_fast.optimizer.runs import Runs
from apex_fast.optimizer.suggestions import together

SET = "optimizer"
POLL_S = 0.05
POLLS_MAX = 1_200


class _Patch(msgspec.Struct):
    patch_id: str


_PATCH = msgspec.json.Decoder(_Patch)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Proposal:
    """All that one pass proposes, as one patch on a definition."""

    name: str
    hash: str
    patch: OptimizedPatch
    before: Definition
    after: Definition


class Deriving:
    """Makes versions, and points tags at them."""

    def __init__(self, runs: Runs, asking: Asking, counts: Counts, rule: PatchRule) -> None:
        """Nothing is made yet. ``rule``: what passes may reach."""
        self._runs = runs
        self._asking = asking
        self._counts = counts
        self._rule = rule

    async def apply(
        self,
        tenant: str,
        view: WorkflowView,
        definition: Definition,
        passes: Iterable[Found],
        profile: bytes,
        moved: Mapping[str, str],
    ) -> None:
        """Make a version of all that passes propose for one that tags point at, once, and move these tags there.

        ``moved``: tags that were set to the version just now, and where they pointed before. Where the version was made
        earlier only these go on to it, unless they came from it: that is how somebody takes a version back. Where a
        policy wants a person first, what passes propose stays a suggestion until somebody takes it.
        """
        if view.set == SET or not view.tags or self._rule.policy != "apply":
            return
        proposals = await self._proposals(passes, definition, profile)
        if not proposals:
            return
        before = self._last(tenant, view)
        patch_id = before.patch_id if before is not None else await self._propose(tenant, view, proposals)
        made = await self._made(tenant, view, definition, patch_id)
        if made is None:
            return
        if before is None:
            for one in proposals:
                self._counts.applied(one.name, one.hash, {"workflow": view.name, "version": made})
        tags = view.tags if before is None else [tag for tag, previous in moved.items() if previous != made]
        await self._move(tenant, view, made, tags)

    async def take(
        self, tenant: str, view: WorkflowView, definition: Definition, one: Found, profile: bytes
    ) -> str | None:
        """Propose a version with what one pass proposes; the id of the patch. None: it proposes nothing.

        Raises Conflict where the set has been patched since the version, and what a patch on a workflow raises.
        """
        proposals = await self._proposals([one], definition, profile)
        if not proposals:
            return None
        last = self._last(tenant, view)
        if last is not None and last.version != view.version:
            newer = f"version {last.version!r}" if last.version else "a version that is being made"
            raise Conflict(f"passes were taken for {view.version!r} before: take this one from {newer}")
        return await self._propose(tenant, view, proposals, approved=True)

    async def taken(
        self, tenant: str, view: WorkflowView, definition: Definition, one: Found, patch_id: str, tag: str
    ) -> None:
        """Wait for the version with a patch that was proposed, and point a tag at it where one is named."""
        made = await self._made(tenant, view, definition, patch_id)
        if made is not None:
            self._counts.applied(one.name, one.hash, {"workflow": view.name, "version": made})
            await self._move(tenant, view, made, [tag] if tag else [])

    async def _proposals(self, passes: Iterable[Found], definition: Definition, profile: bytes) -> list[Proposal]:
        """What passes propose, each for the definition after the one before."""
        found: list[Proposal] = []
        for one in passes:
            steps, after = await self._asking.all_of(one, definition, profile)
            patch = together(steps) if after.hash != definition.hash else None
            if isinstance(patch, OptimizedPatch):
                found.append(Proposal(one.name, one.hash, patch, definition, after))
            definition = after
        return found

    def _last(self, tenant: str, view: WorkflowView) -> WorkflowPatchView | None:
        """The last patch of the set on a version, or of the set that it stands for."""
        key = f"{view.base_version if view.set == SET else view.version}+{SET}"
        patches, _ = self._runs.workflow_patches(tenant, view.name, key, 1)
        return patches[0] if patches else None

    async def _propose(self, tenant: str, view: WorkflowView, proposals: list[Proposal], approved: bool = False) -> str:
        """Patch the workflow, in one batch; the id of the last patch. ``approved``: a person asked for it. Raises
        ApexError."""
        patch_id = ""
        for number, one in enumerate(proposals, 1):
            command = PatchWorkflow(
                tenant,
                view.name,
                bytes(one.patch.operations),
                self._rule,
                version=view.version,
                set=SET,
                reason=reason_of(one.patch),
                author=author_of(one.name, one.hash),
                idempotency_key=f"{one.name[:64]}:{one.hash[:23]}:{one.before.hash}",
                at_once=number == len(proposals),
                approved=approved,
            )
            reply = await self._runs.call(command)
            if reply.code:
                self._counts.refused(one.name, one.hash, reply.code)
                raise error_of(reply.code, reply.message)
            patch_id = _PATCH.decode(reply.details).patch_id
        return patch_id

    async def _made(self, tenant: str, view: WorkflowView, definition: Definition, patch_id: str) -> str | None:
        """The version with a patch, once it is made and proved to do what this one does."""
        for _ in range(POLLS_MAX):
            patch = self._runs.workflow_patch(tenant, patch_id)
            author = pass_of(patch.author) if patch is not None else None
            if patch is None or author is None or patch.status == "ROLLED_BACK":
                return None  # somebody else has the last word on this set
            made = self._runs.workflow(tenant, view.name, patch.version) if patch.version else None
            if made is not None and await self._is_proved(definition, made):
                return made.version
            if made is not None or patch.status == "REJECTED":
                self._counts.refused(*author, patch.code or "NOT_PROVED")
                return None
            await asyncio.sleep(POLL_S)
        return None

    async def _is_proved(self, definition: Definition, made: WorkflowView) -> bool:
        """Whether a version does what the definition does, but for its name."""
        members = _MEMBERS.decode(made.definition)
        members["version"] = msgspec.Raw(msgspec.json.encode(definition.version))
        after = await self._asking.compiled(msgspec.json.encode(members))
        return not await self._asking.beside(definition.doubts, after)

    async def _move(self, tenant: str, view: WorkflowView, made: str, tags: Iterable[str]) -> None:
        """Point tags at a version, where they still point at the one before and no test runs on them."""
        for tag in tags:
            arms = self._runs.arms(tenant, view.name, tag)
            if arms is not None and not arms.arms:
                await self._runs.call(TagWorkflow(tenant, view.name, made, tag, view.version))
