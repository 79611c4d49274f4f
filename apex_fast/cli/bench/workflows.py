"""The definitions that are measured."""

import json
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

CHAIN_LENGTH: Final = 10
FAN_WIDTH: Final = 100
LAYER_WIDTH: Final = 100
PARENTS: Final = 3


def _node(node_id: str) -> dict[str, Any]:
    return {"id": node_id, "type": "function", "config": {"name": "step"}, "effect": "write"}


def _document(name: str, nodes: list[dict[str, Any]], edges: list[tuple[str, str]]) -> bytes:
    body = {"name": name, "version": "1", "nodes": nodes, "edges": [{"from": a, "to": b} for a, b in edges]}
    return json.dumps(body).encode()


def single(name: str = "single") -> bytes:
    """One node."""
    return _document(name, [_node("only")], [])


def chain(length: int = CHAIN_LENGTH) -> bytes:
    """Nodes in a row."""
    names = [f"link{index}" for index in range(length)]
    return _document("chain", [_node(name) for name in names], list(pairwise(names)))


def fan(width: int = FAN_WIDTH) -> bytes:
    """1 → width → 1."""
    leaves = [f"leaf{index}" for index in range(width)]
    edges = [("first", leaf) for leaf in leaves] + [(leaf, "last") for leaf in leaves]
    return _document("fan", [_node("first"), *map(_node, leaves), _node("last")], edges)


def layered_edges(nodes: int, width: int = LAYER_WIDTH, parents: int = PARENTS) -> list[tuple[int, int]]:
    """Layers of ``width`` nodes; each node depends on ``parents`` neighbours in the layer before."""
    edges = []
    for node in range(width, nodes):
        layer, place = divmod(node, width)
        first = (layer - 1) * width
        edges += [(first + (place + shift) % width, node) for shift in range(min(parents, width))]
    return edges


def layers(nodes: int, width: int = LAYER_WIDTH) -> bytes:
    """A graph of ``nodes`` nodes in layers."""
    names = [f"n{index}" for index in range(nodes)]
    edges = [(names[a], names[b]) for a, b in layered_edges(nodes, width)]
    return _document("layers", [_node(name) for name in names], edges)


def approval() -> bytes:
    """Waits for a person, then ends."""
    return _document("approval", [{"id": "gate", "type": "approval", "config": {"prompt": "Go on?"}}], [])


def timer(until: datetime) -> bytes:
    """Waits for a time, then ends."""
    config = {"until": until.isoformat().replace("+00:00", "Z")}
    return _document("timer", [{"id": "wait", "type": "timer", "config": config}], [])


def wide_map() -> bytes:
    """A map over the list `items` of its inputs, one node an item."""
    body = {"nodes": [_node("each")], "edges": []}
    node = {"id": "all", "type": "map", "config": {"over": "${inputs.items}", "body": body}}
    return json.dumps({"name": "map", "version": "1", "nodes": [node], "edges": []}).encode()
