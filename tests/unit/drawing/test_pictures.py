"""SVG and Mermaid: everything is there, and nothing of a definition is markup."""

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from apex_fast.core import compile
from apex_fast.drawing import Marks, TooLarge, graph_of, mermaid, svg

SVG = "{http://www.w3.org/2000/svg}"


def function(name: str, **more: Any) -> dict[str, Any]:
    """A node that calls a function."""
    return {"id": name, "type": "function", "config": {"name": f"do_{name}"}, **more}


BODY = {"nodes": [function("look"), function("price")], "edges": [{"from": "look", "to": "price"}]}
ORDER = {
    "name": "order",
    "version": "1",
    "nodes": [
        {"id": "fetch", "type": "http", "config": {"url": "https://shop.example.com/${inputs.id}"}},
        {"id": "each", "type": "map", "config": {"over": "${nodes.fetch.output.body}", "body": BODY}},
        {"id": "gate", "type": "approval", "config": {"prompt": "Ship?"}},
        {"id": "wait", "type": "timer", "config": {"duration_s": 30}},
        function("ship", join={"quorum": 2}),
        function("refund"),
    ],
    "edges": [
        {"from": "fetch", "to": "each"},
        {"from": "fetch", "to": "gate", "when": "nodes.fetch.output.status == 200 && 'a' < \"b\""},
        {"from": "fetch", "to": "wait"},
        {"from": "gate", "to": "ship"},
        {"from": "wait", "to": "ship"},
        {"from": "each", "to": "ship"},
        {"from": "ship", "to": "refund", "on": "error"},
    ],
}


def canonical(definition: dict[str, Any]) -> bytes:
    """The definition as the compiler gives it."""
    return compile(json.dumps(definition).encode()).canonical


def texts(picture: str) -> list[str]:
    """What can be read in an SVG."""
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


def test_svg_says_what_each_node_is() -> None:
    """Ids, types, the rule of a join, the nodes of a body, guards; of a URL the host."""
    picture = svg(("", graph_of(canonical(ORDER))))
    said = texts(picture)
    for text in ("fetch", "GET shop.example.com", "look", "function do_price", "approval", "timer 30 s", "on error"):
        assert text in said
    assert "function do_ship · 2 of them" in said
    assert "inputs.id" not in picture
    assert any(text.startswith("nodes.fetch.output.status == 200") for text in said)


def test_svg_shows_states_and_marks_in_words() -> None:
    """Nothing is said by colour alone."""
    marks = Marks(
        nodes={"ship": "added", "wait": "changed"},
        edges={("gate", "ship", ""): "removed"},
        states={"fetch": "done", "gate": "waiting"},
        notes={"each": "3 of 10"},
    )
    said = texts(svg(("before", graph_of(canonical(ORDER), marks)), ("after", graph_of(canonical(ORDER)))))
    for text in ("before", "after", "+ ship", "~ wait", "−", "approval · waiting", "+ added", "done", "− removed"):
        assert text in said
    assert any(text.endswith("· 3 of 10") for text in said)


def test_bodies_stand_inside_their_node() -> None:
    """The box of a map holds those of its body."""
    rectangles = {
        title.text: [float(box.get(name, "")) for name in ("x", "y", "width", "height")]
        for box in ET.fromstring(svg(("", graph_of(canonical(ORDER))))).iter(f"{SVG}rect")
        if (title := box.find(f"{SVG}title")) is not None
    }
    x, y, width, height = rectangles["each"]
    for name in ("look", "price"):
        inner = rectangles[name]
        assert x < inner[0]
        assert y < inner[1]
        assert inner[0] + inner[2] < x + width
        assert inner[1] + inner[3] < y + height


def test_mermaid() -> None:
    """A line for each node and edge; a body is a subgraph; what would be markup is escaped."""
    small = {
        "name": "w",
        "version": "1",
        "nodes": [
            function("a"),
            {"id": "m", "type": "map", "config": {"over": "${inputs}", "body": {"nodes": [function("b")]}}},
        ],
        "edges": [{"from": "a", "to": "m", "when": "nodes.a.output == '\"<b>#'"}],
    }
    marks = Marks(nodes={"a": "added"}, states={"b": "running"})
    assert mermaid(graph_of(canonical(small), marks)) == (
        "flowchart TD\n"
        '  n0["+ a<br/>function do_a"]\n'
        '  subgraph n1["m<br/>map ${inputs}"]\n'
        '    n2["b<br/>function do_b · running"]\n'
        "  end\n"
        "  n0 -->|\"nodes.a.output == '#quot;#lt;b#gt;#35;'\"| n1\n"
        "  style n0 stroke:#009e73,stroke-width:3px\n"
        "  style n2 fill:#d9ecf8,stroke:#0072b2\n"
    )


def test_what_nobody_could_read_is_refused() -> None:
    """Bounds of a picture, and of a graph in any form; each says how many there are."""

    def chain(count: int) -> bytes:
        nodes = [function(f"n{place}") for place in range(count)]
        edges = [{"from": f"n{place}", "to": f"n{place + 1}"} for place in range(count - 1)]
        return canonical({"name": "w", "version": "1", "nodes": nodes, "edges": edges})

    large = graph_of(chain(2_001))
    with pytest.raises(TooLarge, match="takes 2001 places"):
        svg(("", large))
    assert mermaid(large).count(" --> ") == 2_000
    with pytest.raises(TooLarge, match="10001 nodes and edges"):
        graph_of(chain(5_001))
