"""What two definitions differ in, by ids: for a person to read, and for the two graphs to be marked with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from apex_fast.drawing.graph import EdgeKey, Mark, Marks, clipped

VALUE_CHARS_MAX: Final = 120
What: TypeAlias = Literal["node", "edge", "workflow"]
_ABSENT: Final = object()
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True)
class Change:
    """A node, an edge or a member of one that is another one after.

    ``at``: a JSON Pointer into the node or the workflow; empty: the whole. ``before`` and ``after``: JSON; None where
    it is not there.
    """

    change: Literal["added", "removed", "changed"]
    what: What
    id: str
    """Of the node; `a → b` of an edge."""
    at: str
    before: bytes | None
    after: bytes | None
    body: str = ""
    """Of a node: the map or loop in whose body it stands; empty: the workflow's own graph."""


@dataclass(frozen=True)
class Difference:
    """All changes, and the marks of the graphs that they are between."""

    changes: list[Change]
    marks_before: Marks
    marks_after: Marks

    def text(self) -> str:
        """A line for each change; `+` came, `-` went, `~` is another one. Ends with a newline, or is empty."""
        return "".join(f"{line}\n" for change in self.changes for line in _lines(change))


@dataclass(frozen=True)
class _Node:
    body: str
    value: Mapping[str, Any]

    def is_another(self, node: "_Node") -> bool:
        return self.body != node.body or self.value["type"] != node.value["type"]


@dataclass(frozen=True)
class _Parts:
    """A definition taken apart by id."""

    workflow: Mapping[str, Any]
    nodes: dict[str, _Node]
    edges: dict[EdgeKey, Mapping[str, Any]]


def difference(before: bytes, after: bytes) -> Difference:
    """What makes ``after`` of ``before``: two definitions (JSON that compiled). Order in a list is no difference."""
    old, new = _parts(before), _parts(after)
    changes: list[Change] = []
    node_marks: tuple[dict[str, Mark], dict[str, Mark]] = ({}, {})
    edge_marks: tuple[dict[EdgeKey, Mark], dict[EdgeKey, Mark]] = ({}, {})
    for name, node in old.nodes.items():
        there = new.nodes.get(name)
        # One of another type or in another body is another node: nothing that is known of it holds any more.
        if there is None or there.is_another(node):
            changes.append(Change("removed", "node", name, "", _json(node.value), None, node.body))
            node_marks[0][name] = "removed"
        elif found := list(_members("node", name, node.value, there.value)):
            changes += found
            node_marks[0][name] = node_marks[1][name] = "changed"
    for name, node in new.nodes.items():
        there = old.nodes.get(name)
        if there is None or there.is_another(node):
            changes.append(Change("added", "node", name, "", None, _json(node.value), node.body))
            node_marks[1][name] = "added"
    for key, edge in old.edges.items():
        if key not in new.edges:
            changes.append(Change("removed", "edge", _edge_name(key), "", _json(edge), None))
            edge_marks[0][key] = "removed"
        elif edge != new.edges[key]:
            changes += _members("edge", _edge_name(key), edge, new.edges[key])
            edge_marks[0][key] = edge_marks[1][key] = "changed"
    for key, edge in new.edges.items():
        if key not in old.edges:
            changes.append(Change("added", "edge", _edge_name(key), "", None, _json(edge)))
            edge_marks[1][key] = "added"
    changes += _members("workflow", "", old.workflow, new.workflow)
    return Difference(changes, Marks(node_marks[0], edge_marks[0]), Marks(node_marks[1], edge_marks[1]))


def _parts(definition: bytes) -> _Parts:
    workflow: dict[str, Any] = msgspec.json.decode(definition)
    nodes: dict[str, _Node] = {}
    edges: dict[EdgeKey, Mapping[str, Any]] = {}
    graphs: list[tuple[str, dict[str, Any]]] = [("", workflow)]
    for body, graph in graphs:
        for node in graph.pop("nodes", []):
            if node["type"] in {"map", "loop"}:
                graphs.append((node["id"], node["config"]["body"]))
            nodes[node["id"]] = _Node(body, node)
        for edge in graph.pop("edges", []):
            edges[edge["from"], edge["to"], edge.get("on", "")] = edge
    return _Parts(workflow, nodes, edges)


def _members(what: What, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """The members that differ: through objects, lists as a whole."""
    open_pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [("", before, after)]
    while open_pairs:
        at, old, new = open_pairs.pop()
        for member in sorted({*old, *new}):
            one, other = old.get(member, _ABSENT), new.get(member, _ABSENT)
            pointer = f"{at}/{member.replace('~', '~0').replace('/', '~1')}"
            if isinstance(one, dict) and isinstance(other, dict):
                open_pairs.append((pointer, one, other))
            elif one is _ABSENT:
                yield Change("added", what, name, pointer, None, _json(other))
            elif other is _ABSENT:
                yield Change("removed", what, name, pointer, _json(one), None)
            elif _json(one) != _json(other):  # True is 1 for Python, not for JSON
                yield Change("changed", what, name, pointer, _json(one), _json(other))


def _edge_name(key: EdgeKey) -> str:
    source, target, on = key
    return f"{source} → {target}" + (f" (on {on})" if on else "")


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _shown(value: bytes | None) -> str:
    return clipped((value or b"").decode(), VALUE_CHARS_MAX)


def _lines(change: Change) -> Iterator[str]:
    named = " ".join(part for part in (change.what, change.id) if part)
    if change.at:
        values = {
            "added": _shown(change.after),
            "removed": _shown(change.before),
            "changed": f"{_shown(change.before)} → {_shown(change.after)}",
        }
        yield f"~ {named}: {_SIGNS[change.change]} {change.at} {values[change.change]}"
        return
    whole: dict[str, Any] = msgspec.json.decode(change.after or change.before or b"{}")
    about = ""
    if change.what == "node":
        config = whole.get("config")
        within = f" in {change.body}" if change.body else ""
        about = f" ({whole['type']}){within} " + (_shown(_json(config)) if config else "")
    elif "when" in whole:
        about = f" when {clipped(str(whole['when']), VALUE_CHARS_MAX)}"
    yield f"{_SIGNS[change.change]} {named}{about}".rstrip()
