"""The builder spells what the definition says."""

from typing import Any

import msgspec
import pytest

from apex_fast import App, Workflow


def document(workflow: Workflow) -> Any:
    return msgspec.json.decode(workflow.to_json())


def test_the_definition_of_the_contract() -> None:
    wf = Workflow("enrich-order", "1.2.0", inputs={"type": "object", "required": ["order_id"]})
    fetch = wf.http("fetch", "GET", f"https://api.example.com/orders/{wf.inputs.order_id}", timeout_s=10)
    score = wf.function("score", "score_order", input={"order": fetch.output.body}, effect="pure")
    gate = wf.approval(
        "gate", "Ship?", timeout_s=86400, on_timeout="reject", after=score.when("nodes.score.output.risk > 0.8")
    )
    ship = wf.function(
        "ship",
        "ship",
        after=[score.when("nodes.score.output.risk <= 0.8"), gate.when(gate.output.approved)],
        compensation={"name": "recall_shipment", "input": {"id": "${nodes.ship.output.id}"}},
    )
    wf.output({"shipment": ship.output.id})
    assert document(wf) == {
        "name": "enrich-order",
        "version": "1.2.0",
        "inputs": {"type": "object", "required": ["order_id"]},
        "nodes": [
            {
                "id": "fetch",
                "type": "http",
                "config": {"method": "GET", "url": "https://api.example.com/orders/${inputs.order_id}"},
                "timeout_s": 10,
            },
            {
                "id": "score",
                "type": "function",
                "config": {"name": "score_order"},
                "input": {"order": "${nodes.fetch.output.body}"},
                "effect": "pure",
            },
            {
                "id": "gate",
                "type": "approval",
                "config": {"prompt": "Ship?", "timeout_s": 86400, "on_timeout": "reject"},
            },
            {
                "id": "ship",
                "type": "function",
                "config": {"name": "ship"},
                "compensation": {"name": "recall_shipment", "input": {"id": "${nodes.ship.output.id}"}},
            },
        ],
        "edges": [
            {"from": "fetch", "to": "score"},
            {"from": "score", "to": "gate", "when": "nodes.score.output.risk > 0.8"},
            {"from": "score", "to": "ship", "when": "nodes.score.output.risk <= 0.8"},
            {"from": "gate", "to": "ship", "when": "nodes.gate.output.approved"},
        ],
        "output": {"shipment": "${nodes.ship.output.id}"},
    }


def test_edges_follow_references_only_where_none_are_given() -> None:
    wf = Workflow("w")
    a = wf.function("a-b", "f")
    b = wf.function("b", "f")
    wf.function("c", "f", input={"x": a.output["odd name"], "y": "${nodes.b.output}"})
    wf.function("d", "f", input={"x": a.output.n}, after=b)
    assert document(wf)["edges"] == [
        {"from": "a-b", "to": "c"},
        {"from": "b", "to": "c"},
        {"from": "b", "to": "d"},
    ]
    assert document(wf)["nodes"][2]["input"]["x"] == '${nodes["a-b"].output["odd name"]}'


def test_map_join_timer_and_error_edges() -> None:
    wf = Workflow("w", timeout_s=60)
    each = wf.map("each", wf.inputs["items"], max_concurrency=3, on_item_error="skip")
    each.body.function("f", "f", input={"item": each.item.name, "at": each.index})
    each.body.output("${nodes.f.output}")
    wait = wf.timer("wait", 5, after=each.on_error())
    wf.timer("until", until="2030-01-01T00:00:00Z", after="each")
    wf.join("both", [each, wait], rule={"quorum": 1}, cancel_rest=True)
    made = document(wf)
    assert made["timeout_s"] == 60
    assert made["nodes"][0]["config"] == {
        "over": "${inputs.items}",
        "max_concurrency": 3,
        "on_item_error": "skip",
        "body": {
            "nodes": [
                {
                    "id": "f",
                    "type": "function",
                    "config": {"name": "f"},
                    "input": {"item": "${item.name}", "at": "${index}"},
                }
            ],
            "edges": [],
            "output": "${nodes.f.output}",
        },
    }
    assert made["nodes"][3] == {"id": "both", "type": "join", "join": {"quorum": 1}, "cancel_rest": True}
    assert {"from": "each", "to": "wait", "on": "error"} in made["edges"]


def test_loops() -> None:
    wf = Workflow("w")
    again = wf.loop("again", "iteration < 3", max_iterations=5)
    again.body.function("f", "f", input={"n": again.iteration, "before": again.last})
    assert document(wf)["nodes"] == [
        {
            "id": "again",
            "type": "loop",
            "config": {
                "while": "iteration < 3",
                "max_iterations": 5,
                "body": {
                    "nodes": [
                        {
                            "id": "f",
                            "type": "function",
                            "config": {"name": "f"},
                            "input": {"n": "${iteration}", "before": "${last}"},
                        }
                    ],
                    "edges": [],
                },
            },
        }
    ]


def test_callables_are_named_by_their_app() -> None:
    app = App()

    @app.function(name="renamed")
    def original() -> None: ...

    def other() -> None: ...

    wf = app.workflow("w")
    wf.function("a", original)
    assert document(wf)["nodes"][0]["config"] == {"name": "renamed"}
    with pytest.raises(ValueError, match="not registered"):
        wf.function("b", other)
    assert app.definitions() == [wf.to_json()]


def test_a_reference_is_no_value_yet() -> None:
    node = Workflow("w").function("a", "f")
    with pytest.raises(TypeError, match="guard"):
        bool(node.output.n)
    with pytest.raises(TypeError, match="map"):
        iter(node.output.n)
    with pytest.raises(ValueError, match="guard stands on an edge"):
        Workflow("w").function("a", "f", when="true")
    assert str(node.error.type) == "${nodes.a.error.type}"
    assert str(node.output["in"]["x"][0]) == '${nodes.a.output["in"].x[0]}'
