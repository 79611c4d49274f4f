"""Where the boxes of an acyclic graph stand: in ranks from top to bottom (Sugiyama, Tagawa, Toda 1981).

1. the rank of a box is its longest way from a root; one that has only successors stands just above them
2. an edge over more than one rank gets a bend in each between
3. the order within a rank is swept to the barycentre of the neighbours, and the one with the fewest crossings is kept
4. the places within a rank are those nearest to the mean of the neighbours that keep order and distance: a least
   squares problem under order, solved exactly by pooling (Robertson, Wright, Dykstra 1988)
5. a way over many ranks becomes one straight line where there is room for it
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

Point: TypeAlias = tuple[float, float]
Fall: TypeAlias = tuple[float, float, float]
"""Straight down: x, from y, to y."""
Size: TypeAlias = tuple[float, float]

PLACES_MAX: Final = 2_000
"""Boxes and bends of one graph."""
GAP_X: Final = 24.0
GAP_Y: Final = 34.0
BEND: Final = 10.0
_ORDER_SWEEPS: Final = 12
_PLACE_SWEEPS: Final = 60
# How much an edge wants to be straight, by how many of its ends are bends (Gansner and others 1993).
_STRAIGHT: Final = (1.0, 2.0, 8.0)


@dataclass(frozen=True)
class Layout:
    """Where everything stands; the picture begins at (0, 0)."""

    corners: list[Point]
    """The upper left one of each box; boxes of a rank stand at its top."""
    ways: list[list[Fall]]
    """Of each link, top to bottom: the rank of its source below the box, the ranks between, the top of its target.
    In a rank nothing stands in its way; what is drawn between them crosses no box."""
    width: float
    height: float


def ranks_of(count: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """The rank of each box. The links are acyclic."""
    after: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for source, target in links:
        after[source].append(target)
        missing[target] += 1
    is_root = [not number for number in missing]
    order = [box for box in range(count) if is_root[box]]
    ranks = [0] * count
    for box in order:
        for target in after[box]:
            ranks[target] = max(ranks[target], ranks[box] + 1)
            missing[target] -= 1
            if not missing[target]:
                order.append(target)
    for box in range(count):
        if is_root[box] and after[box]:
            ranks[box] = min(ranks[target] for target in after[box]) - 1
    return ranks


def places_of(count: int, links: Sequence[tuple[int, int]]) -> int:
    """How many places a graph takes: its boxes, and the bends of its links."""
    ranks = ranks_of(count, links)
    return count + sum(ranks[target] - ranks[source] - 1 for source, target in links)


def lay_out(sizes: Sequence[Size], links: Sequence[tuple[int, int]]) -> Layout:
    """Place boxes of these sizes."""
    if not sizes:
        return Layout([], [], 0.0, 0.0)
    count = len(sizes)
    ranks = ranks_of(count, links)
    widths = [width for width, _ in sizes]
    ways: list[list[int]] = []
    steps: list[tuple[int, int]] = []
    for source, target in links:
        bends = list(range(len(ranks), len(ranks) + ranks[target] - ranks[source] - 1))
        ranks += range(ranks[source] + 1, ranks[target])
        widths += [BEND] * len(bends)
        ways.append(bends)
        steps += pairwise([source, *bends, target])
    rows: list[list[int]] = [[] for _ in range(max(ranks) + 1)]
    for place, rank in enumerate(ranks):
        rows[rank].append(place)
    above: list[list[int]] = [[] for _ in ranks]
    below: list[list[int]] = [[] for _ in ranks]
    for source, target in steps:
        above[target].append(source)
        below[source].append(target)
    rows = _ordered(rows, above, below)
    across = _across(rows, widths, above, below, count)
    for (source, target), bends in zip(links, ways, strict=True):
        _straighten(bends, across[source], across[target], rows, ranks, widths, across)
    tall = [max((sizes[place][1] for place in row if place < count), default=0.0) for row in rows]
    tops = [0.0]
    for height in tall:
        tops.append(tops[-1] + height + GAP_Y)

    def way(link: int) -> list[Fall]:
        source, target = links[link]
        rank = ranks[source]
        falls = [(across[source], tops[rank] + sizes[source][1], tops[rank] + tall[rank])]
        falls += [(across[bend], tops[ranks[bend]], tops[ranks[bend]] + tall[ranks[bend]]) for bend in ways[link]]
        return [*falls, (across[target], tops[ranks[target]], tops[ranks[target]])]

    return Layout(
        [(across[box] - widths[box] / 2, tops[ranks[box]]) for box in range(count)],
        [way(link) for link in range(len(links))],
        max(across[place] + widths[place] / 2 for place in range(len(ranks))),
        tops[-1] - GAP_Y,
    )


# --- order --------------------------------------------------------------------------------------------------------


def _ordered(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """The rows in the order with the fewest crossings that was seen."""
    place = [0] * len(above)
    _number(rows, place)
    best, crossings = [list(row) for row in rows], _crossings(rows, below, place)
    for sweep in range(_ORDER_SWEEPS):
        if not crossings:
            break
        neighbours, sequence = (above, rows[1:]) if sweep % 2 == 0 else (below, rows[-2::-1])
        for row in sequence:
            wanted = {box: _barycentre(neighbours[box], place, place[box]) for box in row}
            row.sort(key=lambda box: (wanted[box], place[box]))
            for number, box in enumerate(row):
                place[box] = number
        now = _crossings(rows, below, place)
        if now < crossings:
            best, crossings = [list(row) for row in rows], now
    return best


def _number(rows: list[list[int]], place: list[int]) -> None:
    for row in rows:
        for number, box in enumerate(row):
            place[box] = number


def _barycentre(neighbours: list[int], place: list[int], otherwise: int) -> float:
    return sum(place[box] for box in neighbours) / len(neighbours) if neighbours else float(otherwise)


def _crossings(rows: list[list[int]], below: list[list[int]], place: list[int]) -> int:
    """How often links cross: pairs in another order below than above."""
    found = 0
    for row in rows:
        seen: list[int] = []
        for box in row:
            ends = sorted(place[target] for target in below[box])
            found += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return found


# --- places -------------------------------------------------------------------------------------------------------


def _across(
    rows: list[list[int]], widths: list[float], above: list[list[int]], below: list[list[int]], count: int
) -> list[float]:
    """The centre of each place from left to right; the leftmost edge is at 0."""
    across = [0.0] * len(widths)
    offsets: list[list[float]] = []
    for row in rows:
        offset = [0.0]
        for left, right in pairwise(row):
            offset.append(offset[-1] + (widths[left] + widths[right]) / 2 + GAP_X)
        offsets.append(offset)
        for box, at in zip(row, offset, strict=True):
            across[box] = at - offset[-1] / 2
    for sweep in range(_PLACE_SWEEPS):
        numbers = range(len(rows)) if sweep % 2 == 0 else range(len(rows) - 1, -1, -1)
        for number in numbers:
            row, offset = rows[number], offsets[number]
            wanted: list[tuple[float, float]] = []
            for box, at in zip(row, offset, strict=True):
                pull = weight = 0.0
                for other in (*above[box], *below[box]):
                    share = _STRAIGHT[(box >= count) + (other >= count)]
                    pull += share * across[other]
                    weight += share
                # One without neighbours stays where it is, weakly.
                wanted.append((pull / weight - at, weight) if weight else (across[box] - at, 0.1))
            for box, at, value in zip(row, offset, _rising(wanted), strict=True):
                across[box] = value + at
    start = min(across[place] - widths[place] / 2 for place in range(len(widths)))
    return [at - start for at in across]


def _straighten(
    bends: list[int],
    source: float,
    target: float,
    rows: list[list[int]],
    ranks: list[int],
    widths: list[float],
    across: list[float],
) -> None:
    """Put the bends of a way below each other: under its source or over its target if that is free."""
    low, high = 0.0, float("inf")
    for bend in bends:
        row = rows[ranks[bend]]
        at = row.index(bend)
        if at:
            low = max(low, across[row[at - 1]] + (widths[row[at - 1]] + widths[bend]) / 2 + GAP_X)
        if at + 1 < len(row):
            high = min(high, across[row[at + 1]] - (widths[row[at + 1]] + widths[bend]) / 2 - GAP_X)
    if len(bends) > 1 and low <= high:
        mean = sum(across[bend] for bend in bends) / len(bends)
        free = [end for end in (source, target) if low <= end <= high]
        straight = min(free, key=lambda end: abs(end - mean)) if free else min(max(mean, low), high)
        for bend in bends:
            across[bend] = straight


def _rising(wanted: Sequence[tuple[float, float]]) -> list[float]:
    """The numbers nearest to the wanted ones (value, weight) that never fall."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in wanted:
        pool = (value, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            before = pools.pop()
            total = before[1] + pool[1]
            pool = ((before[0] * before[1] + pool[0] * pool[1]) / total, total, before[2] + pool[2])
        pools.append(pool)
    return [value for value, _, size in pools for _ in range(size)]
