"""The http node, from a definition to a real server and back."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import pytest_asyncio
from aiohttp import web

from apex_fast.client import Run
from tests.support.gateway import Served, served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "hush-6f1d"
UNHURRIED = {"APEX_HTTP_CONNECT_TIMEOUT_S": "120"}
RETRY = {"max_attempts": 4, "initial_s": 0.01, "factor": 1.0}


class Shop:
    """A server that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.counts: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        path = request.path
        self.counts[path] += 1
        match path.split("/")[1:]:
            case ["items", *_]:
                return web.json_response({"path": request.raw_path, "price": 12.5})
            case ["echo"]:
                return web.Response(body=self.bodies[-1], content_type=request.content_type)
            case ["flaky", count]:
                status = 503 if self.counts[path] < int(count) else 200
                return web.json_response({"tries": self.counts[path]}, status=status)
            case ["status", status]:
                return web.json_response({"status": int(status)}, status=int(status))
            case ["slow"]:
                await asyncio.sleep(600)
                return web.Response()
            case ["away"]:
                return web.Response(status=302, headers={"location": request.query["to"]})
            case ["broken"]:
                return web.Response(body=b'{"a":', content_type="application/json")
            case _:
                return web.Response(text="text", status=200)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[tuple[Shop, str]]:
    """The server and its address."""
    shop = Shop()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", shop.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield shop, f"{host}:{port}"
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, shop: tuple[Shop, str]) -> AsyncIterator[Served]:
    settings = {"APEX_HTTP_ALLOW_HOSTS": shop[1], "APEX_SECRET_SHOP_TOKEN": SECRET, **UNHURRIED}
    async with served(tmp_path_factory.mktemp("house"), settings) as gateway:
        yield gateway


async def ask(house: Served, inputs: dict[str, Any] | None = None, more: Any = None, **config: Any) -> Run:
    """A run of one http node."""
    node = {"id": "ask", "type": "http", "config": config, **(more or {})}
    name = f"ask-{abs(hash(json.dumps([node, inputs], sort_keys=True)))}"
    await house.client.register({"name": name, "version": "1", "nodes": [node]})
    return await house.client.start(name, inputs)


async def failure(run: Run) -> dict[str, Any]:
    """How its node failed."""
    info = await run.ended(PATIENCE_S)
    assert info.state == "FAILED", info
    error: dict[str, Any] = (await run.timeline())[-1].payload["error"]
    return error


async def test_output(house: Served, shop: tuple[Shop, str]) -> None:
    run = await ask(house, method="GET", url=f"http://{shop[1]}/items/7", query={"q": "a b", "n": 3})
    output = (await run.result(PATIENCE_S))["ask"]
    assert (output["status"], output["body"]["price"]) == (200, 12.5)
    path, _, query = output["body"]["path"].partition("?")
    assert (path, parse_qs(query)) == ("/items/7", {"q": ["a b"], "n": ["3"]})
    assert output["headers"]["content-type"].startswith("application/json")
    run = await ask(house, method="GET", url=f"http://{shop[1]}/plain")
    assert (await run.result(PATIENCE_S))["ask"]["body"] == "text"


@pytest.mark.parametrize(
    "text",
    ["a/b", "../../admin", "x?y=1#z", "%2e%2e%2f", "ü €", "a\\b", "@evil.example", ":9999/", "a b", "{}", "\t"],
)
async def test_inputs_never_form_another_address(house: Served, shop: tuple[Shop, str], text: str) -> None:
    run = await ask(house, {"id": text}, method="GET", url=f"http://{shop[1]}/items/${{inputs.id}}/end")
    path = (await run.result(PATIENCE_S))["ask"]["body"]["path"]
    start, middle, end = path[: len("/items/")], path[len("/items/") : -len("/end")], path[-len("/end") :]
    assert (start, end) == ("/items/", "/end")
    assert not set(middle) & set("/?# \\"), path


async def test_bodies(house: Served, shop: tuple[Shop, str]) -> None:
    bodies: list[Any] = [{"a": [1, None, "ü"]}, [], "text", 7, False, "", {"deep": {"er": [{}]}}]
    for body in bodies:
        run = await ask(house, {"body": body}, method="POST", url=f"http://{shop[1]}/echo", body="${inputs.body}")
        assert (await run.result(PATIENCE_S))["ask"]["body"] == body


async def test_same_key_for_each_attempt(house: Served, shop: tuple[Shop, str]) -> None:
    run = await ask(house, method="POST", url=f"http://{shop[1]}/flaky/3", more={"retry": RETRY})
    assert (await run.result(PATIENCE_S))["ask"]["body"] == {"tries": 3}
    keys = [request.headers["idempotency-key"] for request in shop[0].asked if request.path == "/flaky/3"]
    assert keys == [f'"{run.id}/ask"'] * 3
    events = await run.timeline()
    assert [e.payload["attempt"] for e in events if e.type == "ToolCallRequested"] == [1, 2, 3]
    failed = [e.payload["error"]["type"] for e in events if e.type == "ToolResultReceived" and "error" in e.payload]
    assert failed == ["ServiceUnavailable"] * 2


