"""One measurement, as docs/decisions/0007 describes it, and what comes of several rounds."""

from collections.abc import Sequence
from statistics import median
from typing import Final

import msgspec

FDATASYNC: Final = "fdatasync, group commit"
NO_DURABILITY: Final = "none"


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What one lap, or the median of several, gave.

    ``rate_per_s`` and the CPU figures are per ``unit``; ``size`` is units per run. ``cpu_us_per_unit`` is user and
    system time of the system under test, ``load_cpu_us_per_unit`` of the load generator (None: within the former).
    ``against``: our rate over that of a limit; ``cpu_against``: its CPU per unit over ours; above 1 is better in both.
    ``more``: further figures, each with its unit in its name.
    """

    name: str
    unit: str
    size: int
    concurrency: int
    rate_per_s: float
    seconds: float
    durability: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us_per_unit: float | None = None
    load_cpu_us_per_unit: float | None = None
    finished_per_s: float | None = None
    rounds: int = 1
    rate_min_per_s: float | None = None
    rate_max_per_s: float | None = None
    against: dict[str, float] = {}
    cpu_against: dict[str, float] = {}
    more: dict[str, float] = {}


Round = list[Measurement]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the ordered values lie (nearest rank); NaN where there are none."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def medians(rounds: Sequence[Round], limits: Sequence[str] = ()) -> list[Measurement]:
    """The median of each figure over the rounds, by name.

    Measurements whose names are in ``limits`` are what the others are held against: the ratios are taken in each
    round and their median is given, for what disturbs a round disturbs both sides. Limits come last.
    """
    laps: dict[str, list[Measurement]] = {}
    for one in rounds:
        for lap in one:
            laps.setdefault(lap.name, []).append(lap)
    found = [_median_of(name, many, rounds, limits) for name, many in laps.items()]
    return sorted(found, key=lambda one: one.name in limits)


def _median_of(
    name: str, laps: Sequence[Measurement], rounds: Sequence[Round], limits: Sequence[str]
) -> Measurement:
    rates = [lap.rate_per_s for lap in laps]
    against: dict[str, float] = {}
    cpu_against: dict[str, float] = {}
    for limit in limits if name not in limits else ():
        faster: list[float] = []
        leaner: list[float] = []
        for one in rounds:
            by_name = {lap.name: lap for lap in one}
            ours, theirs = by_name.get(name), by_name.get(limit)
            if ours is None or theirs is None or ours.unit != theirs.unit:
                continue
            if theirs.rate_per_s:
                faster.append(ours.rate_per_s / theirs.rate_per_s)
            if ours.cpu_us_per_unit and theirs.cpu_us_per_unit:
                leaner.append(theirs.cpu_us_per_unit / ours.cpu_us_per_unit)
        if faster:
            against[limit] = median(faster)
        if leaner:
            cpu_against[limit] = median(leaner)
    more = {key: _middle([lap.more.get(key) for lap in laps]) for lap in laps[:1] for key in lap.more}
    return msgspec.structs.replace(
        laps[-1],
        rate_per_s=median(rates),
        seconds=sum(lap.seconds for lap in laps),
        p50_ms=_middle([lap.p50_ms for lap in laps]),
        p99_ms=_middle([lap.p99_ms for lap in laps]),
        cpu_us_per_unit=_middle([lap.cpu_us_per_unit for lap in laps]),
        load_cpu_us_per_unit=_middle([lap.load_cpu_us_per_unit for lap in laps]),
        finished_per_s=_middle([lap.finished_per_s for lap in laps]),
        rounds=len(laps),
        rate_min_per_s=min(rates),
        rate_max_per_s=max(rates),
        against={**laps[-1].against, **against},
        cpu_against={**laps[-1].cpu_against, **cpu_against},
        more={key: value for key, value in more.items() if value is not None},
    )
