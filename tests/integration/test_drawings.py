"""Graphs and differences of patches, over both doors."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from apex_fast.client import Run
from apex_fast.errors import NotFound
from apex_fast.gateway import histories
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

SVG = "{http://www.w3.org/2000/svg}"


def call(node: str, **more: Any) -> dict[str, Any]:
    return {"id": node, "type": "function", "config": {"name": "work"}, "input": {"give": node}, **more}


WORKFLOW = {
    "name": "drawn",
    "version": "1",
    "nodes": [call("a"), {"id": "ask", "type": "approval", "config": {"prompt": "Go on?"}}, call("b"), call("never")],
    "edges": [
        {"from": "a", "to": "ask"},
        {"from": "ask", "to": "b"},
        {"from": "a", "to": "never", "when": "nodes.a.output == 'no'"},
    ],
}
WEIGH: list[dict[str, Any]] = [
    {"op": "add", "path": "/nodes/-", "value": call("weigh", effect="read")},
    {"op": "add", "path": "/edges/-", "value": {"from": "ask", "to": "weigh"}},
    {"op": "replace", "path": "/nodes/2/input/give", "value": "c"},
]
CHANGES = [
    '~ node b: ~ /input/give "b" → "c"',
    '+ node weigh (function) {"name":"work"}',
    "+ edge ask → weigh",
]


async def patched(house: Served) -> tuple[Run, str]:
    """A run that asks somebody, was patched, and the id of the patch."""
    await house.client.register(WORKFLOW)
    run = await house.client.start("drawn")
    async for event in run.watch():
        if event.type == "ApprovalRequested":
            break
    return run, await run.patch(WEIGH)


async def text(house: Served, path: str) -> tuple[int, str, str]:
    """Status, media type, body."""
    async with house.http.get(path) as answer:
        return answer.status, answer.content_type, await answer.text()


def words(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


async def test_what_a_patch_changed(house: Served) -> None:
    run, patch_id = await patched(house)
    later = await run.patch([{"op": "add", "path": "/nodes/-", "value": call("late")}])
    await run.roll_back(patch_id)
    # It is told as it was, whatever came after it.
    found = await run.patch_difference(patch_id)
    assert found.text.splitlines() == CHANGES
    assert found.mermaid.count("flowchart TD") == 2
    assert "+ weigh" in words(found.svg)
    status, shown = await house.get(f"/runs/{run.id}/patches/{patch_id}/diff")
    assert (status, shown["patch_id"], shown["text"]) == (200, patch_id, found.text)
    assert shown["changes"][0] == {
        "change": "changed", "what": "node", "id": "b", "at": "/input/give", "before": "b", "after": "c",
    }  # fmt: skip
    assert shown["definition_after"] == (await run.patches())[0].definition_hash
    status, kind, body = await text(house, f"/runs/{run.id}/patches/{later}/diff?format=text")
    assert (status, kind, body) == (200, "text/plain", '+ node late (function) {"name":"work"}\n')
    status, kind, body = await text(house, f"/runs/{run.id}/patches/{patch_id}/diff?format=svg")
    assert (status, kind, body) == (200, "image/svg+xml", found.svg)
    status, problem = await house.get(f"/runs/{run.id}/patches/{run.id}~p7/diff")
    assert (status, problem["code"]) == (404, "PATCH_NOT_FOUND")
    with pytest.raises(NotFound):
        await run.patch_difference(f"{run.id}~p7")
    await run.cancel()


async def test_a_run_is_drawn_with_where_its_nodes_stand(house: Served) -> None:
    run, _ = await patched(house)
    status, kind, picture = await text(house, f"/runs/{run.id}/graph")
    assert (status, kind) == (200, "image/svg+xml")
    assert {"function work · done", "approval · waiting", "function work · skipped", "+ weigh"} <= set(words(picture))
    await house.client.resolve(f"{run.id}~ask", approve=True)
    await run.result(PATIENCE_S)
    _, kind, body = await text(house, f"/runs/{run.id}/graph?format=mermaid")
    assert (kind, body.count("· done"), body.count("· skipped")) == ("text/plain", 4, 1)
    status, problem = await house.get("/runs/01890000-0000-7000-8000-000000000000/graph")
    assert (status, problem["code"]) == (404, "RUN_NOT_FOUND")
    status, problem = await house.get(f"/runs/{run.id}/graph?format=png")
    assert (status, problem["code"]) == (400, "INVALID_INPUT")


async def test_a_version_is_drawn(house: Served) -> None:
    await house.client.register(WORKFLOW)
    status, kind, picture = await text(house, "/definitions/drawn/1/graph")
    assert (status, kind) == (200, "image/svg+xml")
    assert {"a", "ask", "b", "never", "approval", "nodes.a.output == 'no'"} <= set(words(picture))
    assert (await text(house, "/definitions/drawn/1/graph?format=mermaid"))[2].startswith("flowchart TD\n")
    async with house.http.put("/definitions/drawn/tags/graph", json={"version": "1"}) as answer:
        assert answer.status == 200, "a tag may be called so"
    status, problem = await house.get("/definitions/drawn/9/graph")
    assert (status, problem["code"]) == (404, "WORKFLOW_NOT_FOUND")


async def test_a_long_history_is_read_where_its_epoch_changes(house: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "PAGE_EVENTS", 2)
    run, patch_id = await patched(house)
    second = await run.patch([{"op": "add", "path": "/nodes/-", "value": call("late")}])
    await run.roll_back(patch_id)
    third = await run.patch([{"op": "add", "path": "/nodes/-", "value": call("later")}])
    for patch, line in ((patch_id, CHANGES[1]), (second, "+ node late"), (third, "+ node later")):
        assert line in (await run.patch_difference(patch)).text
    await run.cancel()
