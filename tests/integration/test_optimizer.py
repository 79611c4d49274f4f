"""The optimizer beside a gateway: what passes propose for versions, and runs that are patched while they run."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from apex_fast.client import Arm, Run
from apex_fast.errors import NotFound
from tests.support.gateway import Served, process_in, run_serve, served
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE_S
from tests.unit.optimizer.guests import saying, speaking

PAUSE_S = 0.1


def look(node: str, **more: Any) -> dict[str, Any]:
    """A read that takes its time and tells the ledger."""
    return {
        "id": node,
        "type": "function",
        "config": {"name": "look"},
        "input": {"pause_s": 0.05, "give": node},
        **more,
    }


GATE = {"id": "gate", "type": "approval", "config": {"prompt": "Go on?"}}
SHIP = {
    "id": "ship",
    "type": "function",
    "config": {"name": "work"},
    "input": {"give": ["${nodes.price.output}", "${nodes.stock.output}"]},
}
ROW: dict[str, Any] = {
    "name": "row",
    "version": "1",
    "nodes": [GATE, look("price"), look("stock"), SHIP],
    "edges": [{"from": "gate", "to": "price"}, {"from": "price", "to": "stock"}, {"from": "stock", "to": "ship"}],
    "output": "${nodes.ship.output}",
}
"""`stock` need not wait for `price`."""
LATE: dict[str, Any] = {
    "name": "late",
    "version": "1",
    "nodes": [look("price"), look("stock"), GATE, SHIP],
    "edges": [{"from": "price", "to": "stock"}, {"from": "stock", "to": "gate"}, {"from": "gate", "to": "ship"}],
    "output": "${nodes.ship.output}",
}
"""The same, but both have run when somebody is asked."""
UNHURRIED = {"APEX_OPTIMIZER_TIME_S": "60"}
"""A pass ends by fuel, however busy the machine is."""
APPLY = {
    "APEX_OPTIMIZER_POLICY": "apply",
    "APEX_OPTIMIZER_INTERVAL_S": "0.1",
    "APEX_OPTIMIZER_PROFILE_RUNS_MIN": "3",
    "APEX_OPTIMIZER_GAIN_S_MIN": "0.01",
    **UNHURRIED,
}


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    """What ``found`` gives once it gives something."""
    async with asyncio.timeout(PATIENCE_S):
        while not (value := await found()):  # noqa: ASYNC110 (of another process)
            await asyncio.sleep(PAUSE_S)
    return value


async def suggestions(house: Served, name: str, version: str = "1") -> dict[str, Any]:
    """What is proposed for a version, once the passes have answered."""

    async def ready() -> dict[str, Any] | None:
        status, said = await house.get(f"/definitions/{name}/{version}/suggestions")
        assert status == 200
        return said if said["state"] == "READY" else None

    found: dict[str, Any] = await until(ready)
    return found


async def waiting(house: Served, workflow: str, version: str = "1") -> Run:
    """A run of a version (empty: of the tag `main`) that asks somebody."""
    run = await house.client.start(workflow, version=version)
    async for event in run.watch():
        if event.type == "ApprovalRequested":
            break
    return run


async def finish(house: Served, run: Run) -> Any:
    """Let a run go on to its output."""
    await house.client.resolve(f"{run.id}~gate", approve=True)
    return await run.result(PATIENCE_S)


async def profiled(house: Served, workflow: str, runs: int) -> dict[str, Any]:
    """The profile of version 1, once it spans so many runs."""

    async def enough() -> dict[str, Any] | None:
        _, said = await house.get(f"/definitions/{workflow}/1/profile")
        return said if said["runs"] >= runs else None

    found: dict[str, Any] = await until(enough)
    return found


async def patched(run: Run) -> None:
    """Wait until the run goes on under a patch."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in run.watch():
            if event.type == "PatchApplied":
                return


async def numbers(house: Served) -> dict[tuple[str, ...], float]:
    """The optimizer's metrics: name and the values of its labels, by name, to the value."""
    async with house.http.get("/metrics") as answer:
        text = await answer.text()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("optimizer_")
    }


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, APPLY) as house:
        yield house


