"""Figures against size on log-log axes, as SVG: growth that is worse than linear rises above the dashed line.

A panel for each kind of figure, a line for each series; beside it, dashed, what is linear through its last point.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Final, TypeAlias

from apex_fast.cli.bench.measurement import Measurement

Points: TypeAlias = Sequence[tuple[float, float]]
WIDTH: Final = 460
HEIGHT: Final = 340
LEFT, RIGHT, TOP, BOTTOM = 64, 44, 56, 46
LETTER, NAME_GAP = 6.4, 16
# Okabe and Ito's colours, which most colour-blind readers tell apart.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True)
class Figure:
    """One kind of figure: how it is called, and what a measurement has of it."""

    title: str
    of: Callable[[Measurement], float | None]


def _whole(per_unit: float | None, one: Measurement, scale: float) -> float | None:
    return None if per_unit is None else per_unit * one.size / scale


CPU = Figure("CPU in all, seconds", lambda one: _whole(one.cpu_us_per_unit, one, 1e6))
TIME = Figure("time in all, seconds", lambda one: None if one.p50_ms is None else one.p50_ms / 1e3)
MEMORY = Figure("memory beyond the baseline, MiB", lambda one: _whole(one.more.get("memory_bytes_per_run"), one, 2**20))


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that hold all values, one apart at least; a hundredth of one beyond them is not seen."""
    low, high = math.floor(math.log10(min(values)) + 0.01), math.ceil(math.log10(max(values)) - 0.01)
    return low, max(high, low + 1)


def _power(exponent: int) -> str:
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:.{-exponent}f}"


class _Panel:
    """One pair of axes, ``left`` units from the edge of the picture."""

    def __init__(self, left: float, lines: Mapping[str, Points]) -> None:
        every = [point for points in lines.values() for point in points]
        self._x = _decades([x for x, _ in every])
        self._y = _decades([y for _, y in every])
        self._left = left + LEFT
        self._lines = lines

    def _place(self, x: float, y: float) -> tuple[float, float]:
        (x_low, x_high), (y_low, y_high) = self._x, self._y
        right = (math.log10(x) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = (y_high - math.log10(y)) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return self._left + right, TOP + down

    def _path(self, points: Points, style: str) -> str:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self._place(*point) for point in points))
        return f'<polyline fill="none" points="{places}" {style}/>'

    def _grid(self) -> Iterator[str]:
        (x_low, x_high), (y_low, y_high) = ([10.0**power for power in ends] for ends in (self._x, self._y))
        for power in range(self._x[0], self._x[1] + 1):
            yield self._path([(10.0**power, y_low), (10.0**power, y_high)], 'stroke="#ddd"')
            x, y = self._place(10.0**power, y_low)
            yield f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{_power(power)}</text>'
        for power in range(self._y[0], self._y[1] + 1):
            yield self._path([(x_low, 10.0**power), (x_high, 10.0**power)], 'stroke="#ddd"')
            x, y = self._place(x_low, 10.0**power)
            yield f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{_power(power)}</text>'

    def draw(self, title: str, unit: str) -> Iterator[str]:
        """The elements."""
        yield f'<text x="{self._left}" y="18" style="font-weight:bold">{escape(title)}</text>'
        yield from self._grid()
        middle = self._left + (WIDTH - LEFT - RIGHT) / 2
        yield f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(unit)}</text>'
        name_x = self._left
        for (name, points), colour in zip(self._lines.items(), cycle(COLOURS)):
            x, y = points[-1]
            start = max(points[0][0], x * 10.0 ** self._y[0] / y)  # no lower than the panel goes
            linear = [(start, y * start / x), (x, y)]
            yield self._path(linear, f'stroke="{colour}" stroke-dasharray="3 4" opacity="0.6"')
            yield self._path(points, f'stroke="{colour}" stroke-width="2"')
            for right, down in (self._place(*point) for point in points):
                yield f'<circle cx="{right:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>'
            yield f'<text x="{name_x:.1f}" y="40" style="fill:{colour}">{escape(name)}</text>'
            name_x += NAME_GAP + LETTER * len(name)


def svg(unit: str, panels: Mapping[str, Mapping[str, Points]]) -> str:
    """The picture. ``panels``: title to lines, name to (size, figure), all above 0. ``unit``: of the sizes."""
    width = WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}">',
        "<style>text{font:12px sans-serif;fill:#333}</style>",
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for number, (title, lines) in enumerate(panels.items()):
        parts += _Panel(number * WIDTH, lines).draw(title, unit)
    return "\n".join([*parts, "</svg>", ""])


def against_size(figures: Sequence[Figure], found: Mapping[int, Sequence[Measurement]]) -> dict[str, dict[str, Points]]:
    """Panels of what was measured at each size; a series has a figure at two sizes or more."""
    panels: dict[str, dict[str, Points]] = {}
    for figure in figures:
        lines: dict[str, list[tuple[float, float]]] = {}
        for size in sorted(found):
            for one in found[size]:
                value = figure.of(one)
                if value is not None and value > 0:
                    name = series(one.name, size).partition(".")
                    lines.setdefault(name[2] or name[0], []).append((one.size, value))
        grown = {name: points for name, points in lines.items() if len({x for x, _ in points}) > 1}
        if grown:
            panels[figure.title] = dict(grown)
    return panels


def series(name: str, size: int) -> str:
    """The name of a measurement without the size that it may have at its end."""
    return name.removesuffix(f".{size}")
