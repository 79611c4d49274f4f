"""Small workflow definitions."""

import json
from typing import Any


def node(node_id: str, **more: Any) -> dict[str, Any]:
    """A function node named `step` unless `more` says otherwise."""
    return {"id": node_id, "type": "function", "config": {"name": "step"}, **more}


def definition(name: str, nodes: list[dict[str, Any]], edges: list[dict[str, Any]] | None = None, **more: Any) -> bytes:
    """A definition in version 1."""
    body = {"name": name, "version": "1", "nodes": nodes, "edges": edges or [], **more}
    return json.dumps(body).encode()


def chain(length: int, name: str = "chain", **more: Any) -> bytes:
    """`length` function nodes in a row: s0 → s1 → …"""
    nodes = [node(f"s{i}", **more) for i in range(length)]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(length - 1)]
    return definition(name, nodes, edges)


def fan(width: int, name: str = "fan") -> bytes:
    """first → m0 … → last."""
    middle = [f"m{i}" for i in range(width)]
    nodes = [node("first"), *(node(m) for m in middle), node("last")]
    edges = [{"from": "first", "to": m} for m in middle] + [{"from": m, "to": "last"} for m in middle]
    return definition(name, nodes, edges)
