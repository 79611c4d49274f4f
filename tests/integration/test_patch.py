"""Patches of a run, over both doors and over a kill."""

from pathlib import Path
from typing import Any

import pytest

from apex_fast.client import PatchEffect, Run
from apex_fast.core import check_history
from apex_fast.errors import InvalidInput, KeyReused, NotFound, WrongState
from tests.support.gateway import Served, process_in, served
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def call(node: str, **more: Any) -> dict[str, Any]:
    return {"id": node, "type": "function", "config": {"name": "work"}, "input": {"give": node}, **more}


def adds(node: str, after: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"op": "add", "path": "/nodes/-", "value": call(node, **more)},
        {"op": "add", "path": "/edges/-", "value": {"from": after, "to": node}},
    ]


WORKFLOW = {
    "name": "patched",
    "version": "1",
    "nodes": [call("a"), {"id": "ask", "type": "approval", "config": {"prompt": "Go on?"}}, call("b")],
    "edges": [{"from": "a", "to": "ask"}, {"from": "ask", "to": "b"}],
}


async def waiting(house: Served) -> Run:
    """A run in which `a` has run and somebody is asked."""
    await house.client.register(WORKFLOW)
    run = await house.client.start("patched")
    async for event in run.watch():
        if event.type == "ApprovalRequested":
            break
    return run


async def finish(house: Served, run: Run) -> list[str]:
    """What was executed, in order."""
    await house.client.resolve(f"{run.id}~ask", approve=True)
    await run.result(PATIENCE_S)
    return [entry.node for entry in house.ledger.started(run.id)]


async def test_what_a_patch_adds_is_executed(house: Served) -> None:
    run = await waiting(house)
    patch_id = await run.patch(adds("late", "ask"), "for the audit")
    assert (await run.info()).epoch == 1
    definition, epoch = await run.definition()
    assert ([node["id"] for node in definition["nodes"]], epoch) == (["a", "ask", "b", "late"], 1)
    assert definition["nodes"][3]["effect"] == "write", "filled in as at registration"
    [patch] = await run.patches()
    assert (patch.patch_id, patch.state, patch.reason, patch.epoch) == (patch_id, "APPLIED", "for the audit", 1)
    assert (patch.operations, patch.rolled_back) == (adds("late", "ask"), "")
    assert patch.definition_hash == (await run.info()).ir_hash
    at_once = await run.patch(adds("now", "a"))
    with pytest.raises(InvalidInput) as started:
        await run.roll_back(at_once)
    assert started.value.code == "PATCH_STARTED"
    assert sorted(await finish(house, run)) == ["a", "b", "late", "now"]
    assert [event.epoch for event in await run.timeline() if event.type == "PatchApplied"] == [0, 1]
    assert len(await run.patches()) == 2, "also when it has ended"
    with pytest.raises(WrongState) as ended:
        await run.patch(adds("x", "a"))
    assert ended.value.code == "RUN_ENDED"
    assert check_history(await run.history()).records == (await run.info()).offset + 1


