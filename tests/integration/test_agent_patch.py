"""Agents that patch their run, against a real HTTP server that speaks the OpenAI protocol."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apex_fast.client import Run
from apex_fast.core import check_history
from tests.integration.model.provider import Provider, completion
from tests.support.gateway import Served, process_in, served
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Provider]:
    server = Provider()
    await server.start()
    yield server
    await server.stop()


def settings(provider: Provider, **more: str) -> dict[str, str]:
    return {
        "APEX_PLANNER_MODEL": "openai/test",
        "APEX_PLANNER_API_BASE": provider.base,
        "APEX_PLANNER_API_KEY": "sk-secret-0123456789",
        "APEX_PLANNER_TIMEOUT_S": "5",
        **more,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> AsyncIterator[Served]:
    async with served(tmp_path_factory.mktemp("house"), settings(provider)) as gateway:
        yield gateway


def call(node: str, name: str = "work") -> dict[str, Any]:
    return {"id": node, "type": "function", "config": {"name": name}, "input": {"give": node}}


def adds(node: str, when: str = "", name: str = "work", after: str = "plan") -> list[dict[str, Any]]:
    edge = {"from": after, "to": node, **({"when": when} if when else {})}
    return [
        {"op": "add", "path": "/nodes/-", "value": call(node, name)},
        {"op": "add", "path": "/edges/-", "value": edge},
    ]


def answer(output: Any, operations: Any = None, reason: str = "it helps") -> Any:
    patch = {} if operations is None else {"patch": {"operations": operations, "reason": reason}}
    return completion(json.dumps({"output": output, **patch}))


def scripted(provider: Provider, *replies: Any) -> None:
    provider.requests.clear()
    provider.replies = list(replies)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def started(house: Served, name: str, **config: Any) -> Run:
    plan = {"id": "plan", "type": "agent", "config": {"prompt": "How?", "may_patch": True, **config}}
    definition = {"name": name, "version": "1", "nodes": [plan, call("b")], "edges": [{"from": "plan", "to": "b"}]}
    await house.client.register(definition)
    return await house.client.start(name)


def executed(house: Served, run: Run) -> list[str]:
    return sorted(entry.node for entry in house.ledger.started(run.id))


async def test_a_step_that_the_agent_adds_is_executed(house: Served, provider: Provider) -> None:
    guarded = adds("yes", "nodes.plan.output.value.n == 7") + adds("no", "nodes.plan.output.value.n == 8")
    scripted(provider, answer({"n": 7}, guarded))
    run = await started(house, "adds", output_schema=SCHEMA)
    await run.result(PATIENCE_S)
    assert executed(house, run) == ["b", "yes"]
    types = [event.type for event in await run.timeline()]
    assert types.index("PatchApplied") + 1 == types.index("ToolResultReceived"), "before its result is routed"
    output = next(event for event in await run.timeline() if event.type == "ToolResultReceived").payload["output"]
    assert (output["value"], output["text"]) == ({"n": 7}, '{"n": 7}'), "the patch is cut out of the answer"
    [patch] = await run.patches()
    assert (patch.state, patch.author, patch.reason, patch.base_epoch) == ("APPLIED", "agent:plan", "it helps", 0)
    effect = (await run.get_patch(patch.patch_id)).effect
    assert effect is not None
    assert (effect.nodes_added, effect.nodes_run, effect.attempts) == (2, 1, 1)
    assert check_history(await run.history()).records == (await run.info()).offset + 1
    [(_, asked)] = provider.requests
    told = asked["messages"][0]["content"]
    assert "You are the node plan" in told
    assert "epoch 0" in told
    assert '"may_patch":true' in told, "the definition as it stands"
    schema = asked["response_format"]["json_schema"]["schema"]
    assert (schema["required"], schema["properties"]["output"]) == (["output"], SCHEMA)


async def test_text_and_no_patch(house: Served, provider: Provider) -> None:
    scripted(provider, answer({"text": "nothing to do"}), answer({"text": "nothing"}, []))
    for name in ("none", "empty"):
        run = await started(house, name)
        await run.result(PATIENCE_S)
        assert (executed(house, run), await run.patches()) == (["b"], [])


async def test_an_answer_without_output_is_tried_again(house: Served, provider: Provider) -> None:
    scripted(provider, completion('{"patch": null}'), answer({"n": 1}, adds("x")))
    plan = {"id": "plan", "type": "agent", "retry": {"max_attempts": 2, "initial_s": 0.01}}
    plan["config"] = {"prompt": "How?", "may_patch": True, "output_schema": SCHEMA}
    await house.client.register({"name": "again", "version": "1", "nodes": [plan, call("b")], "edges": []})
    run = await house.client.start("again")
    await run.result(PATIENCE_S)
    assert executed(house, run) == ["b", "x"]


@pytest.mark.parametrize(
    ("operations", "gate", "code"),
    [
        ("not a list", "shape", "PATCH_SHAPE_REFUSED"),
        ([{"op": "remove", "path": "/nodes/9"}], "shape", "PATCH_SHAPE_REFUSED"),
        ([{"op": "remove", "path": "/nodes/0"}], "meaning", "PATCH_MEANING_REFUSED"),
        (adds("x", name="undo"), "security", "PATCH_SECURITY_REFUSED"),
    ],
)
async def test_a_refused_patch_is_recorded_and_the_run_goes_on(
    house: Served, provider: Provider, operations: Any, gate: str, code: str
) -> None:
    scripted(provider, answer({"text": "so"}, operations))
    run = await started(house, f"refused-{gate}-{len(operations)}")
    await run.result(PATIENCE_S)
    assert executed(house, run) == ["b"]
    [patch] = await run.patches()
    assert (patch.state, patch.gate, patch.code, patch.epoch) == ("REJECTED", gate, code, 0)
    assert patch.message
    status, shown = await house.get(f"/runs/{run.id}/patches/{patch.patch_id}")
    assert (status, shown["gate"], shown["code"], shown["author"]) == (200, gate, code, "agent:plan")
    assert check_history(await run.history()).records == (await run.info()).offset + 1


async def test_the_next_agent_is_told_what_was_refused(house: Served, provider: Provider) -> None:
    scripted(
        provider, answer({"text": "so"}, adds("x", name="undo")), answer({"text": "then"}, adds("y", after="again"))
    )
    config = {"prompt": "How?", "may_patch": True}
    nodes = [{"id": name, "type": "agent", "config": config} for name in ("plan", "again")]
    edges = [{"from": "plan", "to": "again"}, {"from": "again", "to": "b"}]
    await house.client.register({"name": "told", "version": "1", "nodes": [*nodes, call("b")], "edges": edges})
    run = await house.client.start("told")
    await run.result(PATIENCE_S)
    first, second = (asked["messages"][0]["content"] for _, asked in provider.requests)
    assert "this run refused" not in first
    [refused, applied] = await run.patches()
    for part in (refused.patch_id, "agent:plan", "PATCH_SECURITY_REFUSED", "/nodes/3/config/name", "it helps"):
        assert part in second[second.index("this run refused") :]
    assert ([patch.state for patch in (refused, applied)], executed(house, run)) == (
        ["REJECTED", "APPLIED"],
        ["b", "y"],
    )


async def test_an_agent_that_may_not_patch_is_not_asked_to(house: Served, provider: Provider) -> None:
    said = json.dumps({"text": "so", "patch": {"operations": adds("x")}})
    scripted(provider, completion(said))
    run = await started(house, "may-not", may_patch=False)
    await run.result(PATIENCE_S)
    assert (executed(house, run), await run.patches()) == (["b"], [])
    [(_, asked)] = provider.requests
    assert "patch" not in asked["messages"][0]["content"]


async def test_one_that_waits_for_a_person(tmp_path: Path, provider: Provider) -> None:
    async with served(tmp_path, settings(provider, APEX_PATCHES_AGENT_POLICY="approve")) as house:
        scripted(provider, answer({"text": "so"}, adds("x", after="b")))
        ask = {"id": "ask", "type": "approval", "config": {"prompt": "Go on?"}}
        plan = {"id": "plan", "type": "agent", "config": {"prompt": "How?", "may_patch": True}}
        nodes, edges = [plan, ask, call("b")], [{"from": "plan", "to": "ask"}, {"from": "ask", "to": "b"}]
        await house.client.register({"name": "held", "version": "1", "nodes": nodes, "edges": edges})
        run = await house.client.start("held")
        async for event in run.watch():
            if event.type == "ApprovalRequested":
                break
        [patch] = await run.patches()
        assert (patch.state, patch.author) == ("PROPOSED", "agent:plan")
        assert (await run.approve_patch(patch.patch_id, approve=True)).state == "APPLIED"
        await house.client.resolve(f"{run.id}~ask", approve=True)
        await run.result(PATIENCE_S)
        assert executed(house, run) == ["b", "x"]


async def test_a_kill_after_the_patch_is_durable(tmp_path: Path, provider: Provider) -> None:
    scripted(provider, answer({"text": "first"}, adds("x")), *[answer({"text": "second"}, adds("y"))] * 3)
    async with process_in(tmp_path, settings(provider)) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        run = await started(house, "killed")
        async for event in run.watch():
            if event.type == "PatchApplied":
                break
        process.kill()
        await house.close()
    async with process_in(tmp_path, settings(provider)) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        run = house.client.run(run.id)
        await run.result(PATIENCE_S)
        [patch] = await run.patches()
        assert (patch.state, (await run.info()).epoch) == ("APPLIED", 1)
        assert set(executed(house, run)) == {"b", "x"}
        assert check_history(await run.history()).records == (await run.info()).offset + 1
        await house.close()
