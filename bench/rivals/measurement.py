"""One measurement, the median of its rounds, and the ratios between contestants."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Measurement:
    """What one contestant did with one work.

    ``rate_per_s`` and the CPU figures are per ``unit``; p50 and p99 are of a whole run, for ``starts`` of
    the acknowledgement. ``cpu_us_per_unit`` is the user and system time of every process of the system;
    ``load_cpu_us_per_unit`` is the load generator's, and None where it is within the former.
    ``finished_per_s`` counts, for ``starts``, runs to their end: the backlog's drain is in its time, and in
    the CPU. ``against`` maps a contestant to this one's rate divided by its rate, ``cpu_against`` to its
    CPU per unit divided by this one's: above 1 is better, in both.
    """

    contestant: str
    name: str
    unit: str
    size: int
    concurrency: int
    rate_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    cpu_us_per_unit: float | None
    load_cpu_us_per_unit: float | None
    durability: str
    seconds: float
    finished_per_s: float | None = None
    rounds: int = 1
    rate_min_per_s: float | None = None
    rate_max_per_s: float | None = None
    against: dict[str, float] = field(default_factory=dict)
    cpu_against: dict[str, float] = field(default_factory=dict)

    @property
    def work(self) -> str:
        """The work that it belongs to: ``starts.grpc_unary`` is a way to do ``starts``."""
        return self.name.split(".")[0]


Key = tuple[str, str]
Round = dict[Key, Measurement]


def _median(rounds: list[Measurement], figure: Callable[[Measurement], float | None]) -> float | None:
    values = [value for value in map(figure, rounds) if value is not None]
    return median(values) if values else None


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _ratios(
    key: Key, rounds: list[Round], other: Key, ratio: Callable[[Measurement, Measurement], float | None]
) -> float | None:
    """Median of the ratios of each round: what disturbs a round disturbs both of its sides."""
    values = [
        value for one in rounds if key in one and other in one and (value := ratio(one[key], one[other])) is not None
    ]
    return median(values) if values else None


def medians(rounds: list[Round]) -> list[Measurement]:
    """The median over the rounds of every figure, with ratios taken round by round."""
    grouped: dict[Key, list[Measurement]] = defaultdict(list)
    for one in rounds:
        for key, measurement in one.items():
            grouped[key].append(measurement)
    results = []
    for key, laps in grouped.items():
        against: dict[str, float] = {}
        cpu_against: dict[str, float] = {}
        for other in grouped:
            if other[0] == key[0] or other[1].split(".")[0] != key[1].split(".")[0]:
                continue
            label = other[0] if "." not in other[1] else f"{other[0]} {other[1]}"
            rate = _ratios(key, rounds, other, lambda us, them: _ratio(us.rate_per_s, them.rate_per_s))
            cpu = _ratios(key, rounds, other, lambda us, them: _ratio(them.cpu_us_per_unit, us.cpu_us_per_unit))
            if rate is not None:
                against[label] = rate
            if cpu is not None:
                cpu_against[label] = cpu
        last = laps[-1]
        rates = [lap.rate_per_s for lap in laps]
        results.append(
            Measurement(
                contestant=last.contestant,
                name=last.name,
                unit=last.unit,
                size=last.size,
                concurrency=last.concurrency,
                rate_per_s=median(rates),
                p50_ms=_median(laps, lambda lap: lap.p50_ms),
                p99_ms=_median(laps, lambda lap: lap.p99_ms),
                cpu_us_per_unit=_median(laps, lambda lap: lap.cpu_us_per_unit),
                load_cpu_us_per_unit=_median(laps, lambda lap: lap.load_cpu_us_per_unit),
                durability=last.durability,
                seconds=sum(lap.seconds for lap in laps),
                finished_per_s=_median(laps, lambda lap: lap.finished_per_s),
                rounds=len(laps),
                rate_min_per_s=min(rates),
                rate_max_per_s=max(rates),
                against=against,
                cpu_against=cpu_against,
            )
        )
    return results
