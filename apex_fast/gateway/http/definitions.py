"""`/definitions`: register, validate, read and tag workflows."""

from typing import Annotated

import msgspec
from msgspec import Meta

from apex_fast.domain import Diagnostic, WorkflowView
from apex_fast.errors import NotFound
from apex_fast.gateway.arms import ArmBody, ArmOutcome, find_tag, outcomes, part_of
from apex_fast.gateway.bodies import Body, invalid
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.listing import list_workflows, page_size_of
from apex_fast.gateway.registry import (
    FIRST_TAG,
    TAGS_MAX,
    check_tag,
    diagnose,
    inputs_schema_of,
    keep,
    tag_version,
)
from apex_fast.gateway.translate import rfc3339


class DefinitionDocument(msgspec.Struct):
    """A workflow definition; `docs/reference/definition.md` has all of it. Checked by the compiler."""

    name: str
    version: str
    nodes: list[msgspec.Raw]
    edges: list[msgspec.Raw] = []
    inputs: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    output: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))


class RegisterQuery(Body):
    """How a definition is registered."""

    tag: list[str] = msgspec.field(default_factory=list)


class DefinitionsQuery(Body):
    """What a page of definitions selects."""

    tag: str = ""
    page_size: int = 0
    page_token: str = ""


class DefinitionQuery(Body):
    """Which version, where the path names none."""

    tag: str = FIRST_TAG


class TagBody(Body):
    """Where a tag is to point."""

    version: Annotated[str, Meta(min_length=1)]
    expected_version: str = ""
    """If set, the tag must point at this version now (else 409 TAG_MOVED)."""
    arms: list[ArmBody] = msgspec.field(default_factory=list)
    """What shares of the starts by the tag run instead. The same arms on the same version go on as the same test,
    others begin one, none ends it."""


class Finding(msgspec.Struct, omit_defaults=True):
    """A diagnostic of the compiler."""

    code: str
    pointer: str
    message: str
    hint: str = ""


class Validated(msgspec.Struct, omit_defaults=True):
    """What the compiler says."""

    valid: bool
    diagnostics: list[Finding]
    ir_hash: str = ""
    nodes: int = 0
    edges: int = 0


class DefinitionRegistered(msgspec.Struct):
    """A version that is registered, durably."""

    name: str
    version: str
    ir_hash: str
    existing: bool


class Derived(msgspec.Struct):
    """What patches made a version of."""

    base_version: str
    set: str
    generation: int
    """Which version of the set it is, from 1."""
    patches: list[str]
    """Ids of the patches in it, in their order; empty in lists."""


class DefinitionShown(msgspec.Struct, omit_defaults=True):
    """A registered version."""

    name: str
    version: str
    ir_hash: str
    tags: list[str]
    registered_time: str
    nodes: int
    edges: int
    derived: Derived | None = None
    definition: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs_schema: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class DefinitionPage(msgspec.Struct):
    """Definitions by name, newest version first."""

    definitions: list[DefinitionShown]
    next_page_token: str


class Tagged(msgspec.Struct):
    """A tag that was moved, durably."""

    name: str
    tag: str
    version: str
    previous_version: str


class TagShown(msgspec.Struct, omit_defaults=True):
    """Where a tag points, and its arms."""

    name: str
    tag: str
    version: str
    arms: list[ArmOutcome]
    """The control (what the tag points at) first; empty: all starts run that version."""
    began_time: str = ""
    """When the test of these arms began."""


_TAG = msgspec.json.Decoder(TagBody)


def finding_of(diagnostic: Diagnostic) -> Finding:
    """A diagnostic for HTTP."""
    return Finding(diagnostic.code, diagnostic.pointer, diagnostic.message, diagnostic.hint)


class DefinitionRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """All routes of the group."""
        unknown = ("WORKFLOW_NOT_FOUND",)
        registered = "The version stands in the registry, durably"
        return [
            Route("PUT", "/definitions/{name}/{version}", "registerDefinition",
                  "Register a version; it never changes", "definitions", self.register,
                  [Answer(201, registered, DefinitionRegistered, headers={"Location": "The version."}),
                   Answer(200, "It was there before, the same", DefinitionRegistered)],
                  body=DefinitionDocument, query=RegisterQuery, many=frozenset({"tag"}),
                  problems=("DEFINITION_INVALID", "WORKFLOW_EXISTS")),
            Route("POST", "/definitions/validate", "validateDefinition", "Compile and register nothing",
                  "definitions", self.validate, [Answer(200, "What the compiler says", Validated)],
                  body=DefinitionDocument),
            Route("GET", "/definitions", "listDefinitions", "All registered versions", "definitions", self.list,
                  [Answer(200, "A page of definitions", DefinitionPage)], query=DefinitionsQuery),
            Route("GET", "/definitions/{name}", "getDefinition", "The version that a tag points at",
                  "definitions", self.get, [Answer(200, "The version", DefinitionShown)], query=DefinitionQuery,
                  problems=unknown),
            Route("GET", "/definitions/{name}/{version}", "getDefinitionVersion", "A version", "definitions",
                  self.get_version, [Answer(200, "The version", DefinitionShown)], problems=unknown),
            Route("PUT", "/definitions/{name}/tags/{tag}", "tagDefinition", "Point a tag at a version, with arms",
                  "definitions", self.tag, [Answer(200, "The tag points there, durably", Tagged)], body=TagBody,
                  problems=(*unknown, "TAG_MOVED", "VALUE_INVALID", "LIMIT_EXCEEDED")),
            Route("GET", "/definitions/{name}/tags/{tag}", "getTag",
                  "Where a tag points, its arms, and what became of their starts", "definitions", self.get_tag,
                  [Answer(200, "The tag", TagShown)], problems=unknown),
        ]  # fmt: skip

    def register(self, exchange: Exchange) -> None:
        """`PUT /definitions/{name}/{version}`."""
        exchange.check_media_type()
        tags = exchange.select(RegisterQuery, frozenset({"tag"})).tag
        if len(tags) > TAGS_MAX:
            raise invalid("/tag", f"at most {TAGS_MAX} tags")
        for index, tag in enumerate(tags):
            check_tag(tag, f"/tag/{index}")
        name, version = exchange.params["name"], exchange.params["version"]

        async def work() -> None:
            definition = await self._house.compile(exchange.body)
            if definition.name != name:
                raise invalid("/name", f"the path says {name!r}", code="DEFINITION_INVALID")
            if definition.version != version:
                raise invalid("/version", f"the path says {version!r}", code="DEFINITION_INVALID")
            done = await keep(self._house, exchange.tenant, definition, tags)
            answer = DefinitionRegistered(name, version, definition.hash, done.existing)
            headers = [] if done.existing else [("location", exchange.path)]
            exchange.answer(200 if done.existing else 201, answer, headers)

        exchange.beside(work())

    def validate(self, exchange: Exchange) -> None:
        """`POST /definitions/validate`."""
        exchange.check_media_type()

        async def work() -> None:
            definition, found = await diagnose(self._house, exchange.body)
            findings = [finding_of(one) for one in found]
            if definition is None:
                exchange.answer(200, Validated(False, findings))
            else:
                nodes, edges = definition.node_count, definition.edge_count
                exchange.answer(200, Validated(True, findings, definition.hash, nodes, edges))

        exchange.beside(work())

    async def _shown(self, view: WorkflowView) -> DefinitionShown:
        compiled = await self._house.compiled(view)
        return DefinitionShown(
            name=view.name,
            version=view.version,
            ir_hash=view.hash,
            tags=view.tags,
            registered_time=rfc3339(view.registered_ns),
            nodes=compiled.node_count,
            edges=compiled.edge_count,
            derived=Derived(view.base_version, view.set, view.generation, view.patches) if view.set else None,
        )

    def list(self, exchange: Exchange) -> None:
        """`GET /definitions`."""
        query = exchange.select(DefinitionsQuery)
        size = page_size_of(query.page_size)
        views, page = list_workflows(
            self._house.engine.workflows(exchange.tenant), "", query.tag, size, query.page_token
        )

        async def work() -> None:
            exchange.answer(200, DefinitionPage([await self._shown(view) for view in views], page))

        exchange.when_durable(lambda: exchange.beside(work()))

    def get(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}`."""
        tag = exchange.select(DefinitionQuery).tag
        name = exchange.params["name"]
        self._show(exchange, self._house.engine.workflow(exchange.tenant, name, tag=tag), f"{name!r} with tag {tag!r}")

    def get_version(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/{version}`."""
        name, version = exchange.params["name"], exchange.params["version"]
        view = self._house.engine.workflow(exchange.tenant, name, version)
        self._show(exchange, view, f"{name!r} with version {version!r}")

    def _show(self, exchange: Exchange, view: WorkflowView | None, what: str) -> None:
        if view is None:
            raise NotFound(f"there is no workflow {what}", code="WORKFLOW_NOT_FOUND")

        async def work() -> None:
            answer = await self._shown(view)
            answer.definition = msgspec.Raw(view.definition)
            schema = inputs_schema_of(view.definition)
            answer.inputs_schema = msgspec.Raw(schema) if schema else msgspec.UNSET
            exchange.answer(200, answer)

        exchange.when_durable(lambda: exchange.beside(work()))

    def tag(self, exchange: Exchange) -> None:
        """`PUT /definitions/{name}/tags/{tag}`."""
        body = exchange.read(_TAG)
        name, tag = exchange.params["name"], exchange.params["tag"]
        arms = [part_of(arm.version, arm.set, arm.share, f"/arms/{index}") for index, arm in enumerate(body.arms)]

        async def work() -> None:
            previous = await tag_version(
                self._house, exchange.tenant, name, body.version, tag, body.expected_version, arms
            )
            exchange.answer(200, Tagged(name, tag, body.version, previous))

        check_tag(tag, "/tag")
        exchange.beside(work())

    def get_tag(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/tags/{tag}`."""
        name, tag = exchange.params["name"], exchange.params["tag"]
        view = find_tag(self._house, exchange.tenant, name, tag)
        answer = TagShown(name, tag, view.version, outcomes(view.arms), rfc3339(view.began_ns))
        exchange.when_durable(lambda: exchange.answer(200, answer))
