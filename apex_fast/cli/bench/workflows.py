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


def width(nodes: int) -> int:
    """Of the layers of a graph of so many nodes: two layers at least."""
    return min(LAYER_WIDTH, max(1, nodes // 2))


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


def wasteful(nodes: int) -> bytes:
    """A definition in which each of the optimizer's passes finds something, again and again: groups of 17 nodes, bodies
    included, and writes up to ``nodes``."""
    made: list[dict[str, Any]] = []
    edges: list[dict[str, str]] = []
    for group in range(nodes // 17):
        of_group, ways = _wasteful(f"g{group}")
        made += of_group
        edges += ways
    made += [_node(f"rest{index}") for index in range(nodes - nodes // 17 * 17)]
    body = {"name": "wasteful", "version": "1", "inputs": {}, "nodes": made, "edges": edges, "output": "done"}
    return json.dumps(body).encode()


def _wasteful(group: str) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    def call(name: str, effect: str, *reads: str) -> dict[str, Any]:
        given = {read: f"${{nodes.{group}_{read}.output}}" for read in reads}
        config = {"name": name.rstrip("_")}
        return {"id": f"{group}_{name}", "type": "function", "config": config, "effect": effect, "input": given}

    def get(name: str, path: str) -> dict[str, Any]:
        config = {"method": "GET", "url": f"https://example.com/{group}/{path}"}
        return {"id": f"{group}_{name}", "type": "http", "config": config}

    def way(source: str, target: str, **more: str) -> dict[str, str]:
        return {"from": f"{group}_{source}", "to": f"{group}_{target}", **more}

    body = {
        "nodes": [call("rates", "pure"), call("convert", "write", "rates")],
        "edges": [way("rates", "convert")],
        "output": f"${{nodes.{group}_convert.output}}",
    }
    each = {"id": f"{group}_each", "type": "map", "config": {"over": f"${{inputs.{group}}}", "body": body}}
    made = [
        *(get("order", "order"), get("order_", "order"), call("bill", "write", "order", "order_")),
        *(call("risk", "pure"), call("risk_", "pure"), call("report", "write", "risk", "risk_")),
        *(call("flights", "read"), call("hotels", "read"), call("weather", "read")),
        call("book", "write", "flights", "hotels", "weather"),
        *(get("account", "account"), get("history", "history"), call("send", "write", "history")),
        get("unread", "unread"),
        each,
    ]
    edges = [
        *(way("order", "bill"), way("order_", "bill"), way("risk", "report"), way("risk_", "report")),
        *(way("flights", "hotels"), way("hotels", "weather"), way("weather", "book")),
        *(way("account", "history"), way("history", "send", when=f"nodes.{group}_account.output.body.wanted")),
    ]
    return made, edges


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