async def test_a_policy_is_off_unless_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "apex.toml").write_text("")
    async with served(tmp_path, {"APEX_OPTIMIZER_WORKFLOWS": "row=suggest", **UNHURRIED}) as house:
        await house.client.register(ROW)
        await house.client.register(LATE)
        _, said = await house.get("/definitions/late/1/suggestions")
        assert (said["policy"], said["state"], said["suggestions"]) == ("off", "OFF", [])
        said = await suggestions(house, "row")
        [one] = said["suggestions"]
        assert (said["policy"], said["profile_runs"], one["pass"], one["state"]) == (
            "suggest",
            0,
            "parallelize",
            "PROVED",
        )
        assert one["findings"] == [{"nodes": ["price", "stock"], "reason": "stock does not need what price gives"}]
        assert one["hash"].startswith("sha256:")
        run = await waiting(house, "row")
        status, accepted = await house.post(f"/runs/{run.id}/patch", {"operations": one["operations"]})
        assert (status, accepted["epoch"]) == (202, 1), "what is proposed applies as it is"
        assert await finish(house, run) == ["price", "stock"]
        status, problem = await house.get("/definitions/row/9/suggestions")
        assert (status, problem["code"]) == (404, "WORKFLOW_NOT_FOUND")


async def test_a_run_that_waits_is_patched_where_its_profile_says_that_it_pays(house: Served) -> None:
    await house.client.register(ROW)
    early = await waiting(house, "row")
    before = [await waiting(house, "row") for _ in range(3)]
    plain = [await finish(house, run) for run in before]
    profile = await profiled(house, "row", 3)
    assert profile["nodes"]["price"]["starts_per_run"] == 1
    assert profile["nodes"]["price"]["mean_s"] >= 0.05
    assert profile["nodes"]["price"]["output_bytes"] == len('"price"')
    assert profile["a_run"]["calls"] == 3
    assert profile["a_run"]["latency_s"] >= 0.1
    await patched(early)
    [patch] = await early.patches()
    [digest] = [one["hash"] for one in (await suggestions(house, "row"))["suggestions"]]
    assert patch.author == f"optimizer:parallelize@{digest}"
    assert patch.reason.startswith("stock does not need what price gives; expected to save 0 calls, 0 s of work, 0.0")
    definition, epoch = await early.definition()
    assert (epoch, len(definition["edges"])) == (1, 4)
    assert [await finish(house, early)] == plain[:1], "the same output"
    order = [entry.node for entry in house.ledger.started(early.id)]
    assert (sorted(order[:2]), order[2:]) == (["price", "stock"], ["ship"])

    async def measured() -> dict[str, Any] | None:
        _, said = await house.get("/definitions/row/1/suggestions")
        return said["savings"][0] if said["savings"] else None

    saving = await until(measured)
    assert (saving["passes"], saving["runs"], saving["runs_without"]) == (["parallelize"], 1, 3)
    assert saving["expected"]["latency_s"] >= 0.05
    assert saving["measured"]["calls"] == 0
    found = await numbers(house)
    # Labels by name: code, outcome, pass; of, pass.
    assert found["optimizer_patches_total", "", "applied", "parallelize"] == 2, "to the version and to the run"
    assert found["optimizer_saving_runs", "parallelize"] == 1
    assert found["optimizer_expected_saving", "latency_seconds", "parallelize"] >= 0.05
    assert ("optimizer_measured_saving", "latency_seconds", "parallelize") in found


async def test_what_has_begun_is_left_alone_and_counted(house: Served) -> None:
    await house.client.register(LATE)
    stays = await waiting(house, "late")
    for _ in range(3):
        assert await finish(house, await waiting(house, "late")) == ["price", "stock"]

    async def refused() -> float | None:
        return (await numbers(house)).get(
            ("optimizer_patches_total", "PATCH_MEANING_REFUSED", "refused", "parallelize")
        )

    assert await until(refused) == 1
    assert (await stays.info()).epoch == 0
    assert await finish(house, stays) == ["price", "stock"]
    assert await refused() == 1, "once for a run"


async def test_who_rolls_a_patch_back_does_not_get_it_again(house: Served) -> None:
    await house.client.register(ROW)
    run = await waiting(house, "row")
    for _ in range(3):
        await finish(house, await waiting(house, "row"))
    await patched(run)
    [patch] = await run.patches()
    await run.roll_back(patch.patch_id, "no")
    other = await waiting(house, "row")
    await patched(other)  # a look, or more, came by

    async def again() -> float | None:
        key = ("optimizer_patches_total", "IDEMPOTENCY_KEY_REUSED", "refused", "parallelize")
        return (await numbers(house)).get(key)

    assert await until(again) == 1
    assert (await run.info()).epoch == 2
    assert await finish(house, run) == ["price", "stock"]


