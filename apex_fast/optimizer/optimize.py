"""Passes asked in turn until none finds anything more; every patch is applied, compiled and
proved to keep the meaning before the next question."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from apex_fast.core import CompileError, CoreError
from apex_fast.domain import Definition
from apex_fast.optimizer.folder import Found
from apex_fast.optimizer.guest import Answer, Refusal
from apex_fast.optimizer.patch import OptimizedPatch

FORMAT = 1
ROUNDS_MAX = 16
DOUBTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Step:
    """What a pass proposed (and the definition after it), or why nothing of it was taken."""

    name: str
    hash: str
    outcome: OptimizedPatch | Refusal


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one question."""

    step: Step | None
    """None: the pass found nothing."""
    after: Definition | None
    """The definition that the patch makes; None where nothing changes."""


@dataclass(frozen=True, slots=True)
class Optimized:
    """The steps in order, and the definition after all of them."""

    definition: Definition
    steps: list[Step] = field(default_factory=list)


def optimize(definition: Definition, passes: Iterable[Found], profile: bytes = b"null") -> Optimized:
    """Ask each pass, again while it finds more, at most 16 times; a pass that is refused is not asked again.

    `profile` is a JSON document as in `docs/formats/optimizer.md`, or null.
    """
    steps: list[Step] = []
    for one in passes:
        for _ in range(ROUNDS_MAX):
            asked = ask(one, definition, profile)
            if asked.step is not None:
                steps.append(asked.step)
            if asked.after is None:
                break
            definition = asked.after
    return Optimized(definition, steps)


def question(definition: Definition, profile: bytes = b"null") -> bytes:
    """The input document of a pass."""
    parts = {
        "format": FORMAT,
        "definition": msgspec.Raw(definition.canonical),
        "facts": msgspec.Raw(definition.facts),
        "profile": msgspec.Raw(profile),
    }
    return msgspec.json.encode(parts)


def ask(one: Found, definition: Definition, profile: bytes = b"null") -> Asked:
    """Ask a pass once; what it proposes is applied, compiled and proved to keep the meaning, or refused."""
    answer = one.guest.call(question(definition, profile))
    if isinstance(answer, Refusal):
        return _refused(one, answer)
    if answer.patch is None:
        return Asked(None, None)
    try:
        after = _after(definition, answer)
    except (CompileError, CoreError) as error:
        return _refused(one, Refusal("PATCH_INVALID", str(error), answer.log))
    doubts = definition.doubts(after) if after is not None else []
    if doubts:
        said = "; ".join(f"{doubt.code} {doubt.pointer}: {doubt.message}" for doubt in doubts[:DOUBTS_SHOWN])
        return _refused(one, Refusal("NOT_PROVED", said, answer.log))
    return Asked(Step(one.name, one.hash, answer.patch), after)


def _refused(one: Found, refusal: Refusal) -> Asked:
    return Asked(Step(one.name, one.hash, refusal), None)


def _after(definition: Definition, answer: Answer) -> Definition | None:
    if answer.patch is None or bytes(answer.patch.operations) == b"[]":
        return None
    after = definition.patched(bytes(answer.patch.operations))
    return after if after.hash != definition.hash else None
