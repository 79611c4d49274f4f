"""The registry through both doors."""

import json

import grpc
import pytest

from tests.integration.gateway.conftest import Gateway
from tests.integration.gateway.test_runs import details_of
from tests.support.definitions import chain, definition, node


def versioned(version: str, length: int = 1) -> bytes:
    body = json.loads(chain(length))
    return json.dumps({**body, "version": version}).encode()


async def test_a_version_is_registered_once_and_never_changes(gateway: Gateway) -> None:
    headers = {"content-type": "application/json"}
    for status, existing in ((201, False), (200, True)):
        async with gateway.http.put("/definitions/chain/1.0", data=versioned("1.0"), headers=headers) as response:
            body = await response.json()
            assert (response.status, body["existing"]) == (status, existing)
    async with gateway.http.put("/definitions/chain/1.0", data=versioned("1.0", 2), headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (409, "WORKFLOW_EXISTS")
    async with gateway.http.put("/definitions/other/1.0", data=versioned("1.0"), headers=headers) as response:
        problem = await response.json()
        assert (response.status, problem["errors"][0]["pointer"]) == (422, "/name")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.register(versioned("1.0", 3))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_tags_move_and_choose(gateway: Gateway) -> None:
    await gateway.register(versioned("1.0"))
    await gateway.register(versioned("2.0", 2), ("canary", "next"))
    assert (await gateway.call("GetWorkflow", workflow={"name": "chain"})).version == "1.0"
    canary = await gateway.call("GetWorkflow", workflow={"name": "chain", "tag": "canary"})
    assert (canary.version, canary.nodes, canary.edges) == ("2.0", 2, 1)
    assert sorted(canary.tags) == ["canary", "next"]
    moved = await gateway.call("TagWorkflow", name="chain", tag="main", version="2.0", expected_version="1.0")
    assert moved.previous_version == "1.0"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("TagWorkflow", name="chain", tag="main", version="1.0", expected_version="1.0")
    assert caught.value.code() is grpc.StatusCode.ABORTED
    async with gateway.http.put("/definitions/chain/tags/main", json={"version": "1.0"}) as response:
        assert (response.status, (await response.json())["previous_version"]) == (200, "2.0")
    async with gateway.http.put("/definitions/chain/tags/main", json={"version": "9"}) as response:
        assert (response.status, (await response.json())["code"]) == (404, "WORKFLOW_NOT_FOUND")
    async with gateway.http.get("/definitions/chain?tag=next") as response:
        body = await response.json()
        assert (body["version"], body["definition"]["name"]) == ("2.0", "chain")
    async with gateway.http.get("/definitions/chain/3") as response:
        assert response.status == 404
    async with gateway.http.get("/definitions?page_size=1") as response:
        page = await response.json()
        assert ([d["version"] for d in page["definitions"]], page["next_page_token"]) == (["2.0"], "1")
    listed = await gateway.call("ListWorkflows", name="chain", page_size=5)
    assert [workflow.version for workflow in listed.workflows] == ["2.0", "1.0"]


async def test_every_reason_is_named_at_once(gateway: Gateway) -> None:
    bad = definition("bad", [node("a"), node("a"), {"id": "b", "type": "odd"}], [{"from": "a", "to": "zz"}])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.register(bad)
    reason, places = details_of(caught.value)
    assert (caught.value.code(), reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DEFINITION_INVALID")
    assert len(places) >= 3
    found = await gateway.call("ValidateWorkflow", definition={"definition_json": bad})
    assert not found.valid
    assert [diagnostic.pointer for diagnostic in found.diagnostics] == places
    async with gateway.http.post("/definitions/validate", data=bad, headers={"content-type": "application/json"}) as r:
        body = await r.json()
        assert (r.status, body["valid"]) == (200, False)
        assert [diagnostic["pointer"] for diagnostic in body["diagnostics"]] == places
    good = await gateway.call("ValidateWorkflow", definition={"definition_json": chain(3)})
    assert (good.valid, good.nodes, good.edges) == (True, 3, 2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("ValidateWorkflow", definition={"definition_yaml": "workflow: {}"})
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