async def test_a_patch_of_a_pass_survives_a_kill_and_profiles_are_made_again(tmp_path: Path) -> None:
    async with process_in(tmp_path, APPLY) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        await house.client.register(ROW)
        for _ in range(3):
            await finish(house, await waiting(house, "row"))
        run = await waiting(house, "row")
        await patched(run)
        process.kill()
        await house.close()
    async with process_in(tmp_path, APPLY) as process:
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        assert (await profiled(house, "row", 3))["runs"] == 3
        run = house.client.run(run.id)
        assert (await run.info()).epoch == 1
        other = await waiting(house, "row")
        await patched(other)
        assert await finish(house, run) == await finish(house, other) == ["price", "stock"]
        assert (await run.info()).epoch == 1
        await house.close()


def proposing(operation: dict[str, Any]) -> bytes:
    """A pass that always proposes the same, and promises much."""
    patch = {"operations": [operation], "findings": [], "expected": {"work_s": 1e6}}
    return saying(json.dumps({"patch": patch}))


async def test_a_wrong_pass_costs_nothing_but_a_count(tmp_path: Path) -> None:
    passes = tmp_path / "passes"
    passes.mkdir()
    (passes / "drops.wasm").write_bytes(proposing({"op": "remove", "path": "/nodes/3"}))
    (passes / "wrecks.wasm").write_bytes(proposing({"op": "remove", "path": "/nodes/77"}))
    (passes / "traps.wasm").write_bytes(speaking("(unreachable)"))
    (passes / "spins.wasm").write_bytes(speaking("(loop $again (br $again)) (unreachable)"))
    (passes / "babbles.wasm").write_bytes(saying("nonsense"))
    (passes / "broken.wasm").write_bytes(b"no module")
    settings = {**APPLY, "APEX_OPTIMIZER_PASSES_DIR": str(passes), "APEX_OPTIMIZER_FUEL": "200000000"}
    async with served(tmp_path, settings) as house:
        await house.client.register(ROW)
        said = await suggestions(house, "row")
        refused = {one["pass"]: one["refusal"]["code"] for one in said["suggestions"] if one["state"] == "REFUSED"}
        assert refused == {
            "drops": "PATCH_INVALID",
            "wrecks": "PATCH_INVALID",
            "traps": "TRAPPED",
            "spins": "OUT_OF_FUEL",
            "babbles": "OUTPUT_INVALID",
            "broken": "MODULE_INVALID",
        }
        assert [one["pass"] for one in said["suggestions"] if one["state"] == "PROVED"] == ["parallelize"]
        run = await waiting(house, "row")
        for _ in range(3):
            await finish(house, await waiting(house, "row"))
        await patched(run)
        assert len(await run.patches()) == 1
        assert await finish(house, run) == ["price", "stock"]
        found = await numbers(house)
        for name, code in refused.items():
            assert found["optimizer_patches_total", code, "refused", name] >= 1
        # A file that changes is another pass, at once: what it proposes now cannot be proved.
        (passes / "new").write_bytes(proposing({"op": "replace", "path": "/nodes/3/input/give", "value": "nothing"}))
        os.replace(passes / "new", passes / "drops.wasm")
        await house.client.register({**ROW, "version": "2"})
        said = await suggestions(house, "row", "2")
        assert {one["pass"]: one["refusal"]["code"] for one in said["suggestions"] if one["pass"] == "drops"} == {
            "drops": "NOT_PROVED"
        }
        await house.goes_on()


async def version_of_tag(house: Served, other_than: str, tag: str = "main") -> str:
    """Where a tag of `row` points, once that is not this version."""

    async def moved() -> str | None:
        found = (await house.client.workflow("row", tag=tag)).version
        return found if found != other_than else None

    found: str = await until(moved)
    return found


