"""A graph as SVG: one file, no script, no font of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from apex_fast.drawing.graph import Box, Graph, Link, TooLarge, clipped
from apex_fast.drawing.layout import PLACES_MAX, Fall, Layout, Point, Size, lay_out, places_of
from apex_fast.drawing.palette import MARKS, PLAIN, SIGNS, STATES, Paint

MARGIN: Final = 16.0
LINE: Final = 16.0
PAD: Final = 12.0
# Width of a letter, a little more than that of the usual sans serif fonts.
NAME_LETTER, ABOUT_LETTER, GUARD_LETTER = 7.6, 6.4, 6.0
BOX_WIDTH_MIN: Final = 84.0
TITLE_HEIGHT: Final = 26.0
LEGEND_HEIGHT: Final = 30.0
BETWEEN: Final = 56.0
_STYLE: Final = (
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2328}"
    ".n{font-size:13px;font-weight:600}.a{font-size:11px;fill:#57606a}.g{font-size:10.5px;fill:#57606a}"
    ".t{font-size:13px;font-weight:600;fill:#57606a}"
)


@dataclass(frozen=True)
class _Placed:
    """A graph that knows where its boxes and guards stand."""

    graph: Graph
    layout: Layout
    sizes: list[Size]
    """Of the boxes, and of the guards after them."""
    bodies: list["_Placed | None"]


def svg(*pictures: tuple[str, Graph]) -> str:
    """One picture of graphs side by side, each under its title (empty: none). Raises TooLarge."""
    places = sum(_places(graph) for _, graph in pictures)
    if places > PLACES_MAX * len(pictures):
        raise TooLarge(
            f"the picture takes {places} places for nodes, guards and bends of edges; "
            f"at most {PLACES_MAX} are drawn for a graph. Mermaid takes more"
        )
    placed = [(title, _placed(graph)) for title, graph in pictures]
    top = MARGIN + (TITLE_HEIGHT if any(title for title, _ in placed) else 0.0)
    parts: list[str] = []
    left = MARGIN
    for title, one in placed:
        if title:
            parts.append(f'<text class="t" x="{left:.0f}" y="{MARGIN + 12:.0f}">{escape(title)}</text>')
        parts += _drawn(one, left, top)
        left += max(one.layout.width, NAME_LETTER * len(title)) + BETWEEN
    width = left - BETWEEN + MARGIN
    height = top + max(one.layout.height for _, one in placed) + MARGIN
    legend, legend_width = _legend([graph for _, graph in pictures], height)
    if legend:
        parts += legend
        width, height = max(width, legend_width), height + LEGEND_HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}">',
            f"<style>{_STYLE}</style>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


# --- places -------------------------------------------------------------------------------------------------------


def _steps(graph: Graph) -> list[tuple[int, int]]:
    """The links between places. A guard takes a place as a box does, after the boxes, so nothing covers it."""
    steps: list[tuple[int, int]] = []
    guard = len(graph.boxes)
    for link in graph.links:
        if _words(link):
            steps += [(link.source, guard), (guard, link.target)]
            guard += 1
        else:
            steps.append((link.source, link.target))
    return steps


def _places(graph: Graph) -> int:
    """How many places a graph takes, with its bodies."""
    guards = sum(bool(_words(link)) for link in graph.links)
    own = places_of(len(graph.boxes) + guards, _steps(graph))
    return own + sum(_places(box.body) for box in graph.boxes if box.body)


def _placed(graph: Graph) -> _Placed:
    bodies = [_placed(box.body) if box.body else None for box in graph.boxes]
    sizes = [_size(box, body) for box, body in zip(graph.boxes, bodies, strict=True)]
    sizes += [(GUARD_LETTER * len(words) + 8, LINE) for words in map(_words, graph.links) if words]
    return _Placed(graph, lay_out(sizes, _steps(graph)), sizes, bodies)


def _size(box: Box, body: _Placed | None) -> Size:
    width = max(NAME_LETTER * len(_name(box)), ABOUT_LETTER * len(_about(box)), BOX_WIDTH_MIN - 2 * PAD)
    height = 2 * LINE + PAD
    if body is not None:
        width = max(width, body.layout.width)
        height += body.layout.height + PAD
    return width + 2 * PAD, height


def _name(box: Box) -> str:
    return SIGNS[box.mark] + clipped(box.id)


def _about(box: Box) -> str:
    return f"{box.about} · {box.state}" if box.state else box.about


def _words(link: Link) -> str:
    """What stands at an edge."""
    said = " ".join(part for part in ("on error" if link.on_error else "", link.guard) if part)
    if not said and not link.mark:
        return ""
    return (SIGNS[link.mark] + clipped(said)).strip()


# --- shapes -------------------------------------------------------------------------------------------------------


def _drawn(placed: _Placed, left: float, top: float) -> Iterator[str]:
    """The elements of a graph whose upper left corner is there: edges first, boxes over them."""
    graph, layout = placed.graph, placed.layout
    ways = iter(layout.ways)
    guards = iter(zip(layout.corners, placed.sizes, strict=True))
    for _ in graph.boxes:
        next(guards)
    for link in graph.links:
        way = next(ways)
        if _words(link):
            way = [*way, *next(ways)]
        yield _arrow([(x + left, upper + top, lower + top) for x, upper, lower in way], link)
        if _words(link):
            corner, size = next(guards)
            yield from _guard(link, (corner[0] + left, corner[1] + top), size)
    for box, corner, size, body in zip(graph.boxes, layout.corners, placed.sizes, placed.bodies, strict=False):
        yield from _box(box, (corner[0] + left, corner[1] + top), size, body)


def _box(box: Box, corner: Point, size: Size, body: _Placed | None) -> Iterator[str]:
    x, y = corner
    state = STATES.get(box.state, PLAIN)
    paint = MARKS.get(box.mark, state)
    fill = state.fill if box.state else paint.fill
    thick = 2.4 if box.mark else 1.3
    dashes = f' stroke-dasharray="{paint.dashes}"' if paint.dashes else ""
    yield (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" rx="7" '
        f'fill="{fill}" stroke="{paint.line}" stroke-width="{thick}"{dashes}><title>{escape(box.id)}</title></rect>'
    )
    middle = x + size[0] / 2
    yield f'<text class="n" x="{middle:.1f}" y="{y + 19:.1f}" text-anchor="middle">{escape(_name(box))}</text>'
    yield f'<text class="a" x="{middle:.1f}" y="{y + 35:.1f}" text-anchor="middle">{escape(_about(box))}</text>'
    if body is not None:
        yield from _drawn(body, x + (size[0] - body.layout.width) / 2, y + 2 * LINE + PAD)


def _guard(link: Link, corner: Point, size: Size) -> Iterator[str]:
    x, y = corner
    yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" fill="#fff" opacity="0.9"/>'
    yield (
        f'<text class="g" x="{x + size[0] / 2:.1f}" y="{y + 12:.1f}" text-anchor="middle">{escape(_words(link))}'
        f"<title>{escape(link.guard)}</title></text>"
    )


def _arrow(way: Sequence[Fall], link: Link) -> str:
    """A line down, smooth between the ranks, with a head at its end."""
    paint = MARKS.get(link.mark, Paint("#8c959f", dashes="5 4" if link.on_error else ""))
    dashes = f' stroke-dasharray="{paint.dashes}"' if paint.dashes else ""
    x, _, end = way[-1]
    path = f"M{way[0][0]:.1f},{way[0][1]:.1f}"
    for (from_x, _, from_y), (to_x, to_y, _) in pairwise([*way[:-1], (x, end - 6, end)]):
        middle = (from_y + to_y) / 2
        path += f"V{from_y:.1f}C{from_x:.1f},{middle:.1f} {to_x:.1f},{middle:.1f} {to_x:.1f},{to_y:.1f}"
    width = 2 if link.mark else 1.3
    return (
        f'<path d="{path}" fill="none" stroke="{paint.line}" stroke-width="{width}"{dashes}/>'
        f'<path d="M{x:.1f},{end:.1f}l-4,-8h8z" fill="{paint.line}"/>'
    )


def _legend(graphs: Sequence[Graph], top: float) -> tuple[list[str], float]:
    """What the colours mean that are used, and how wide that is."""
    states: set[str] = set()
    marks: set[str] = set()
    open_graphs = list(graphs)
    while open_graphs:
        graph = open_graphs.pop()
        states.update(box.state for box in graph.boxes)
        marks.update([*(box.mark for box in graph.boxes), *(link.mark for link in graph.links)])
        open_graphs += [box.body for box in graph.boxes if box.body]
    named = [(name, paint) for name, paint in STATES.items() if name in states]
    named += [(SIGNS[name] + name, paint) for name, paint in MARKS.items() if name in marks]
    parts: list[str] = []
    x = MARGIN
    for name, paint in named:
        dashes = f' stroke-dasharray="{paint.dashes}"' if paint.dashes else ""
        parts.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="14" height="14" rx="3" '
            f'fill="{paint.fill}" stroke="{paint.line}"{dashes}/>'
        )
        parts.append(f'<text class="g" x="{x + 19:.1f}" y="{top + 11:.1f}">{escape(name)}</text>')
        x += 19 + ABOUT_LETTER * len(name) + 14
    return parts, x
