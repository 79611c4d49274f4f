"""One measurement, as docs/decisions/0007 describes it, and what comes of several rounds."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

FDATASYNC: Final = "fdatasync, group commit"
NO_DURABILITY: Final = "none"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a limit did beside it, in the same rounds."""

    rate_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_us_per_unit: float | None


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
    limits: dict[str, Figures] = {}
    more: dict[str, float] = {}


Round = list[Measurement]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the ordered values lie (nearest rank); NaN where there are none."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def of_calls(
    name: str, unit: str, size: int, times_s: Sequence[float], seconds: float, cpu_s: float | None, **more: float
) -> Measurement:
    """Calls one after the other, each for ``size`` units, in ``seconds`` together; ``cpu_s``: of all of them."""
    ordered = sorted(times_s)
    p50_s = quantile(ordered, 0.5)
    return Measurement(
        name=name,
        unit=unit,
        size=size,
        concurrency=1,
        rate_per_s=size / p50_s,
        seconds=seconds,
        durability=NO_DURABILITY,
        p50_ms=p50_s * 1e3,
        p99_ms=quantile(ordered, 0.99) * 1e3,
        cpu_us_per_unit=None if cpu_s is None else cpu_s * 1e6 / (len(ordered) * size),
        more=more,
    )


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def medians(rounds: Sequence[Round], limits: Mapping[str, Sequence[str]]) -> list[Measurement]:
    """The median of each figure over the rounds, by name; the limits that they are held against go into ``limits``.

    ``limits``: name, or the part of it before the first dot, to names of measurements of the same rounds. A ratio is
    taken within each round and the median of these is given, for what disturbs a round disturbs both sides.
    """
    laps: dict[str, list[Measurement]] = {}
    for one in rounds:
        for lap in one:
            laps.setdefault(lap.name, []).append(lap)
    every_limit = {limit for names in limits.values() for limit in names}
    return [
        _held_against(_median_of(many), rounds, limits.get(name, limits.get(name.split(".")[0], ())))
        for name, many in laps.items()
        if name not in every_limit
    ]


def _median_of(laps: Sequence[Measurement]) -> Measurement:
    rates = [lap.rate_per_s for lap in laps]
    more = {key: _middle([lap.more.get(key) for lap in laps]) for key in laps[-1].more}
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
        more={key: value for key, value in more.items() if value is not None},
    )


def _held_against(ours: Measurement, rounds: Sequence[Round], limits: Sequence[str]) -> Measurement:
    against = dict(ours.against)
    cpu_against: dict[str, float] = {}
    shown: dict[str, Figures] = {}
    for limit in limits:
        pairs = [
            (mine, theirs)
            for one in rounds
            for mine in one
            for theirs in one
            if mine.name == ours.name and theirs.name == limit
        ]
        faster = [mine.rate_per_s / theirs.rate_per_s for mine, theirs in pairs if theirs.rate_per_s]
        leaner = [
            theirs.cpu_us_per_unit / mine.cpu_us_per_unit
            for mine, theirs in pairs
            if mine.cpu_us_per_unit and theirs.cpu_us_per_unit
        ]
        if faster:
            against[limit] = median(faster)
            middle = _median_of([theirs for _, theirs in pairs])
            shown[limit] = Figures(
                rate_per_s=middle.rate_per_s,
                p50_ms=middle.p50_ms,
                p99_ms=middle.p99_ms,
                cpu_us_per_unit=middle.cpu_us_per_unit,
            )
        if leaner:
            cpu_against[limit] = median(leaner)
    return msgspec.structs.replace(ours, against=against, cpu_against=cpu_against, limits=shown)
