"""What each pass proposes for a registered version, proved; for a person to read and to take.

A function of the version, the passes and what is known of its runs, so it is kept in memory and asked for again when it
is gone.
"""

from dataclasses import dataclass, field

import msgspec

from apex_fast.domain import Definition
from apex_fast.optimizer.asking import Asking
from apex_fast.optimizer.folder import Found
from apex_fast.optimizer.guest import Refusal
from apex_fast.optimizer.optimize import Step
from apex_fast.optimizer.patch import Expected, Finding, OptimizedPatch


@dataclass(frozen=True, slots=True)
class Suggestion:
    """All that one pass proposes for a version by itself, as one patch; or why nothing of it was taken."""

    name: str
    hash: str
    outcome: OptimizedPatch | Refusal


@dataclass(frozen=True, slots=True)
class Suggested:
    """What all passes propose, each by itself, and what was known of runs when they were asked."""

    suggestions: list[Suggestion] = field(default_factory=list)
    profile_runs: int = 0
    profile: bytes = b"null"
    """What the passes were told."""


async def suggest(
    asking: Asking, passes: list[Found], definition: Definition, profile: bytes, profile_runs: int
) -> Suggested:
    """Ask each pass by itself."""
    found: list[Suggestion] = []
    for one in passes:
        steps, _ = await asking.all_of(one, definition, profile)
        if steps:
            found.append(Suggestion(one.name, one.hash, together(steps)))
    return Suggested(found, profile_runs, profile)


def together(steps: list[Step]) -> OptimizedPatch | Refusal:
    """The proposals of a pass, each made for the definition after the one before, as one patch.

    What was proved stands although a later question was refused; a refusal counts where nothing was proved before.
    """
    operations: list[msgspec.Raw] = []
    findings: list[Finding] = []
    cacheable: list[str] = []
    expected = Expected()
    for number, step in enumerate(steps):
        if isinstance(step.outcome, Refusal):
            if not number:
                return step.outcome
            break
        operations += msgspec.json.decode(step.outcome.operations, type=list[msgspec.Raw])
        findings += step.outcome.findings
        cacheable += step.outcome.cacheable
        expected += step.outcome.expected
    return OptimizedPatch(msgspec.Raw(msgspec.json.encode(operations)), findings, expected, cacheable)
