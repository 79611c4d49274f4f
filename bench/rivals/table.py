"""The measurements of one run as a Markdown table."""

from bench.rivals import apex
from bench.rivals.measurement import Measurement
from bench.rivals.works import WORKS

HEADINGS = (
    "work",
    "system",
    "a second",
    "to the end a second",
    "lowest to highest round",
    "p50 ms",
    "p99 ms",
    "CPU µs per unit",
    "of the load, apart",
    "apex_fast does more, ×",
    "with less CPU, ×",
    "durability",
)


def figure(value: float | None) -> str:
    """Three significant figures, thousands apart."""
    if value is None:
        return ""
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _row(measurement: Measurement, ours: list[Measurement]) -> list[str]:
    cells = [
        measurement.name,
        measurement.contestant,
        figure(measurement.rate_per_s),
        figure(measurement.finished_per_s),
        f"{figure(measurement.rate_min_per_s)} to {figure(measurement.rate_max_per_s)}",
        figure(measurement.p50_ms),
        figure(measurement.p99_ms),
        figure(measurement.cpu_us_per_unit),
        figure(measurement.load_cpu_us_per_unit) or "within",
    ]
    more: list[str] = []
    less: list[str] = []
    if measurement.contestant != apex.NAME:
        for mine in ours:
            way = mine.name.partition(".")[2]
            note = f" ({way})" if way else ""
            if (rate := mine.against.get(measurement.contestant)) is not None:
                more.append(f"{figure(rate)}{note}")
            if (cpu := mine.cpu_against.get(measurement.contestant)) is not None:
                less.append(f"{figure(cpu)}{note}")
    return [*cells, ", ".join(more), ", ".join(less), measurement.durability]


def markdown(measurements: list[Measurement]) -> str:
    """One table: a row for each work and system, apex_fast first, then the quickest."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    for work in WORKS:
        rows = [measurement for measurement in measurements if measurement.work == work]
        rows.sort(key=lambda row: (row.contestant != apex.NAME, -row.rate_per_s))
        ours = [row for row in rows if row.contestant == apex.NAME]
        lines += [f"| {' | '.join(_row(row, ours))} |" for row in rows]
    return "\n".join(lines)