@pytest.mark.parametrize(("status", "name"), [(404, "NotFound"), (400, "BadRequest"), (409, "Conflict")])
async def test_status_that_no_retry_helps(house: Served, shop: tuple[Shop, str], status: int, name: str) -> None:
    run = await ask(house, method="GET", url=f"http://{shop[1]}/status/{status}", more={"retry": RETRY})
    error = await failure(run)
    assert (error["type"], shop[0].counts[f"/status/{status}"]) == (name, 1)


async def test_expected_status(house: Served, shop: tuple[Shop, str]) -> None:
    run = await ask(house, method="GET", url=f"http://{shop[1]}/status/418", expect_status=[200, 418])
    assert (await run.result(PATIENCE_S))["ask"]["status"] == 418
    run = await ask(house, method="GET", url=f"http://{shop[1]}/status/200", expect_status=[201])
    await failure(run)


async def test_timeout(house: Served, shop: tuple[Shop, str]) -> None:
    run = await ask(house, method="GET", url=f"http://{shop[1]}/slow", more={"timeout_s": 0.3})
    assert (await failure(run))["type"] == "Timeout"


async def test_answer_that_is_not_what_it_says(house: Served, shop: tuple[Shop, str]) -> None:
    run = await ask(house, method="GET", url=f"http://{shop[1]}/broken")
    assert (await failure(run))["type"] == "InvalidResponse"


async def test_nobody_there(shop: tuple[Shop, str], tmp_path: Path) -> None:
    """A refused connection is tried again, as the policy says."""
    async with served(tmp_path, {"APEX_HTTP_ALLOW_HOSTS": "127.0.0.1", **UNHURRIED}) as other:
        run = await ask(other, method="GET", url="http://127.0.0.1:9/", more={"retry": RETRY})
        assert (await failure(run))["type"] == "ConnectFailed"
        attempts = [e for e in await run.timeline() if e.type == "ToolCallRequested"]
        assert len(attempts) == 4
        # Allowed without a port: every port of it.
        run = await ask(other, method="GET", url=f"http://{shop[1]}/items/1")
        assert (await run.result(PATIENCE_S))["ask"]["status"] == 200


GUARDED = [
    "http://127.0.0.1:9/",
    "http://localhost:9/",
    "http://[::1]:9/",
    "http://[::ffff:127.0.0.1]:9/",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://0.0.0.0:9/",
    "http://127.1:9/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://metadata.google.internal/",
]


@pytest.mark.parametrize("url", GUARDED)
async def test_guard(house: Served, url: str) -> None:
    run = await ask(house, method="GET", url=url, more={"retry": RETRY})
    error = await failure(run)
    assert error["type"] == "BlockedAddress", error
    assert len([e for e in await run.timeline() if e.type == "ToolCallRequested"]) == 1, "no retry helps"


@pytest.mark.parametrize("to", ["http://127.0.0.1:9/", "http://169.254.169.254/", "http://localhost/"])
async def test_guard_looks_at_redirects(house: Served, shop: tuple[Shop, str], to: str) -> None:
    run = await ask(house, {"to": to}, method="GET", url=f"http://{shop[1]}/away?to=${{inputs.to}}")
    assert (await failure(run))["type"] == "BlockedAddress"


async def test_secrets_are_seen_by_the_server_only(house: Served, shop: tuple[Shop, str]) -> None:
    headers = {"authorization": {"secret": "shop-token"}, "x-plain": "${inputs.who}"}
    run = await ask(house, {"who": "Ada"}, method="GET", url=f"http://{shop[1]}/items/secret", headers=headers)
    await run.result(PATIENCE_S)
    request = next(r for r in shop[0].asked if r.path == "/items/secret")
    assert (request.headers["authorization"], request.headers["x-plain"]) == (SECRET, "Ada")
    run = await ask(house, method="GET", url=f"http://{shop[1]}/status/500", headers=headers | {"x-plain": "y"})
    await failure(run)
    shown = json.dumps([event.payload for event in await run.timeline()])
    assert SECRET not in shown
    assert SECRET not in house.process.log_file.read_text()
    for file in house.process.data.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
    run = await ask(house, method="GET", url=f"http://{shop[1]}/x", headers={"x": {"secret": "nobody"}})
    assert (await failure(run))["type"] == "MissingSecret"


async def test_header_that_would_split(house: Served, shop: tuple[Shop, str]) -> None:
    for text in ("a\r\nx-evil: 1", "a\nb", "a\x00b"):
        run = await ask(house, {"h": text}, method="GET", url=f"http://{shop[1]}/items/h", headers={"x": "${inputs.h}"})
        info = await run.ended(PATIENCE_S)
        assert info.state == "FAILED"
    assert not [r for r in shop[0].asked if r.path == "/items/h"]
