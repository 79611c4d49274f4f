"""What differs, by ids: in words and as marks."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apex_fast.core import compile
from apex_fast.drawing import difference
from tests.unit.drawing.test_pictures import ORDER, canonical, function


def changed(patch: list[dict[str, Any]]) -> tuple[bytes, bytes]:
    """The order before and after a patch."""
    before = compile(json.dumps(ORDER).encode())
    return before.canonical, before.patched(json.dumps(patch).encode()).canonical


def test_each_change_has_a_line() -> None:
    """Nodes and edges that come and go, members that change, in bodies too."""
    found = difference(
        *changed(
            [
                {"op": "replace", "path": "/nodes/3/config/duration_s", "value": 60},
                {"op": "remove", "path": "/nodes/5"},
                {"op": "remove", "path": "/edges/6"},
                {"op": "add", "path": "/nodes/-", "value": function("check")},
                {"op": "add", "path": "/edges/-", "value": {"from": "ship", "to": "check", "when": "true"}},
                {"op": "remove", "path": "/edges/1/when"},
                {"op": "add", "path": "/nodes/1/config/body/nodes/0/effect", "value": "pure"},
                {"op": "add", "path": "/output", "value": "${nodes.check.output}"},
            ]
        )
    )
    assert found.text() == (
        "~ node wait: ~ /config/duration_s 30 → 60\n"
        '- node refund (function) {"name":"do_refund"}\n'
        '~ node look: + /effect "pure"\n'
        '+ node check (function) {"name":"do_check"}\n'
        '~ edge fetch → gate: - /when "nodes.fetch.output.status == 200 && \'a\' < \\"b\\""\n'
        "- edge ship → refund (on error)\n"
        "+ edge ship → check when true\n"
        '~ workflow: + /output "${nodes.check.output}"\n'
    )
    assert found.marks_before.nodes == {"wait": "changed", "refund": "removed", "look": "changed"}
    assert found.marks_after.nodes == {"wait": "changed", "check": "added", "look": "changed"}
    assert found.marks_after.edges == {("ship", "check", ""): "added", ("fetch", "gate", ""): "changed"}


def test_a_node_in_another_body_and_the_order_of_lists() -> None:
    """A node in another body is another node; its place in a list is no change."""
    moved = json.loads(canonical(ORDER))
    moved["nodes"].reverse()
    assert difference(canonical(ORDER), json.dumps(moved).encode()).changes == []
    body = moved["nodes"][4]["config"]["body"]
    moved["nodes"].append(body["nodes"].pop())
    body["edges"] = []
    found = difference(canonical(ORDER), json.dumps(moved).encode())
    assert '- node price (function) in each {"name":"do_price"}\n' in found.text()
    assert '+ node price (function) {"name":"do_price"}\n' in found.text()
    assert (found.marks_before.nodes["price"], found.marks_after.nodes["price"]) == ("removed", "added")


def test_true_is_not_one() -> None:
    """Values are compared as JSON."""
    one, other = ({**ORDER, "output": value} for value in ({"x": 1}, {"x": True}))
    assert difference(canonical(one), canonical(other)).text() == "~ workflow: ~ /output/x 1 → true\n"


@given(st.data())
def test_a_difference_is_empty_where_nothing_differs(data: st.DataObject) -> None:
    """And the other way round it has as many changes."""
    names = data.draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))
    others = data.draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))

    def workflow(ids: list[str]) -> bytes:
        return canonical({"name": "w", "version": "1", "nodes": [function(name) for name in ids]})

    found, back = difference(workflow(names), workflow(others)), difference(workflow(others), workflow(names))
    assert len(found.changes) == len(set(names) ^ set(others)) == len(back.changes)
    assert (found.text() == "") == (set(names) == set(others))