async def test_over_http(house: Served) -> None:
    run = await waiting(house)
    body = {"operations": adds("late", "ask"), "reason": "so", "base_epoch": 0, "idempotency_key": "k"}
    status, accepted = await house.post(f"/runs/{run.id}/patch", body)
    assert (status, accepted["epoch"], accepted["existing"]) == (202, 1, False)
    status, again = await house.post(f"/runs/{run.id}/patch", body)
    assert (status, again["patch_id"], again["existing"]) == (202, accepted["patch_id"], True)
    status, problem = await house.post(f"/runs/{run.id}/patch", {**body, "operations": adds("other", "ask")})
    assert (status, problem["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    status, shown = await house.get(accepted["status_url"])
    assert (status, shown["state"], shown["operations"]) == (200, "APPLIED", adds("late", "ask"))
    status, dropped = await house.post(f"{accepted['status_url']}/rollback", {"reason": "not now"})
    assert (status, dropped["epoch"]) == (200, 2)
    status, shown = await house.get(f"/runs/{run.id}/patches")
    assert [(one["state"], one["rolled_back_reason"]) for one in shown["patches"]] == [("ROLLED_BACK", "not now")]
    status, shown = await house.get(f"/runs/{run.id}/definition")
    assert (shown["epoch"], len(shown["definition"]["nodes"])) == (2, 3)
    status, problem = await house.get(f"/runs/{run.id}/patches/{run.id}~p7")
    assert (status, problem["code"]) == (404, "PATCH_NOT_FOUND")
    status, problem = await house.post(f"/runs/{run.id}/patches/other~p1/rollback", {})
    assert (status, problem["code"]) == (404, "PATCH_NOT_FOUND")
    assert await finish(house, run) == ["a", "b"]


async def test_each_gate_names_the_place(house: Served) -> None:
    run = await waiting(house)
    status, problem = await house.post(f"/runs/{run.id}/patch", {"operations": [{"op": "remove", "path": "/nodes/9"}]})
    assert (status, problem["code"], problem["errors"][0]["pointer"]) == (
        422,
        "PATCH_SHAPE_REFUSED",
        "/operations/0/path",
    )
    with pytest.raises(InvalidInput) as shape:
        await run.patch([{"op": "remove", "path": "/nodes/9"}])
    assert shape.value.errors[0][0] == "/operations_json/0/path"
    status, problem = await house.post(f"/runs/{run.id}/patch", {"operations": [{"op": "remove", "path": "/nodes/0"}]})
    assert (status, problem["code"]) == (422, "PATCH_MEANING_REFUSED")
    with pytest.raises(InvalidInput) as meaning:
        await run.patch([{"op": "replace", "path": "/nodes/0/input/give", "value": "other"}])
    assert (meaning.value.code, meaning.value.errors[0][0]) == ("PATCH_MEANING_REFUSED", "/nodes/0/input")
    await run.patch([{"op": "replace", "path": "/nodes/2/input/give", "value": "one"}])
    with pytest.raises(InvalidInput) as conflict:
        await run.patch([{"op": "replace", "path": "/nodes/2/input/give", "value": "two"}], base_epoch=0)
    assert conflict.value.code == "PATCH_CONFLICT"
    assert "/input/give of b was changed since" in conflict.value.errors[0][1]
    with pytest.raises(NotFound):
        await house.client.run("0190a000-0000-7000-8000-000000000000").patch(adds("x", "a"))
    await run.patch(adds("x", "ask"), idempotency_key="one")
    with pytest.raises(KeyReused):
        await run.patch(adds("y", "ask"), idempotency_key="one")


async def test_what_a_patch_may_reach_is_a_setting(tmp_path: Path) -> None:
    async with served(tmp_path, {"APEX_PATCHES_CLIENT_REACHES_ANY": "false"}) as house:
        run = await waiting(house)
        with pytest.raises(InvalidInput) as refused:
            await run.patch(adds("late", "ask", config={"name": "undo"}))
        assert refused.value.code == "PATCH_SECURITY_REFUSED"
        # Nothing goes round an approval, and no other function is called.
        assert [pointer for pointer, _ in refused.value.errors] == ["", "/nodes/3/config/name"]
        await run.patch(adds("beside", "a"))
        await house.client.resolve(f"{run.id}~ask", approve=True)
        await run.result(PATIENCE_S)


async def test_what_clients_may_reach_beside_it_is_listed(tmp_path: Path) -> None:
    may = {"APEX_PATCHES_CLIENT_REACHES_ANY": "false", "APEX_PATCHES_CLIENT_FUNCTIONS": "echo,number"}
    async with served(tmp_path, may) as house:
        run = await waiting(house)
        await run.patch(adds("late", "b", config={"name": "echo"}, input={"value": 1}))
        with pytest.raises(InvalidInput) as refused:
            await run.patch(adds("later", "b", config={"name": "undo"}, input={"input": {}}))
        assert refused.value.errors == [
            ("/nodes/4/config/name", 'the author may not use the function "undo" [FUNCTION_NOT_ALLOWED]')
        ]
        # An approval that a patch added is not taken away again by those who may not take one away.
        ask = {"id": "second", "type": "approval", "config": {"prompt": "Sure?"}}
        edges = [{"from": "b", "to": "second"}, {"from": "second", "to": "late"}]
        operations: list[dict[str, Any]] = [
            {"op": "remove", "path": "/edges/2"},
            {"op": "add", "path": "/nodes/-", "value": ask},
        ]
        operations += [{"op": "add", "path": "/edges/-", "value": edge} for edge in edges]
        guard = await run.patch(operations)
        with pytest.raises(InvalidInput) as kept:
            await run.roll_back(guard)
        assert kept.value.code == "PATCH_SECURITY_REFUSED"
        assert "late would begin without the approval second" in kept.value.errors[0][1]


async def test_a_patch_that_waits_for_a_person(tmp_path: Path) -> None:
    holds = {"APEX_PATCHES_CLIENT_POLICY": "approve"}
    async with process_in(tmp_path, holds) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        run = await waiting(house)
        first = await run.patch(adds("late", "ask"), "for the audit")
        status, accepted = await house.post(f"/runs/{run.id}/patch", {"operations": adds("other", "ask")})
        assert (status, accepted["state"], accepted["epoch"]) == (202, "PROPOSED", 0)
        await run.patch(adds("never", "ask"))
        async for event in run.watch():
            if event.type == "PatchProposed":
                assert (event.payload["author"], event.payload["reason"]) == ("client", "for the audit")
                break
        assert [patch.state for patch in await run.patches()] == ["PROPOSED"] * 3
        process.kill()
        await house.close()
    async with process_in(tmp_path, holds) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        run = house.client.run(run.id)
        approved = await run.approve_patch(first, approve=True, reason="it helps")
        assert (approved.state, approved.epoch, approved.decision_reason) == ("APPLIED", 1, "it helps")
        assert (approved.reason, approved.operations) == ("for the audit", adds("late", "ask"))
        url = accepted["status_url"]
        status, decided = await house.post(f"{url}/approve", {"decision": "reject", "reason": "no"})
        assert (status, decided["state"], decided["existing"]) == (200, "REJECTED", False)
        status, again = await house.post(f"{url}/approve", {"decision": "reject"})
        assert (status, again["state"], again["existing"]) == (200, "REJECTED", True)
        status, problem = await house.post(f"{url}/approve", {})
        assert (status, problem["code"]) == (409, "WRONG_STATE")
        status, problem = await house.post(f"/runs/{run.id}/patches/other~p1/approve", {})
        assert (status, problem["code"]) == (404, "PATCH_NOT_FOUND")
        with pytest.raises(NotFound):
            await run.approve_patch(f"{run.id}~p9", approve=True)
        assert sorted(await finish(house, run)) == ["a", "b", "late"]
        status, shown = await house.get(f"/runs/{run.id}/patches")
        states = [(one["state"], one.get("decision_reason"), one.get("code")) for one in shown["patches"]]
        assert states == [("APPLIED", "it helps", None), ("REJECTED", "no", None), ("REJECTED", None, "RUN_ENDED")]
        assert check_history(await run.history()).records == (await run.info()).offset + 1
        await house.close()


async def test_an_approval_passes_the_gates_again(tmp_path: Path) -> None:
    async with served(tmp_path, {"APEX_PATCHES_CLIENT_POLICY": "approve"}) as house:
        run = await waiting(house)
        rename = [{"op": "replace", "path": "/nodes/2/input/give", "value": "other"}]
        first, second = await run.patch(rename), await run.patch([{**rename[0], "value": "third"}])
        await run.approve_patch(first, approve=True)
        with pytest.raises(InvalidInput) as conflict:
            await run.approve_patch(second, approve=True)
        assert conflict.value.code == "PATCH_CONFLICT"
        assert f"was changed since by {first}" in conflict.value.errors[0][1]
        assert (await run.get_patch(second)).state == "PROPOSED"
        await run.cancel("enough")


async def test_a_policy_refuses_and_what_happened_is_counted(tmp_path: Path) -> None:
    async with served(tmp_path, {"APEX_PATCHES_CLIENT_POLICY": "refuse"}) as house:
        run = await waiting(house)
        with pytest.raises(InvalidInput, match=r"patches\.client_policy") as refused:
            await run.patch(adds("late", "ask"))
        assert refused.value.code == "PATCH_SECURITY_REFUSED"
        async with house.http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        assert 'patches_total{author_kind="client",gate="security",outcome="refused"} 1.0' in lines


async def test_what_a_patch_did(house: Served) -> None:
    run = await waiting(house)
    body = {"nodes": [call("inner")]}
    mapped = {"id": "many", "type": "map", "config": {"over": [1, 2], "body": body}}
    patch_id = await run.patch(
        [
            *adds("late", "ask", retry={"max_attempts": 2, "initial_s": 0.01}, input={"fails": 1, "pause_s": 0.05}),
            {"op": "add", "path": "/nodes/-", "value": mapped},
            {"op": "add", "path": "/edges/-", "value": {"from": "ask", "to": "many"}},
        ]
    )
    assert (await run.get_patch(patch_id)).effect == PatchEffect(3, 0, 0, 0.0, 0, 0)
    await finish(house, run)
    effect = (await run.get_patch(patch_id)).effect
    assert effect is not None
    assert (effect.nodes_added, effect.nodes_run, effect.attempts) == (3, 3, 4)
    assert effect.time_s >= 0.1
    status, shown = await house.get(f"/runs/{run.id}/patches/{patch_id}")
    assert (status, shown["effect"]["attempts"], shown["author"]) == (200, 4, "client")


async def test_a_patch_that_was_dropped_did_nothing_also_where_its_ids_came_again(house: Served) -> None:
    run = await waiting(house)
    dropped = await run.patch(adds("late", "ask"))
    await run.roll_back(dropped)
    again = await run.patch(adds("late", "ask"))
    await finish(house, run)
    assert (await run.get_patch(dropped)).effect == PatchEffect(1, 0, 0, 0.0, 0, 0)
    effect = (await run.get_patch(again)).effect
    assert effect is not None
    assert effect.nodes_run == 1


async def test_a_patch_survives_a_kill(tmp_path: Path) -> None:
    async with process_in(tmp_path) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        run = await waiting(house)
        await run.patch(adds("late", "ask"))
        dropped = await run.patch(adds("never", "b"))
        await run.roll_back(dropped)
        before = await run.info()
        process.kill()
        await house.close()
    async with process_in(tmp_path) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        run = house.client.run(run.id)
        after = await run.info()
        assert (after.epoch, after.ir_hash) == (3, before.ir_hash)
        assert sorted(await finish(house, run)) == ["a", "b", "late"]
        assert check_history(await run.history()).records == (await run.info()).offset + 1
        await house.close()
