"""How a pass stands in the records of what it patched: as the author, and in the reason what it expected.

Both are read again, from any history: `optimizer:parallelize@sha256:…`, and `b does not need what a gives; expected to
save 0 calls, 0 s of work, 0.25 s of waiting`.
"""

import re

from apex_fast.optimizer.patch import Expected, OptimizedPatch

REASON_CHARS_MAX = 1_000
_AUTHOR = re.compile(r"optimizer:(.+)@(sha256:[0-9a-f]{64})")
_NUMBER = r"([0-9][0-9.e+-]*)"
_EXPECTED = re.compile(f"expected to save {_NUMBER} calls, {_NUMBER} s of work, {_NUMBER} s of waiting$")


def author_of(name: str, digest: str) -> str:
    """A pass as the author of a patch."""
    return f"optimizer:{name}@{digest}"


def pass_of(author: str) -> tuple[str, str] | None:
    """Name and hash of the pass that is this author; None where it is somebody else."""
    found = _AUTHOR.fullmatch(author)
    return (found.group(1), found.group(2)) if found else None


def reason_of(patch: OptimizedPatch) -> str:
    """What was found, and what it is expected to save."""
    saved = patch.expected
    ending = f"expected to save {saved.calls:g} calls, {saved.work_s:g} s of work, {saved.latency_s:g} s of waiting"
    found = "; ".join(finding.reason for finding in patch.findings)
    room = REASON_CHARS_MAX - len(ending) - 2
    found = found if len(found) <= room else f"{found[: room - 1]}…"
    return f"{found}; {ending}" if found else ending


def expected_in(reason: str) -> Expected:
    """What a reason says was expected; nothing where it does not say."""
    found = _EXPECTED.search(reason)
    try:
        return Expected(*(max(0.0, float(number)) for number in found.groups())) if found else Expected()
    except ValueError:
        return Expected()
