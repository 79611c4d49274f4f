"""A graph in Mermaid's flowchart language, which GitHub and most wikis draw."""

from collections.abc import Iterator
from itertools import count
from typing import Final

from apex_fast.drawing.graph import Box, Graph, clipped
from apex_fast.drawing.palette import MARKS, SIGNS, STATES

_ESCAPES: Final = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"})


def mermaid(graph: Graph) -> str:
    """The text of the picture."""
    lines = ["flowchart TD"]
    styles: list[str] = []
    lines += _graph(graph, "  ", count(), count(), styles)
    return "\n".join([*lines, *styles, ""])


def _graph(graph: Graph, indent: str, names: "count[int]", links: "count[int]", styles: list[str]) -> Iterator[str]:
    ids: list[str] = []
    for box in graph.boxes:
        name = f"n{next(names)}"
        ids.append(name)
        text = f'"{_text(SIGNS[box.mark] + box.id)}<br/>{_text(_about(box))}"'
        if box.body is None:
            yield f"{indent}{name}[{text}]"
        else:
            yield f"{indent}subgraph {name}[{text}]"
            yield from _graph(box.body, indent + "  ", names, links, styles)
            yield f"{indent}end"
        styles += _box_style(name, box)
    for link in graph.links:
        arrow = "-.->" if link.on_error else "-->"
        words = " ".join(part for part in (SIGNS[link.mark], "on error" if link.on_error else "", link.guard) if part)
        guard = f'|"{_text(clipped(words))}"|' if words else ""
        yield f"{indent}{ids[link.source]} {arrow}{guard} {ids[link.target]}"
        number = next(links)
        if link.mark:
            styles.append(f"  linkStyle {number} stroke:{MARKS[link.mark].line}")


def _about(box: Box) -> str:
    return f"{box.about} · {box.state}" if box.state else box.about


def _box_style(name: str, box: Box) -> Iterator[str]:
    parts = []
    if box.state:
        parts += [f"fill:{STATES[box.state].fill}", f"stroke:{STATES[box.state].line}"]
    if box.mark:
        parts = [part for part in parts if not part.startswith("stroke")]
        parts += [f"stroke:{MARKS[box.mark].line}", "stroke-width:3px"]
    if parts:
        yield f"  style {name} {','.join(parts)}"


def _text(text: str) -> str:
    return text.translate(_ESCAPES)
