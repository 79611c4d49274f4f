"""`fidelity: fast`: the same run, recorded in fewer and smaller records."""

from typing import Any

import pytest

from apex_fast.client import Event
from apex_fast.errors import Conflict
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def chain(name: str) -> dict[str, Any]:
    def node(number: int, value: str) -> dict[str, Any]:
        config = {"name": "echo"}
        return {"id": f"n{number}", "type": "function", "config": config, "input": {"value": value}, "effect": "pure"}

    nodes = [node(0, "${inputs.x}"), *(node(n, f"${{nodes.n{n - 1}.output}}") for n in range(1, 5))]
    edges = [{"from": f"n{n - 1}", "to": f"n{n}"} for n in range(1, 5)]
    return {"name": name, "version": "1", "nodes": nodes, "edges": edges, "output": {"last": "${nodes.n4.output}"}}


def decisions(events: list[Event]) -> list[tuple[str, str]]:
    """(type, node) of all that was decided, whatever the records."""
    found: list[tuple[str, str]] = []
    for event in events:
        if event.type == "TurnRecorded":
            found += [(one["type"], one["payload"]["node"]) for one in event.payload["decisions"]]
        else:
            found.append((event.type, event.payload.get("node", "")))
    return found


async def test_the_same_decisions_in_fewer_records(house: Served) -> None:
    await house.client.register(chain("fidelity"))
    full = await house.client.start("fidelity", {"x": "a" * 100}, fidelity="full")
    fast = await house.client.start("fidelity", {"x": "a" * 100}, fidelity="fast")
    assert await full.result(PATIENCE_S) == await fast.result(PATIENCE_S) == {"last": "a" * 100}
    assert ((await full.info()).fidelity, (await fast.info()).fidelity) == ("full", "fast")
    in_full, in_fast = await full.timeline(), await fast.timeline()
    assert decisions(in_fast) == decisions(in_full)
    assert (len(in_full), len(in_fast)) == (12, 8), "a result and what follows from it are one record"
    assert [event.offset for event in in_fast] == list(range(8)), "offsets count records"
    assert [in_fast[0].type, in_fast[-1].type] == ["RunStarted", "WorkflowCompleted"]
    requested = in_fast[1].payload["decisions"][0]["payload"]
    assert requested["omitted"] is True
    assert "input" not in requested, "it follows from the inputs of the run"


async def test_a_map_and_what_is_undone(house: Served) -> None:
    body = {"nodes": [{"id": "a", "type": "function", "config": {"name": "echo"}, "input": {"value": "${item}"}}]}
    definition = {"name": "fidelity-map", "version": "1",
                  "nodes": [{"id": "m", "type": "map", "config": {"over": "${inputs.items}", "body": body}}],
                  "output": {"all": "${nodes.m.output}"}}  # fmt: skip
    await house.client.register(definition)
    run = await house.client.start("fidelity-map", {"items": list(range(40))}, fidelity="fast")
    outcome = await run.result(PATIENCE_S)
    assert len(outcome["all"]) == 40
    events = await run.timeline()
    assert len(events) < 100, "in full: 162"


async def test_over_http(house: Served) -> None:
    await house.client.register(chain("fidelity-http"))
    status, started = await house.post("/runs", {"workflow": "fidelity-http", "inputs": {"x": 1}, "fidelity": "fast"})
    assert status == 202
    await house.client.run(started["run_id"]).result(PATIENCE_S)
    _, shown = await house.get(f"/runs/{started['run_id']}")
    assert (shown["fidelity"], shown["output"]) == ("fast", {"last": 1})


async def test_one_key_two_fidelities(house: Served) -> None:
    """What is recorded is part of what was asked for."""
    await house.client.register(chain("fidelity-key"))
    await house.client.start("fidelity-key", {"x": 1}, fidelity="fast", idempotency_key="fidelity-1")
    again = await house.client.start("fidelity-key", {"x": 1}, fidelity="fast", idempotency_key="fidelity-1")
    assert again.existing
    with pytest.raises(Conflict, match="used for another request"):
        await house.client.start("fidelity-key", {"x": 1}, idempotency_key="fidelity-1")


async def test_a_word_that_is_none(house: Served) -> None:
    status, problem = await house.post("/runs", {"workflow": "fidelity", "inputs": {}, "fidelity": "some"})
    assert status == 400
    assert problem["errors"][0]["pointer"] == "/fidelity"
