"""Definitions on their way in: compiled with the registered functions, then registered and tagged.

Shared by gRPC and HTTP. A definition is registered under the name and version that it states.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from apex_fast.domain import CompileError, Definition, Diagnostic, RegisterWorkflow, TagWorkflow
from apex_fast.gateway.bodies import invalid
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.house import House

FIRST_TAG = "main"
TAG_CHARS_MAX = 128
TAGS_MAX = 16


class _InputsSchema(msgspec.Struct):
    inputs: msgspec.Raw = msgspec.Raw()


_INPUTS_SCHEMA = msgspec.json.Decoder(_InputsSchema)


def inputs_schema_of(canonical: bytes) -> bytes:
    """The JSON Schema of a definition's inputs; empty where it states none."""
    return bytes(_INPUTS_SCHEMA.decode(canonical).inputs)


@dataclass(frozen=True)
class Registered:
    """A version that stands in the registry, durably."""

    definition: Definition
    existing: bool


def check_tag(tag: str, pointer: str) -> None:
    """Refuse a tag that is no name."""
    if not 1 <= len(tag) <= TAG_CHARS_MAX or not all(c.isalnum() or c in "_.-" for c in tag) or not tag.isascii():
        raise invalid(pointer, f"a tag has 1 to {TAG_CHARS_MAX} letters, digits, '_', '.' or '-'")


async def register(house: House, tenant: str, body: bytes, tags: Sequence[str]) -> Registered:
    """Compile and register. The first version of a workflow gets the tag `main` unless tags are named.

    Raises CompileError, and Conflict (WORKFLOW_EXISTS) where the version holds another definition.
    """
    definition = await house.compile(body)
    return await keep(house, tenant, definition, tags)


async def keep(house: House, tenant: str, definition: Definition, tags: Sequence[str]) -> Registered:
    """Register what is compiled."""
    engine = house.engine
    wanted = list(dict.fromkeys(tags))
    if not wanted and engine.workflow(tenant, definition.name) is None:
        wanted = [FIRST_TAG]
    first = wanted[0] if wanted else None
    reply = await engine.call(RegisterWorkflow(tenant, definition.canonical, first))
    if reply.code:
        raise refusal_of(reply)
    for tag in wanted[1:]:
        tagged = await engine.call(TagWorkflow(tenant, definition.name, definition.version, tag))
        if tagged.code:
            raise refusal_of(tagged)
    if house.optimizer is not None:
        house.optimizer.tagged(tenant, definition.name, definition.version, dict.fromkeys(wanted, ""))
    return Registered(definition, reply.existing)


async def diagnose(house: House, body: bytes) -> tuple[Definition | None, list[Diagnostic]]:
    """The compiled definition, or every reason why there is none."""
    try:
        return await house.compile(body), []
    except CompileError as error:
        return None, error.diagnostics


async def tag_version(
    house: House,
    tenant: str,
    name: str,
    version: str,
    tag: str,
    expected: str,
    arms: Sequence[tuple[str, str, int]],
) -> str:
    """Point a tag at a version, with arms; the version it pointed at before, or empty.

    Raises NotFound, InvalidInput, and Conflict (TAG_MOVED) where ``expected`` is set and the tag points elsewhere.
    """
    check_tag(tag, "/tag")
    before = house.engine.workflow(tenant, name, tag=tag)
    reply = await house.engine.call(TagWorkflow(tenant, name, version, tag, expected or None, list(arms)))
    if reply.code:
        raise refusal_of(reply)
    if house.optimizer is not None:
        house.optimizer.tagged(tenant, name, version, {tag: before.version if before is not None else ""})
    return before.version if before is not None else ""