async def test_starts_by_a_tag_run_the_version_that_passes_made(house: Served) -> None:
    await house.client.register(ROW)
    assert await version_of_tag(house, "1") == "1+optimizer.1"
    made = await house.client.workflow("row", version="1+optimizer.1")
    assert made.definition is not None
    assert {(edge["from"], edge["to"]) for edge in made.definition["edges"]} == {
        ("gate", "price"),
        ("gate", "stock"),
        ("price", "ship"),
        ("stock", "ship"),
    }
    _, said = await house.get("/definitions/row/patches")
    [patch] = said["patches"]
    assert (patch["author"].partition("@")[0], patch["set"]) == ("optimizer:parallelize", "optimizer")
    by_tag, by_version = await waiting(house, "row", ""), await waiting(house, "row")
    assert ((await by_tag.info()).version, (await by_version.info()).version) == ("1+optimizer.1", "1")
    assert await finish(house, by_tag) == ["price", "stock"]
    # Somebody takes the version back, and it stays so; another tag is another matter.
    await house.client.tag("row", "1", "main")
    await house.client.tag("row", "1", "next")
    assert await version_of_tag(house, "1", "next") == "1+optimizer.1"
    assert (await house.client.workflow("row", tag="main")).version == "1"
    await house.client.tag("row", "1", "trial", [Arm(0.5, version="1+optimizer.1")])
    # A version that is rolled out later is made anew, and what runs of it take counts for the one it was made of.
    await house.client.register({**ROW, "version": "2"}, ["main"])
    assert await version_of_tag(house, "2") == "2+optimizer.1"
    assert (await house.client.workflow("row", tag="trial")).version == "1", "a test goes on as it is"
    await finish(house, await waiting(house, "row", "2"))
    await finish(house, await waiting(house, "row", ""))

    async def compared() -> dict[str, Any] | None:
        _, said = await house.get("/definitions/row/2/suggestions")
        return next((one for one in said["savings"] if one["runs"] and one["runs_without"]), None)

    saving = await until(compared)
    assert (saving["passes"], saving["runs"], saving["runs_without"]) == (["parallelize"], 1, 1)


async def test_a_person_takes_what_one_pass_proposes(tmp_path: Path) -> None:
    settings = {"APEX_OPTIMIZER_POLICY": "suggest", "APEX_OPTIMIZER_INTERVAL_S": "0.1"}
    async with served(tmp_path, settings) as house:
        await house.client.register(ROW)
        await suggestions(house, "row")
        said = await house.client.suggestions("row", "1")
        assert (said.policy, said.state, [one.pass_name for one in said.suggestions]) == (
            "suggest",
            "READY",
            ["parallelize"],
        )
        assert said.suggestions[0].reasons == ["stock does not need what price gives"]
        assert said.suggestions[0].operations[0]["op"] in {"add", "remove", "replace"}
        assert (await house.client.profile("row", "1"))["runs"] == 0
        with pytest.raises(NotFound) as nothing:
            await house.client.take_suggestion("row", "1", "dead-path")
        assert nothing.value.code == "PASS_NOT_FOUND"
        assert (await house.client.workflow("row", tag="main")).version == "1", "nothing happens by itself"
        await finish(house, await waiting(house, "row"))

        async def told() -> Any:
            said = await house.client.suggestions("row", "1")
            return said.profile_runs and said.suggestions[0].expected.latency_s

        assert await until(told) >= 0.05, "asked again with what a run took"
        patch_id = await house.client.take_suggestion("row", "1", "parallelize", tag="main")
        made = await version_of_tag(house, "1")
        status, patch = await house.get(f"/definitions/row/patches/{patch_id}")
        assert (status, patch["state"], patch["version"]) == (200, "APPLIED", made)
        assert (await suggestions(house, "row", made))["suggestions"] == []
        status, problem = await house.post("/definitions/row/1/suggestions/parallelize", {})
        assert (status, problem["code"]) == (409, "CONFLICT")
        await house.client.register({**ROW, "version": "2"})
        status, taken = await house.post("/definitions/row/2/suggestions/parallelize", {"tag": "main"})
        assert (status, taken["status_url"]) == (202, f"/definitions/row/patches/{taken['patch_id']}")
        run = await waiting(house, "row", "")
        assert (await run.info()).version == made, "a tag that points elsewhere stays"
        assert await finish(house, run) == ["price", "stock"]


async def test_where_a_person_is_to_approve_a_version_is_made_when_one_takes_it(tmp_path: Path) -> None:
    async with served(tmp_path, {**APPLY, "APEX_PATCHES_OPTIMIZER_POLICY": "approve"}) as house:
        await house.client.register(ROW)
        await suggestions(house, "row")
        patch_id = await house.client.take_suggestion("row", "1", "parallelize", tag="main")
        made = await version_of_tag(house, "1")
        patches = (await house.client.workflow_patches("row")).patches
        assert [(patch.patch_id, patch.version) for patch in patches] == [(patch_id, made)], "none but that"


async def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    done = await asyncio.to_thread(run_serve, folder=tmp_path, APEX_OPTIMIZER_PASSES_DIR="nowhere")
    assert done.returncode != 0
    assert "optimizer.passes_dir: nowhere is no folder" in done.stderr
