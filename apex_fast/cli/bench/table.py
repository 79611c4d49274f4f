"""Measurements for a person: a row each, what they are held against below."""

from collections.abc import Sequence

from apex_fast.cli.bench.measurement import Figures, Measurement
from apex_fast.cli.screen import Screen

HEADINGS = ("", "a second", "p50 ms", "p99 ms", "CPU µs each", "of the load", "ours: rate ×", "ours: CPU ×")


def figure(value: float | None) -> str:
    """Three significant figures, thousands apart."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _figures(one: Measurement | Figures) -> list[str]:
    return [figure(value) for value in (one.rate_per_s, one.p50_ms, one.p99_ms, one.cpu_us_per_unit)]


def rows(measurements: Sequence[Measurement]) -> list[list[str]]:
    """The cells of the table, headings first."""
    found = [list(HEADINGS)]
    for one in measurements:
        found.append([f"{one.name} ({one.unit}s)", *_figures(one), figure(one.load_cpu_us_per_unit), "", ""])
        for name, limit in one.limits.items():
            ratios = [figure(one.against.get(name)), figure(one.cpu_against.get(name))]
            found.append([f"  against {name}", *_figures(limit), "", *ratios])
        known = [(name, ratio) for name, ratio in one.against.items() if name not in one.limits]
        found += [[f"  against {name}", "", "", "", "", "", figure(ratio), ""] for name, ratio in known]
        extra = dict(one.more)
        if one.finished_per_s is not None:
            extra["finished_per_s"] = one.finished_per_s
        found += [[f"  {name}", figure(value), *[""] * 6] for name, value in extra.items()]
    return found


def show(screen: Screen, measurements: Sequence[Measurement]) -> None:
    """Print the table."""
    cells = rows(measurements)
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    for number, row in enumerate(cells):
        line = "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        screen.line(screen.paint(line, "dim") if number == 0 or row[0].startswith("  ") else line)
