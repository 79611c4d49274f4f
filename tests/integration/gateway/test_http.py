"""The HTTP door beside its routes: methods, hosts, media types, problems, and the description of itself."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.gateway.conftest import Gateway
from tests.support.definitions import chain
from tests.support.patience import PATIENCE_S

JSON = {"content-type": "application/json"}


async def problem(gateway: Gateway, method: str, path: str, **more: Any) -> tuple[int, str, list[str]]:
    """Status, code and pointers of a refusal."""
    async with gateway.http.request(method, path, **more) as response:
        assert response.headers["content-type"] == "application/problem+json"
        body = await response.json(content_type=None)
        assert body["status"] == response.status
        assert body["type"] == f"urn:apex:problem:{body['code']}"
        return response.status, body["code"], [error["pointer"] for error in body.get("errors", ())]


async def test_openapi_is_valid_and_describes_every_route(gateway: Gateway) -> None:
    async with gateway.http.get("/openapi.json") as response:
        document = await response.json()
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"]["version"] == "1.2.3"
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert {("POST", "/runs"), ("POST", "/workflows"), ("GET", "/runs/{id}/events")} <= described
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    reference = (Path(__file__).parents[3] / "docs" / "reference" / "http-api.md").read_text()
    for method, path in described:
        assert f"`{method} {path}`" in reference, (method, path)


async def test_every_deferred_route_says_what_is_missing(gateway: Gateway) -> None:
    async with gateway.http.get("/openapi.json") as response:
        document = await response.json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if operation["tags"] == ["later"]:
                place = re.sub(r"\{\w+\}", "x", path)
                body: dict[str, Any] = {"json": {}} if method != "get" else {}
                assert (await problem(gateway, method, place, **body))[:2] == (501, "NOT_RUNNING_YET"), path


async def test_methods(gateway: Gateway) -> None:
    async with gateway.http.delete("/runs") as response:
        assert response.status == 405
        assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    async with gateway.http.options("/runs") as response:
        assert (response.status, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    async with gateway.http.head("/health") as response:
        assert (response.status, await response.read()) == (200, b"")
    assert (await problem(gateway, "GET", "/nothing"))[:2] == (404, "ROUTE_NOT_FOUND")
    assert (await problem(gateway, "GET", "/runs/"))[:2] == (404, "ROUTE_NOT_FOUND")


async def test_hosts_and_origins(gateway: Gateway) -> None:
    assert (await problem(gateway, "GET", "/runs", headers={"host": "evil.example"}))[:2] == (403, "HOST_REFUSED")
    evil = {"origin": "https://evil.example"}
    assert (await problem(gateway, "POST", "/runs", json={}, headers=evil))[:2] == (403, "ORIGIN_REFUSED")
    async with gateway.http.get("/runs", headers={**evil, "host": "api.example.com"}) as response:
        assert response.status == 200
        assert "access-control-allow-origin" not in response.headers


async def test_media_types(gateway: Gateway) -> None:
    for given in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""):
        found = await problem(gateway, "POST", "/runs", data=b"{}", headers={"content-type": given})
        assert found[:2] == (415, "MEDIA_TYPE_UNSUPPORTED")
    for given in ("application/json; charset=UTF-8", "Application/JSON"):
        found = await problem(gateway, "POST", "/runs", data=b"{}", headers={"content-type": given})
        assert found == (400, "INVALID_INPUT", ["/workflow"])


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"", 400, "INVALID_INPUT", ""),
        (b"{", 400, "BAD_JSON", None),
        (b'{"workflow": "chain", "inputs": {"a": NaN}}', 400, "BAD_JSON", None),
        (b'{"workflow": "chain", "inputs": {"a": 1, "a": 2}}', 400, "BAD_JSON", "/inputs/a"),
        (b'{"workflow": "chain", "inputs": {"a": "\\udc00"}}', 400, "BAD_JSON", "/inputs/a"),
        (b'{"workflow": "chain", "inputs": {"a": 123456789012345678901}}', 400, "BAD_JSON", "/inputs/a"),
        (b'{"workflow": "chain", "inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "BAD_JSON", None),
        (b'{"workflow": "chain", "inputs": []}', 400, "INVALID_INPUT", "/inputs"),
        (b'{"workflow": 7}', 400, "INVALID_INPUT", "/workflow"),
        (b'{"workflow": "chain", "colour": 1}', 400, "INVALID_INPUT", "/colour"),
        (b'{"workflow": "chain", "priority": "soon"}', 400, "INVALID_INPUT", "/priority"),
        (b'{"workflow": "chain", "version": "1", "tag": "main"}', 400, "INVALID_INPUT", "/tag"),
        (b'{"workflow": "chain", "version": "77"}', 404, "WORKFLOW_NOT_FOUND", None),
        (b'{"workflow": "nobody"}', 404, "WORKFLOW_NOT_FOUND", None),
        (b'{"goal": "   "}', 422, "GOAL_INVALID", "/goal"),
        (b'{"goal": "turn the moon into cheese by noon, quietly"}', 422, "PLAN_NOT_FOUND", None),
        (b'{"goal": "x", "inputs": {"a": 1}}', 400, "INVALID_INPUT", "/inputs"),
    ],
)
async def test_bad_starts(gateway: Gateway, body: bytes, status: int, code: str, pointer: str | None) -> None:
    await gateway.register(chain(1))
    found = await problem(gateway, "POST", "/runs", data=body, headers=JSON)
    assert found[:2] == (status, code)
    if pointer is not None:
        assert found[2] == [pointer]
    async with gateway.http.post("/runs", json={"workflow": "chain"}) as response:
        assert response.status == 202
        assert response.headers["location"] == f"/runs/{(await response.json())['run_id']}"


async def test_naughty_strings_arrive_as_they_are(gateway: Gateway) -> None:
    """What is text stays text, through JSON, log, function and back."""
    strings = [
        "${nodes.s0.output}",
        "$${x}", "'; DROP TABLE runs;--", "\u202etest\u202c", "\x00", "👩‍👩‍👧", "{LOCATION}",
        "﷽" * 200, "%s%n", "\\ud800", "</script>", "\r\nset-cookie: a=b",
    ]  # fmt: skip
    body = json.loads(chain(1, "echo"))
    body["nodes"][0]["input"] = {"values": "${inputs.values}"}
    await gateway.register(json.dumps(body).encode())
    async with gateway.http.post("/runs", json={"workflow": "echo", "inputs": {"values": strings}}) as response:
        run_id = (await response.json())["run_id"]
    await gateway.call("GetRun", run_id=run_id, wait=True)
    async with gateway.http.get(f"/runs/{run_id}") as response:
        shown = await response.json()
    assert shown["inputs"]["values"] == strings
    assert shown["output"]["s0"]["got"]["values"] == strings


async def test_garbage_hurts_nobody(gateway: Gateway) -> None:
    port = gateway.front.port
    for garbage in (
        b"\x00" * 64,
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99,
        b"\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            await reader.read()
        writer.close()
    async with gateway.http.get("/health") as response:
        assert (await response.json()) == {"status": "ok"}


async def test_operations(gateway: Gateway) -> None:
    await gateway.register(chain(1))
    await gateway.call("GetRun", run_id=await gateway.start("chain"), wait=True)
    async with gateway.http.get("/ready") as response:
        body = await response.json()
        assert (response.status, body["status"], body["dependencies"]["log"]) == (200, "ready", "ok")
    async with gateway.http.get("/metrics") as response:
        assert response.headers["content-type"].startswith("text/plain")
        text = await response.text()
    found = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert found["workflow_started_total"] == 1
    assert found["front_requests_total"] >= 3
    gateway.door.house.ready = False
    async with gateway.http.get("/ready") as response:
        assert (response.status, (await response.json())["status"]) == (503, "stopping")


async def test_numbers_and_times_that_no_offset_or_clock_reaches(gateway: Gateway) -> None:
    """Refused at the door: what the core cannot hold must not cost others their answers."""
    await gateway.register(chain(1, "far"))
    run_id = await gateway.start("far")
    for query in (f"/runs/{run_id}/events?from={2**70}", f"/runs/{run_id}/timeline?from={2**63}"):
        assert await problem(gateway, "GET", query) == (400, "INVALID_INPUT", ["/from"])
    for name in ("started_after", "started_before"):
        for moment in ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"):
            assert await problem(gateway, "GET", f"/runs?{name}={moment}") == (400, "INVALID_INPUT", [f"/{name}"])


async def test_an_answer_that_cannot_be_said_costs_no_other_its_own(gateway: Gateway) -> None:
    def numbers() -> dict[str, int]:
        # In the same turn, before the answer that asks for it: no token is as large.
        gateway.door.house.outbox.http(2**70, 200, [], b"")
        return {"asked": 1}

    gateway.door.metrics.watch("unsayable_", numbers)
    async with gateway.http.get("/metrics") as response:
        assert response.status == 200
        assert "unsayable_asked 1.0" in await response.text()
