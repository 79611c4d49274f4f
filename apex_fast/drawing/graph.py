"""A definition as what is drawn of it: nodes with a line about each, edges with their guards, bodies inside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from apex_fast.errors import LimitExceeded

NodeState: TypeAlias = Literal["", "done", "running", "waiting", "failed", "skipped"]
"""Where a node stands in a run; empty: nothing happened to it yet, or there is no run."""
Mark: TypeAlias = Literal["", "added", "removed", "changed"]
EdgeKey: TypeAlias = tuple[str, str, str]
"""From, to, on."""

ELEMENTS_MAX: Final = 10_000
"""Nodes and edges of a definition."""
TEXT_CHARS_MAX: Final = 34
# Config that says most about a node of a type.
_TELLING: Final = {
    "function": "name",
    "agent": "model",
    "signal": "name",
    "composite": "workflow",
    "timer": "duration_s",
    "loop": "while",
    "map": "over",
}


class TooLarge(LimitExceeded):
    """A graph that nobody could read on a page."""


class _Node(msgspec.Struct):
    id: str
    type: str
    config: dict[str, Any] = {}
    join: Any = "all"


class _Edge(msgspec.Struct):
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    when: str = ""
    on: str = ""


class _Graph(msgspec.Struct):
    nodes: list[_Node]
    edges: list[_Edge] = []


_WORKFLOW = msgspec.json.Decoder(_Graph)


@dataclass(frozen=True)
class Marks:
    """What is said about nodes and edges beside what they are."""

    nodes: Mapping[str, Mark] = field(default_factory=dict)
    edges: Mapping[EdgeKey, Mark] = field(default_factory=dict)
    states: Mapping[str, NodeState] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """A few words to stand with a node."""


@dataclass(frozen=True)
class Box:
    """A node."""

    id: str
    about: str
    """Its type, and what tells it from others of that type."""
    mark: Mark
    state: NodeState
    body: "Graph | None"


@dataclass(frozen=True)
class Link:
    """An edge. ``source`` and ``target`` are places in the boxes of its graph."""

    source: int
    target: int
    guard: str
    on_error: bool
    mark: Mark


@dataclass(frozen=True)
class Graph:
    """A graph: a workflow's own, or the body of a map or loop."""

    boxes: list[Box]
    links: list[Link]


def graph_of(definition: bytes, marks: Marks | None = None) -> Graph:
    """The graph of a definition (JSON that compiled). Raises TooLarge."""
    source = _WORKFLOW.decode(definition)
    elements = 0
    graphs = [source]
    for graph in graphs:
        elements += len(graph.nodes) + len(graph.edges)
        graphs += [body for node in graph.nodes if (body := _body(node))]
    if elements > ELEMENTS_MAX:
        raise TooLarge(f"the graph has {elements} nodes and edges; at most {ELEMENTS_MAX} are drawn")
    return _graph(source, marks or Marks())


def _body(node: _Node) -> _Graph | None:
    return msgspec.convert(node.config["body"], _Graph) if node.type in {"map", "loop"} else None


def _graph(source: _Graph, marks: Marks) -> Graph:
    places = {node.id: place for place, node in enumerate(source.nodes)}
    boxes = [_box(node, marks) for node in source.nodes]
    links = [
        Link(
            places[edge.source],
            places[edge.target],
            edge.when,
            edge.on == "error",
            marks.edges.get((edge.source, edge.target, edge.on), ""),
        )
        for edge in source.edges
    ]
    return Graph(boxes, links)


def _box(node: _Node, marks: Marks) -> Box:
    source = _body(node)
    body = _graph(source, marks) if source else None
    about = " · ".join(part for part in (_about(node), _join(node.join), marks.notes.get(node.id, "")) if part)
    return Box(node.id, about, marks.nodes.get(node.id, ""), marks.states.get(node.id, ""), body)


def _about(node: _Node) -> str:
    """`function score`, `GET api.example.com`, `timer 30 s`: the type, and what it is about."""
    config = node.config
    if node.type == "http":
        # Before the first expression stands the host, or nothing that could be shown of it.
        host = urlsplit(str(config.get("url", "")).partition("${")[0]).netloc
        return clipped(f"{config.get('method', 'GET')} {host}".strip())
    if node.type == "timer" and "until" in config:
        return clipped(f"timer until {config['until']}")
    if node.type == "join":
        return "join"
    telling = config.get(_TELLING.get(node.type, ""), "")
    unit = " s" if node.type == "timer" else ""
    return clipped(f"{node.type} {telling}{unit}" if telling not in {"", node.id} else node.type)


def _join(rule: object) -> str:
    """What a node says of its incoming edges, where it is not the usual."""
    if isinstance(rule, dict):
        return f"{rule.get('quorum')} of them"
    return "" if rule == "all" else "any of them"


def clipped(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A text on one line, no longer than that."""
    line = " ".join(text.split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"
