"""Graphs of definitions and runs, and what a patch makes of one: for a person to look at. Shared by gRPC and HTTP."""

import asyncio
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from apex_fast.core import node_states
from apex_fast.domain import CoreError, Definition, Event, RunView
from apex_fast.drawing import Difference, Graph, Marks, difference, graph_of, mermaid, svg
from apex_fast.errors import NotFound
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.patches import unknown_patch

Picture: TypeAlias = Literal["svg", "mermaid"]


class _Started(msgspec.Struct):
    version: str = ""
    overlay: list["_Overlaid"] = []


class _Overlaid(msgspec.Struct):
    operations: msgspec.Raw


class _Applied(msgspec.Struct):
    number: int
    operations: msgspec.Raw


class _Number(msgspec.Struct):
    number: int


_STARTED = msgspec.json.Decoder(_Started)
_APPLIED = msgspec.json.Decoder(_Applied)
_NUMBER = msgspec.json.Decoder(_Number)


@dataclass(frozen=True)
class Changed:
    """What a patch made of the definition of its run."""

    before: Definition
    after: Definition
    difference: Difference

    def drawn(self, picture: Picture) -> str:
        """Both graphs, with what changed marked. Raises LimitExceeded."""
        graphs = (
            graph_of(self.before.canonical, self.difference.marks_before),
            graph_of(self.after.canonical, self.difference.marks_after),
        )
        if picture == "svg":
            return svg(("before", graphs[0]), ("after", graphs[1]))
        return f"%% before\n{mermaid(graphs[0])}%% after\n{mermaid(graphs[1])}"


def drawn(graph: Graph, picture: Picture) -> str:
    """One graph."""
    return svg(("", graph)) if picture == "svg" else mermaid(graph)


class _Past:
    """The definition of a run, event by event."""

    def __init__(self, started: _Started) -> None:
        self.version = started.version
        self._patches: dict[int, bytes] = {-place: bytes(one.operations) for place, one in enumerate(started.overlay)}

    def go_on(self, event: Event) -> None:
        """What the event changes."""
        if event.type == "RunMigrated":
            self.version = _STARTED.decode(event.payload).version
        elif event.type == "PatchApplied":
            applied = _APPLIED.decode(event.payload)
            self._patches[applied.number] = bytes(applied.operations)
        elif event.type == "PatchRolledBack":
            self._patches.pop(_NUMBER.decode(event.payload).number, None)

    @property
    def patches(self) -> list[bytes]:
        """The operations of those in force, in order."""
        return list(self._patches.values())


class Drawings:
    """Its methods are called for views that are durable."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._histories = histories

    async def run(self, view: RunView, picture: Picture) -> str:
        """The graph of a run, with where its nodes stand and what patches added. Raises LimitExceeded, NotFound."""
        turns = await self._histories.turns(view)
        past = await self._past(view)
        for event in turns:
            past.go_on(event)
        events = await self._histories.events(view, view.offset)
        definition, base = await asyncio.gather(self._made(view, past), self._made(view, past, patched=False))

        def draw() -> str:
            added = difference(base.canonical, definition.canonical).marks_after
            return drawn(graph_of(definition.canonical, Marks(added.nodes, added.edges, node_states(events))), picture)

        return await asyncio.to_thread(draw)

    async def patch(self, view: RunView, patch_id: str) -> Changed:
        """What a patch of a run changed when it was applied. Raises NotFound."""
        past = await self._past(view)
        for event in await self._histories.turns(view):
            if event.type == "PatchApplied" and f"{view.run_id}~p{_NUMBER.decode(event.payload).number}" == patch_id:
                before = await self._made(view, past)
                past.go_on(event)
                after = await self._made(view, past)
                found = await asyncio.to_thread(difference, before.canonical, after.canonical)
                return Changed(before, after, found)
            past.go_on(event)
        raise unknown_patch(patch_id)

    async def _past(self, view: RunView) -> _Past:
        # Before it stand a goal and its plan, at most.
        for event in await self._histories.beginning(view):
            if event.type == "RunStarted":
                return _Past(_STARTED.decode(event.payload))
        raise NotFound(f"run {view.run_id} has not started", code="RUN_NOT_FOUND")

    async def _made(self, view: RunView, past: _Past, patched: bool = True) -> Definition:
        """The definition of a version, and what the patches make of it."""
        registered = self._house.engine.workflow(view.tenant, view.workflow, past.version)
        if registered is None:
            raise NotFound(f"version {past.version} of {view.workflow} is not there", code="WORKFLOW_NOT_FOUND")
        base = await self._house.compiled(registered)
        if not patched or not past.patches:
            return base
        try:
            return await asyncio.to_thread(base.overlaid, past.patches)
        except CoreError as error:
            raise NotFound(
                f"the definition of run {view.run_id} cannot be made any more: {error.message}",
                code="DEFINITION_UNREADABLE",
            ) from error
