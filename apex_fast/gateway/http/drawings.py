"""Graphs of definitions and runs, and what a patch changed, over HTTP."""

import asyncio
from typing import Literal

import msgspec

from apex_fast.domain import RunView, WorkflowView
from apex_fast.drawing import graph_of
from apex_fast.errors import NotFound
from apex_fast.gateway.bodies import Body
from apex_fast.gateway.drawings import Changed, Drawings, drawn
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route

Form = Literal["svg", "mermaid", "text", "json"]
_HEADERS = {
    # A browser that opens the picture runs nothing that a definition might say.
    "svg": [
        ("content-type", "image/svg+xml"),
        ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ],
    "mermaid": [("content-type", "text/plain; charset=utf-8")],
    "text": [("content-type", "text/plain; charset=utf-8")],
}
_COMMON = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]


class GraphQuery(Body):
    """How a graph is drawn."""

    format: Literal["svg", "mermaid"] = "svg"


class DiffQuery(Body):
    """How a change is shown."""

    format: Form = "json"


class PatchChange(msgspec.Struct, omit_defaults=True):
    """Something that is another one after the patch."""

    change: Literal["added", "removed", "changed"]
    what: Literal["node", "edge", "workflow"]
    id: str = ""
    """Of the node; `a → b` of an edge."""
    body: str = ""
    """The map or loop in whose body a node stands."""
    at: str = ""
    """JSON Pointer into it; empty: the whole."""
    before: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    after: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class PatchDiff(msgspec.Struct):
    """What a patch changed."""

    patch_id: str
    definition_before: str
    """Hash of the IR."""
    definition_after: str
    text: str
    """A line for each change."""
    changes: list[PatchChange]


class DrawingRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._drawings = Drawings(house, histories)

    def routes(self) -> list[Route]:
        """All routes of the group."""
        picture = Answer(200, "The graph: SVG, or Mermaid as plain text", media_type="image/svg+xml")
        return [
            Route("GET", "/definitions/{name}/{version}/graph", "getDefinitionGraph", "A version, drawn", "definitions",
                  self.definition, [picture], query=GraphQuery, problems=("WORKFLOW_NOT_FOUND", "LIMIT_EXCEEDED")),
            Route("GET", "/runs/{id}/graph", "getRunGraph",
                  "What a run goes on under, drawn, with where its nodes stand", "runs", self.run, [picture],
                  query=GraphQuery, problems=("RUN_NOT_FOUND", "HISTORY_TRIMMED", "LIMIT_EXCEEDED")),
            Route("GET", "/runs/{id}/patches/{patch_id}/diff", "getRunPatchDiff",
                  "What a patch changed: as JSON, in lines, or drawn before and after", "runs", self.patch,
                  [Answer(200, "The changes; text, Mermaid or SVG if the query says so", PatchDiff)], query=DiffQuery,
                  problems=("RUN_NOT_FOUND", "PATCH_NOT_FOUND", "HISTORY_TRIMMED", "LIMIT_EXCEEDED")),
        ]  # fmt: skip

    def definition(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/{version}/graph`."""
        form = exchange.select(GraphQuery).format
        name, version = exchange.params["name"], exchange.params["version"]
        view = self._house.engine.workflow(exchange.tenant, name, version)
        if view is None:
            raise NotFound(f"there is no workflow {name!r} with version {version!r}", code="WORKFLOW_NOT_FOUND")
        exchange.when_durable(lambda: exchange.beside(self._definition(exchange, view, form)))

    async def _definition(self, exchange: Exchange, view: WorkflowView, form: Literal["svg", "mermaid"]) -> None:
        picture = await asyncio.to_thread(lambda: drawn(graph_of(view.definition), form))
        _send(exchange, form, picture)

    def run(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/graph`."""
        form = exchange.select(GraphQuery).format
        view = self._house.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._run(exchange, view, form)))

    async def _run(self, exchange: Exchange, view: RunView, form: Literal["svg", "mermaid"]) -> None:
        _send(exchange, form, await self._drawings.run(view, form))

    def patch(self, exchange: Exchange) -> None:
        """`GET /runs/{id}/patches/{patch_id}/diff`."""
        form = exchange.select(DiffQuery).format
        view = self._house.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._patch(exchange, view, form)))

    async def _patch(self, exchange: Exchange, view: RunView, form: Form) -> None:
        patch_id = exchange.params["patch_id"]
        changed = await self._drawings.patch(view, patch_id)
        if form == "json":
            exchange.answer(200, _diff(patch_id, changed))
        elif form == "text":
            _send(exchange, form, changed.difference.text())
        else:
            _send(exchange, form, await asyncio.to_thread(changed.drawn, form))


def _send(exchange: Exchange, form: str, text: str) -> None:
    exchange.answer_bytes(200, _HEADERS[form] + _COMMON, text.encode())


def _diff(patch_id: str, changed: Changed) -> PatchDiff:
    def raw(value: bytes | None) -> msgspec.Raw | msgspec.UnsetType:
        return msgspec.UNSET if value is None else msgspec.Raw(value)

    changes = [
        PatchChange(one.change, one.what, one.id, one.body, one.at, raw(one.before), raw(one.after))
        for one in changed.difference.changes
    ]
    return PatchDiff(patch_id, changed.before.hash, changed.after.hash, changed.difference.text(), changes)
