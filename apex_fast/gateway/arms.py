"""What became of the starts of each arm of a tag, as numbers that can be compared.

Rates stand with their 95 % interval: Wilson's score (Wilson 1927), and for the difference of two the interval made of
theirs (Newcombe 1998, Statistics in Medicine 17:873, method 10). Both hold for few runs and for rates near 0 and 1.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from apex_fast.domain import ArmView, TagView
from apex_fast.errors import NotFound
from apex_fast.gateway.bodies import NAME_CHARS_MAX, Body, invalid
from apex_fast.gateway.house import House

WHOLE = 1_000
"""Shares are counted in thousandths."""
_Z = 1.959963984540054
"""Of a normal distribution 95 % is within so many standard deviations."""
_SHARE_SLACK = 1e-9


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class Durations(msgspec.Struct, frozen=True):
    """Durations of the runs that completed; quantiles are within 6.25 %."""

    count: int
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float


class ArmOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the starts of an arm since its test began."""

    arm: str
    """`control`, a version, or `<base version>+<set>`: as in runs."""
    version: str
    """What it runs now."""
    share: float
    started: int
    running: int
    completed: int
    failed: int
    cancelled: int
    set: str = ""
    success_rate: Estimate | None = None
    """Completed of completed and failed."""
    success_difference: Estimate | None = None
    """Success rate less that of the control."""
    duration: Durations | None = None


class ArmBody(Body):
    """A part of the starts by a tag: a version, or the last version of a patch set."""

    share: Annotated[float, Meta(ge=0.001, le=1)]
    """Of all starts by the tag, in steps of 0.001."""
    version: str = ""
    set: str = ""


def wilson(successes: int, trials: int) -> Estimate:
    """The rate of successes and its score interval. ``trials`` is positive."""
    rate, z2 = successes / trials, _Z * _Z
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials * trials))
    # The ends are known where all or none succeeded, and arithmetic misses them by the last digit.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return Estimate(rate, low, 1.0 if successes == trials else min(1.0, middle + half))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One rate less another, and the interval that follows from theirs."""
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, low, high)


def success_of(arm: ArmView) -> Estimate | None:
    """The rate of runs that completed among those that completed or failed."""
    trials = arm.completed + arm.failed
    return wilson(arm.completed, trials) if trials else None


def _durations(arm: ArmView) -> Durations | None:
    if not arm.completed:
        return None
    p50, p90, p99 = (quantile / 1e9 if quantile is not None else 0.0 for quantile in arm.duration_quantiles_ns)
    return Durations(arm.completed, arm.duration_sum_ns / arm.completed / 1e9, p50, p90, p99)


def outcomes(arms: Sequence[ArmView]) -> list[ArmOutcome]:
    """The arms of a tag with what became of their starts, the control first."""
    control = success_of(arms[0]) if arms else None
    shown: list[ArmOutcome] = []
    for index, arm in enumerate(arms):
        rate = success_of(arm)
        compared = index > 0 and rate is not None and control is not None
        shown.append(
            ArmOutcome(
                arm=arm.arm,
                version=arm.version,
                share=arm.share / WHOLE,
                started=arm.started,
                running=arm.started - arm.completed - arm.failed - arm.cancelled,
                completed=arm.completed,
                failed=arm.failed,
                cancelled=arm.cancelled,
                set=arm.set,
                success_rate=rate,
                success_difference=difference(rate, control) if compared and rate and control else None,
                duration=_durations(arm),
            )
        )
    return shown


def share_of(share: float, pointer: str) -> int:
    """A share in thousandths. Raises InvalidInput where it is not a multiple of one, or none at all."""
    thousandths = share * WHOLE
    whole = round(thousandths) if math.isfinite(thousandths) else 0
    if not 1 <= whole <= WHOLE or abs(thousandths - whole) > _SHARE_SLACK * WHOLE:
        raise invalid(pointer, "a share is 0.001 to 1, in steps of 0.001")
    return whole


def part_of(version: str, set_name: str, share: float, pointer: str) -> tuple[str, str, int]:
    """An arm as the engine takes it. Raises InvalidInput."""
    if bool(version) == bool(set_name):
        raise invalid(pointer, "an arm names a version or a set, one of them")
    return version, set_name, share_of(share, f"{pointer}/share")


def find_tag(house: House, tenant: str, name: str, tag: str) -> TagView:
    """A tag and its arms; show them only when durable. Raises NotFound."""
    view = house.engine.arms(tenant, name, tag)
    if view is None:
        place = f"{name[:NAME_CHARS_MAX]!r} with tag {tag[:NAME_CHARS_MAX]!r}"
        raise NotFound(f"there is no workflow {place}", code="WORKFLOW_NOT_FOUND")
    return view
