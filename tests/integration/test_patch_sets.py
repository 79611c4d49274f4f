"""Patches of workflows and arms of tags, over both doors and over a kill."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from apex_fast.client import Arm, Client, WorkflowPatch
from apex_fast.errors import InvalidInput, KeyReused, NotFound, WrongState
from tests.support.gateway import Served, process_in, served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUICK = {"APEX_LIMITS_PATCH_BATCH_S": "0.05"}


def call(node: str, function: str = "echo", **given: Any) -> dict[str, Any]:
    return {"id": node, "type": "function", "config": {"name": function}, "input": given}


def workflow(name: str, version: str = "1", *nodes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": version, "nodes": list(nodes) or [call("a", value=1)], "edges": []}


def adds(node: str) -> list[dict[str, Any]]:
    return [
        {"op": "add", "path": "/nodes/-", "value": call(node, value=node)},
        {"op": "add", "path": "/edges/-", "value": {"from": "a", "to": node}},
    ]


async def decided(client: Client, patch_id: str) -> WorkflowPatch:
    """The patch once its batch was made."""
    async with asyncio.timeout(PATIENCE_S):
        while (patch := await client.workflow_patch(patch_id)).state == "PENDING":  # noqa: ASYNC110 (of another process)
            await asyncio.sleep(0.02)
    return patch


async def counter(house: Served, name: str) -> float:
    """A metric without labels."""
    async with house.http.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def test_a_batch_makes_a_version_that_runs_get(tmp_path: Path) -> None:
    async with served(tmp_path, QUICK) as house:
        client = house.client
        await client.register(workflow("parcel"))
        first = await client.patch_workflow("parcel", adds("b"), reason="for the audit", author="ada")
        bad = await client.patch_workflow("parcel", [{"op": "remove", "path": "/nodes/9"}])
        unknown = await client.patch_workflow("parcel", [{"op": "add", "path": "/nodes/-", "value": call("x", "nope")}])
        applied, refused = await decided(client, first), await decided(client, bad)
        assert (applied.state, applied.version, applied.set, applied.tag) == (
            "APPLIED",
            "1+patches.1",
            "patches",
            "main",
        )
        assert (applied.reason, applied.author, applied.operations) == ("for the audit", "ada", adds("b"))
        assert (refused.state, refused.gate, refused.error_code) == ("REJECTED", "shape", "PATCH_SHAPE_REFUSED")
        assert "/0/path" in refused.error_message
        assert (await decided(client, unknown)).gate == "meaning", "it names a function that nobody registered"
        run = await client.start("parcel")
        await run.result(PATIENCE_S)
        assert (await run.info()).version == "1+patches.1"
        before = await client.start("parcel", version="1")
        await before.result(PATIENCE_S)
        nodes = [event.payload["node"] for event in await before.timeline() if event.type == "ToolCallRequested"]
        assert nodes == ["a"], "the base is what it was"
        info = await client.workflow("parcel")
        assert (info.version, info.tags) == ("1+patches.1", ["main"])
        assert info.definition is not None
        assert info.definition["nodes"][1]["effect"] == "pure", "filled in as at registration"
        page = await client.workflow_patches("parcel", limit=2)
        assert [patch.patch_id for patch in page.patches] == ["parcel~w3", "parcel~w2"]
        page = await client.workflow_patches("parcel", limit=2, page=page.next_page)
        assert ([patch.patch_id for patch in page.patches], page.next_page) == ([first], "")
        version = await client.roll_back_workflow_patch(first, "no audit")
        assert version == "1+patches.2"
        assert (await client.workflow_patch(first)).state == "ROLLED_BACK"
        assert (await client.workflow("parcel")).version == version, "the tag moves along"
        assert await counter(house, "workflow_patches_pending") == 0
        assert await counter(house, "workflow_patches_rejected_total") == 2


async def test_over_http(tmp_path: Path) -> None:
    async with served(tmp_path, QUICK) as house:
        await house.client.register(workflow("parcel"))
        body = {"operations": adds("b"), "reason": "so", "author": "ada", "tag": "main", "idempotency_key": "k"}
        status, accepted = await house.post("/definitions/parcel/patches", body)
        assert (status, accepted["patch_id"], accepted["existing"]) == (202, "parcel~w1", False)
        status, again = await house.post("/definitions/parcel/patches", body)
        assert (status, again["patch_id"], again["existing"]) == (202, "parcel~w1", True)
        status, problem = await house.post("/definitions/parcel/patches", {**body, "reason": "other"})
        assert (status, problem["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
        await decided(house.client, "parcel~w1")
        status, shown = await house.get(accepted["status_url"])
        assert (status, shown["state"], shown["version"], shown["operations"]) == (
            200,
            "APPLIED",
            "1+patches.1",
            adds("b"),
        )
        status, definition = await house.get("/definitions/parcel/1+patches.1")
        assert definition["derived"] == {
            "base_version": "1",
            "set": "patches",
            "generation": 1,
            "patches": ["parcel~w1"],
        }
        status, problem = await house.post("/definitions/parcel/patches", {"operations": [{"op": "no"}]})
        assert (status, problem["code"], problem["errors"][0]["pointer"]) == (
            422,
            "PATCH_SHAPE_REFUSED",
            "/operations/0",
        )
        status, problem = await house.post("/definitions/nope/patches", {"operations": adds("b")})
        assert (status, problem["code"]) == (404, "WORKFLOW_NOT_FOUND")
        status, problem = await house.post("/definitions/parcel/patches", {**body, "version": "1"})
        assert (status, problem["errors"][0]["pointer"]) == (400, "/tag")
        await house.post("/definitions/parcel/patches", {"operations": [{"op": "remove", "path": "/nodes/7"}]})
        await decided(house.client, "parcel~w2")
        status, listed = await house.get("/definitions/parcel/patches?version=1&set=patches")
        assert [patch["patch_id"] for patch in listed["patches"]] == ["parcel~w2", "parcel~w1"]
        status, listed = await house.get("/definitions/parcel/patches?page_size=1")
        [refused] = listed["patches"]
        assert (refused["state"], refused["refused"]["gate"]) == ("REJECTED", "shape")
        assert refused["refused"]["errors"][0]["pointer"] == "/0/path"
        for path in ("/definitions/parcel/patches/parcel~w9", "/definitions/says/patches/parcel~w1"):
            status, problem = await house.get(path)
            assert (status, problem["code"]) == (404, "PATCH_NOT_FOUND")
        status, problem = await house.post("/definitions/parcel/patches/parcel~w2/rollback", {})
        assert (status, problem["code"]) == (409, "WRONG_STATE")
        status, dropped = await house.post("/definitions/parcel/patches/parcel~w1/rollback", {"reason": "no"})
        assert (status, dropped["version"], dropped["existing"]) == (200, "1+patches.2", False)


async def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path) -> None:
    async with served(tmp_path, QUICK) as house:
        client = house.client
        await client.register(workflow("parcel"))
        await client.register(workflow("parcel", "2"))
        with pytest.raises(NotFound):
            await client.patch_workflow("parcel", adds("b"), version="9")
        with pytest.raises(NotFound):
            await client.workflow_patch("parcel~w1")
        with pytest.raises(InvalidInput):
            await client.patch_workflow("parcel", adds("b"), set="a.b")
        await client.patch_workflow("parcel", adds("b"), idempotency_key="one")
        with pytest.raises(KeyReused):
            await client.patch_workflow("parcel", adds("c"), idempotency_key="one")
        second = await client.patch_workflow(
            "parcel", [{"op": "add", "path": "/edges/1", "value": {"from": "b", "to": "c"}}, *adds("c")]
        )
        assert (await decided(client, second)).state == "APPLIED", "it builds on the patch before it"
        with pytest.raises(InvalidInput) as stands:
            await client.roll_back_workflow_patch("parcel~w1")
        assert stands.value.code == "PATCH_CONFLICT"
        assert second in str(stands.value)
        pending = await client.patch_workflow("parcel", adds("d"))
        if (await client.workflow_patch(pending)).state == "PENDING":
            with pytest.raises(WrongState):
                await client.roll_back_workflow_patch(pending)
        for share in (0, 1.001, 0.0005, -1, math.nan):
            with pytest.raises(InvalidInput) as refused:
                await client.tag("parcel", "1", "main", [Arm(share, version="2")])
            assert refused.value.errors[0][0] == "/arms/0/share"
        with pytest.raises(InvalidInput):
            await client.tag("parcel", "1", "main", [Arm(0.6, version="2"), Arm(0.6, version="1+patches.1")])
        with pytest.raises(NotFound):
            await client.tag("parcel", "1", "main", [Arm(0.1, set="nope")])
        status, problem = await house.put(
            "/definitions/parcel/tags/main", {"version": "1", "arms": [{"share": 0.1, "version": "2", "set": "x"}]}
        )
        assert (status, problem["errors"][0]["pointer"]) == (400, "/arms/0")
        with pytest.raises(NotFound):
            await client.arms("parcel", "nope")


async def test_what_a_patch_may_reach_is_a_setting(tmp_path: Path) -> None:
    async with served(tmp_path, {**QUICK, "APEX_PATCHES_CLIENT_REACHES_ANY": "false"}) as house:
        await house.client.register(workflow("parcel"))
        fine = await house.client.patch_workflow("parcel", adds("b"))
        gains = await house.client.patch_workflow(
            "parcel", [{"op": "add", "path": "/nodes/-", "value": call("w", "work")}]
        )
        assert (await decided(house.client, fine)).state == "APPLIED"
        refused = await decided(house.client, gains)
        assert (refused.gate, refused.error_code) == ("security", "PATCH_SECURITY_REFUSED")


async def test_a_share_of_the_starts_gets_another_version_and_what_became_of_them_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        client = house.client
        await client.register(workflow("parcel", "1", call("a", "echo", value=1)))
        await client.register(workflow("parcel", "2", call("a", "fail", message="no")))
        await client.tag("parcel", "1", "main", [Arm(0.3, version="2")])
        runs = await client.start_many("parcel", [{}] * 400)
        for run in runs:
            async for _ in run.watch():
                pass
        infos = [await run.info() for run in runs]
        assert {info.tag for info in infos} == {"main"}
        assert {info.version: info.arm for info in infos} == {"1": "control", "2": "2"}
        of_arm = sum(info.arm == "2" for info in infos)
        chi = (of_arm - 120) ** 2 / 120 + (400 - of_arm - 280) ** 2 / 280
        assert chi < 10.83, f"{of_arm} of 400 where 120 are expected: once in a thousand times"
        tag = await client.arms("parcel")
        control, arm = tag.arms
        assert (tag.version, tag.began != "", control.arm, arm.arm) == ("1", True, "control", "2")
        assert (control.share, arm.share) == (0.7, 0.3)
        assert (control.started, control.completed, control.running) == (400 - of_arm, 400 - of_arm, 0)
        assert (arm.started, arm.failed, arm.completed, arm.duration) == (of_arm, of_arm, 0, None)
        assert control.success_rate is not None
        assert (control.success_rate.value, control.success_rate.high) == (1, 1)
        assert control.success_rate.low > 0.98
        assert control.duration is not None
        assert control.duration.count == 400 - of_arm
        assert 0 < control.duration.p50_s <= control.duration.p99_s
        assert arm.success_difference is not None
        assert arm.success_difference.value == -1
        assert arm.success_difference.high < -0.9
        status, shown = await house.get("/definitions/parcel/tags/main")
        assert (status, [one["started"] for one in shown["arms"]]) == (200, [400 - of_arm, of_arm])
        assert shown["arms"][1]["success_difference"]["value"] == -1
        status, first = await house.get(f"/runs/{runs[0].id}")
        assert (first["tag"], first["arm"]) == ("main", infos[0].arm)
        body = {"version": "1", "arms": [{"version": "2", "share": 0.3}]}
        await house.put("/definitions/parcel/tags/main", body)
        assert (await client.arms("parcel")).arms[0].started == 400 - of_arm, "the same arms go on"
        await house.put("/definitions/parcel/tags/main", {"version": "1"})
        assert (await client.arms("parcel")).arms == []


async def test_a_patch_set_is_tried_before_all_get_it(tmp_path: Path) -> None:
    async with served(tmp_path, QUICK) as house:
        client = house.client
        await client.register(workflow("parcel"))
        await decided(client, await client.patch_workflow("parcel", adds("b"), version="1", set="audit"))
        assert (await client.workflow("parcel")).version == "1", "a patch on a version moves no tag"
        await client.tag("parcel", "1", "main", [Arm(1, set="audit")])
        run = await client.start("parcel")
        assert ((await run.info()).version, (await run.info()).arm) == ("1+audit.1", "1+audit")
        await decided(client, await client.patch_workflow("parcel", adds("c"), version="1", set="audit"))
        run = await client.start("parcel")
        assert (await run.info()).version == "1+audit.2", "the arm follows its set"
        await run.result(PATIENCE_S)
        assert (await client.arms("parcel")).arms[1].started == 2
        await client.tag("parcel", "1+audit.2", "main")
        assert (await (await client.start("parcel")).info()).arm == ""


async def test_nothing_that_was_acknowledged_is_lost_in_a_kill(tmp_path: Path) -> None:
    slow = {"APEX_LIMITS_PATCH_BATCH_S": "4", "APEX_LIMITS_PATCH_BATCH_MAX": "40"}
    process = process_in(tmp_path, slow)
    await process.start()
    client = Client(process.address)
    await client.register(workflow("parcel"))
    await client.register(workflow("parcel", "2"))
    await client.tag("parcel", "1", "main", [Arm(0.5, version="2")])
    runs = await client.start_many("parcel", [{}] * 20)
    for run in runs:
        async for _ in run.watch():
            pass
    counted = await client.arms("parcel")
    # Three batches: the kill comes while the first two are made, before the third is due.
    patches = await asyncio.gather(*(client.patch_workflow("parcel", adds(f"n{n}")) for n in range(100)))
    process.kill()
    await client.close()
    async with process_in(tmp_path, slow) as again:
        client = Client(again.address)
        made = [await decided(client, patch_id) for patch_id in patches]
        assert {patch.state for patch in made} == {"APPLIED"}
        assert sorted({patch.version for patch in made}) == ["1+patches.1", "1+patches.2", "1+patches.3"]
        info = await client.workflow("parcel")
        assert (info.version, info.tags) == ("1+patches.3", ["main"])
        assert info.definition is not None
        numbers = [int(patch.patch_id.partition("~w")[2]) for patch in made]
        in_order = [patches[numbers.index(n)] for n in sorted(numbers)]
        added = [f"n{patches.index(patch_id)}" for patch_id in in_order]
        assert [node["id"] for node in info.definition["nodes"]] == ["a", *added], "in the order of proposal"
        tag = await client.arms("parcel")
        assert [arm.completed for arm in tag.arms] == [arm.completed for arm in counted.arms]
        assert sum(arm.completed for arm in tag.arms) == 20
        await client.close()


@pytest.mark.parametrize(("policy", "said"), [("refuse", "patches.client_policy"), ("approve", "waits for nobody")])
async def test_a_policy_says_whether_clients_patch_workflows(tmp_path: Path, policy: str, said: str) -> None:
    async with served(tmp_path, {**QUICK, "APEX_PATCHES_CLIENT_POLICY": policy}) as house:
        client = house.client
        await client.register(workflow("parcel"))
        with pytest.raises(InvalidInput, match=said) as refused:
            await client.patch_workflow("parcel", adds("b"))
        assert refused.value.code == "PATCH_SECURITY_REFUSED"
        status, problem = await house.post("/definitions/parcel/patches", {"operations": adds("b"), "version": "1"})
        assert (status, problem["code"]) == (422, "PATCH_SECURITY_REFUSED")
        assert (await client.workflow_patches("parcel")).patches == []
        with pytest.raises(InvalidInput, match="only the house") as named:
            await client.patch_workflow("parcel", adds("b"), author="optimizer:mine@sha256:1")
        assert named.value.errors[0][0] == "/author"
