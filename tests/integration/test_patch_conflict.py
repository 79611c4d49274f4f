"""What a program is told of a patch that something stands against, over both doors."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from apex_fast.client import Run
from apex_fast.errors import KeyReused, PatchConflict
from tests.support.gateway import Served, served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def call(node: str, **given: Any) -> dict[str, Any]:
    return {"id": node, "type": "function", "config": {"name": "work"}, "input": {"give": node, **given}}


def adds(node: str, after: str = "ask") -> list[dict[str, Any]]:
    return [
        {"op": "add", "path": "/nodes/-", "value": call(node)},
        {"op": "add", "path": "/edges/-", "value": {"from": after, "to": node}},
    ]


def gives(value: Any, node: int = 1) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": f"/nodes/{node}/input/give", "value": value}]


def setting(value: Any, node: str = "b") -> dict[str, Any]:
    """The same as an operation on ids."""
    return {"op": "set", "node": node, "at": "/input/give", "value": value}


async def waiting(house: Served, name: str = "race") -> Run:
    """A run in which somebody is asked before `b`."""
    ask = {"id": "ask", "type": "approval", "config": {"prompt": "Go on?"}}
    definition = {"name": name, "version": "1", "nodes": [ask, call("b")], "edges": [{"from": "ask", "to": "b"}]}
    await house.client.register(definition)
    run = await house.client.start(name)
    async for event in run.watch():
        if event.type == "ApprovalRequested":
            break
    return run


async def test_the_loser_of_a_race_is_told_enough_to_patch_anew(house: Served) -> None:
    run = await waiting(house)
    other = await run.patch(adds("aside"))
    winner = await run.patch([*gives("first"), *adds("late")])
    with pytest.raises(PatchConflict) as lost:
        await run.patch([*gives("second"), *adds("mine")], base_epoch=0)
    conflict = lost.value.conflict
    assert (conflict.epoch, conflict.truncated) == (2, False)
    [patch] = conflict.patches
    assert (patch.patch_id, patch.epoch, patch.dropped_epoch) == (winner, 2, 0), f"{other} touches something else"
    assert patch.what == ("/input/give of b",)
    assert patch.operations == (setting("first"),), "not what else the two do"
    assert patch.own_operations == (setting("second"),)
    body = {"operations": gives("second"), "base_epoch": 0}
    status, problem = await house.post(f"/runs/{run.id}/patch", body)
    assert (status, problem["code"], problem["errors"]) == (
        409,
        "PATCH_CONFLICT",
        [{"pointer": "", "detail": f"/input/give of b was changed since by {winner}"}],
    )
    assert problem["conflict"] == {
        "epoch": 2,
        "patches": [
            {
                "patch_id": winner,
                "epoch": 2,
                "dropped_epoch": 0,
                "what": ["/input/give of b"],
                "operations": [setting("first")],
                "own_operations": [setting("second")],
                "truncated": False,
            }
        ],
        "truncated": False,
    }
    # Made anew for the epoch that it was told of.
    await run.patch(gives("second"), base_epoch=conflict.epoch)
    assert (await run.definition())[0]["nodes"][1]["input"]["give"] == "second"


async def test_what_was_dropped_since_stands_against_it_too(house: Served) -> None:
    run = await waiting(house)
    dropped = await run.patch(gives("first"))
    await run.roll_back(dropped)
    with pytest.raises(PatchConflict) as lost:
        await run.patch(gives("second"), base_epoch=1)
    [patch] = lost.value.conflict.patches
    assert (patch.patch_id, patch.epoch, patch.dropped_epoch) == (dropped, 1, 2)
    with pytest.raises(PatchConflict) as early:
        await run.patch(gives("second"), base_epoch=7)
    assert (early.value.conflict.epoch, early.value.conflict.patches) == (2, ())


async def test_two_that_make_no_definition_together(house: Served) -> None:
    run = await waiting(house)
    await run.patch([*adds("one"), *adds("two")])
    # Each half of a cycle is none.
    there = await run.patch([{"op": "add", "path": "/edges/-", "value": {"from": "one", "to": "two"}}])
    with pytest.raises(PatchConflict) as lost:
        await run.patch([{"op": "add", "path": "/edges/-", "value": {"from": "two", "to": "one"}}], base_epoch=1)
    assert "[CYCLE]" in lost.value.errors[0][1]
    [patch] = lost.value.conflict.patches
    assert (patch.patch_id, patch.what, patch.own_operations) == (there, (), ())
    assert [operation["op"] for operation in patch.operations] == ["add_edge"]


async def test_a_rollback_names_all_that_stand_on_it(house: Served) -> None:
    run = await waiting(house)
    first = await run.patch(adds("late"))
    on_it = await run.patch(gives("other", 2))
    await run.patch(gives("aside"))
    after_it = await run.patch(adds("later", after="late"))
    with pytest.raises(PatchConflict) as stands:
        await run.roll_back(first)
    assert [patch.patch_id for patch in stands.value.conflict.patches] == [on_it, after_it]
    assert f"{on_it} stands on this patch" in stands.value.errors[0][1]
    status, problem = await house.post(f"/runs/{run.id}/patches/{first}/rollback", {})
    assert (status, [one["patch_id"] for one in problem["conflict"]["patches"]]) == (409, [on_it, after_it])
    for patch_id in (after_it, on_it, first):
        await run.roll_back(patch_id)


async def test_a_key_names_the_patch_that_has_it(house: Served) -> None:
    run = await waiting(house)
    first = await run.patch(gives("first"), idempotency_key="one")
    assert await run.patch(gives("first"), idempotency_key="one") == first
    with pytest.raises(KeyReused) as reused:
        await run.patch(gives("second"), idempotency_key="one")
    assert reused.value.conflict is not None
    assert [(patch.patch_id, patch.epoch) for patch in reused.value.conflict.patches] == [(first, 1)]
    status, problem = await house.post(
        f"/runs/{run.id}/patch", {"operations": gives("second"), "idempotency_key": "one"}
    )
    assert (status, problem["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert problem["conflict"]["patches"][0]["patch_id"] == first


async def test_what_is_too_large_is_named_only(house: Served) -> None:
    run = await waiting(house)
    small = await run.patch(gives("small"))
    large = await run.patch(gives("x" * 100_000))
    with pytest.raises(PatchConflict) as lost:
        await run.patch(gives("mine"), base_epoch=0)
    assert [(one.patch_id, one.truncated, len(one.operations)) for one in lost.value.conflict.patches] == [
        (small, False, 1),
        (large, True, 0),
    ]
    # A call that fails has 8 KiB for all that it says.
    middle = [await run.patch(gives(str(n) + "y" * 1_200)) for n in range(20)]
    with pytest.raises(PatchConflict) as many:
        await run.patch(gives("mine"), base_epoch=2)
    assert [patch.patch_id for patch in many.value.conflict.patches] == middle
    assert not many.value.conflict.patches[0].truncated
    assert many.value.conflict.patches[-1].truncated
    status, problem = await house.post(f"/runs/{run.id}/patch", {"operations": gives("mine"), "base_epoch": 2})
    assert (status, len(problem["conflict"]["patches"])) == (409, 20)


async def test_of_a_workflow(tmp_path: Path) -> None:
    async with served(tmp_path, {"APEX_LIMITS_PATCH_BATCH_S": "0.05"}) as house:
        client = house.client
        await client.register({"name": "race", "version": "1", "nodes": [call("b")], "edges": []})
        first = await client.patch_workflow("race", gives("first", 0), idempotency_key="one")
        later = await client.patch_workflow("race", gives("second", 0))
        async with asyncio.timeout(PATIENCE_S):
            while (await client.workflow_patch(later)).state == "PENDING":  # noqa: ASYNC110 (of another process)
                await asyncio.sleep(0.02)
        with pytest.raises(PatchConflict) as stands:
            await client.roll_back_workflow_patch(first)
        [patch] = stands.value.conflict.patches
        assert (stands.value.conflict.epoch, patch.patch_id) == (0, later)
        assert (patch.operations, patch.own_operations) == ((setting("second"),), (setting("first"),))
        status, problem = await house.post(f"/definitions/race/patches/{first}/rollback", {})
        assert (status, problem["conflict"]["patches"][0]["patch_id"]) == (409, later)
        with pytest.raises(KeyReused) as reused:
            await client.patch_workflow("race", gives("third", 0), idempotency_key="one")
        assert reused.value.conflict is not None
        assert [patch.patch_id for patch in reused.value.conflict.patches] == [first]
