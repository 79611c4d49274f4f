"""Requests of `http` nodes: what is sent, what comes back, and what is never connected to."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from apex_fast.domain import Job
from apex_fast.executors.http import HttpExecutor, exchange
from apex_fast.executors.http.guard import Guard, refusal_of_address, refusal_of_host
from apex_fast.settings import HttpSettings
from tests.support.patience import PATIENCE_S

from .conftest import Desk, FakeJob, Result

FUZZ = Path(__file__).parents[2] / "data" / "fuzz" / "ssrf_urls.jsonl"
ROWS = [json.loads(line) for line in FUZZ.read_text().splitlines()]


class Names(AbstractResolver):
    """Names with the answers they give, one after the other; the last one stays. Counts every question."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked.append(host)
        answers = self.names.get(host)
        if answers is None:
            raise OSError(f"no such name: {host}")
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
        ]

    async def close(self) -> None: ...


class HttpDesk(Desk):
    """An http executor with its desk."""

    def __init__(self, resolver: Names | None = None, **settings: Any) -> None:
        super().__init__()
        self.resolver = resolver
        secrets = {("default", "token"): "s3cret"}
        self.executor = HttpExecutor(
            self.deliver,
            HttpSettings(**{"connect_timeout_s": PATIENCE_S, **settings}),
            lambda tenant, name: secrets.get((tenant, name)),
            resolver,
        )

    def start(self, *jobs: FakeJob) -> None:
        self.executor.start(cast("Sequence[Job]", jobs))

    async def ask(self, url: str, **request: Any) -> Result:
        timeout_s = request.pop("node_timeout_s", None)
        text = json.dumps({"method": "GET", "url": url, **request}).encode()
        job = FakeJob(kind="http", input=text, idempotency_key="run/node", timeout_s=timeout_s)
        self.start(job)
        return (await self.all_of([job]))[0]


Open = Callable[..., HttpDesk]


@pytest_asyncio.fixture
async def open_desk() -> AsyncIterator[Open]:
    desks: list[HttpDesk] = []

    def make(resolver: Names | None = None, **settings: Any) -> HttpDesk:
        desks.append(HttpDesk(resolver, **settings))
        return desks[-1]

    yield make
    for desk in desks:
        await desk.executor.close(0)


class Server:
    """A real server on loopback that keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.port = 0
        self.runner: web.AppRunner

    async def listen(self, host: str, port: int) -> None:
        await web.TCPSite(self.runner, host, port).start()
        self.port = self.runner.addresses[0][1]

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, **response: Any) -> None:
        async def handle(_: web.Request) -> web.StreamResponse:
            return web.Response(**response)

        self.answers[path] = handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(
            (request.method, request.path_qs, {k.lower(): v for k, v in request.headers.items()}, await request.read())
        )
        found = self.answers.get(request.path)
        return web.json_response({"path": request.path}) if found is None else await found(request)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    made.runner = web.AppRunner(app, shutdown_timeout=0.1)
    await made.runner.setup()
    await made.listen("127.0.0.1", 0)
    yield made
    await made.runner.cleanup()


# --- what is sent and what comes back ---


async def test_json_comes_back_as_a_value(open_desk: Open, server: Server) -> None:
    server.answer("/order", text='{"id": 7, "big": 9007199254740993}', content_type="application/json")
    result = await open_desk(allow_hosts=("127.0.0.1",)).ask(f"{server.base}/order?a=b%20c")
    assert result.status == "ok", result
    output = json.loads(result.value)
    assert (output["status"], output["body"]) == (200, {"id": 7, "big": 9007199254740993})
    assert output["headers"]["content-type"] == "application/json; charset=utf-8"
    method, path, headers, _ = server.requests[0]
    assert (method, path) == ("GET", "/order?a=b%20c")
    assert "idempotency-key" not in headers
    assert headers["user-agent"] == "apex_fast"


async def test_a_write_carries_the_key_the_body_and_the_secret(open_desk: Open, server: Server) -> None:
    desk = open_desk(allow_hosts=(f"127.0.0.1:{server.port}",))
    result = await desk.ask(
        f"{server.base}/x",
        method="POST",
        headers={"Authorization": {"secret": "token"}, "X-Count": 3},
        body={"a": [1, "é"]},
    )
    assert result.status == "ok", result
    _, _, headers, body = server.requests[0]
    assert json.loads(body) == {"a": [1, "é"]}
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "s3cret"
    assert headers["x-count"] == "3"
    assert headers["idempotency-key"] == '"run/node"'
    await desk.ask(f"{server.base}/y", method="PUT", body="plain text", headers={"Idempotency-Key": "mine"})
    _, _, headers, body = server.requests[1]
    assert (headers["content-type"], body, headers["idempotency-key"]) == (
        "text/plain; charset=utf-8", b"plain text", "mine",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("response", "body"),
    [
        ({"text": "hé"}, "hé"),
        ({"body": "hé".encode("latin-1"), "headers": {"Content-Type": "text/html; charset=iso-8859-1"}}, "hé"),
        ({"body": b"\xff", "headers": {"Content-Type": "text/plain; charset=nonsense"}}, "\ufffd"),
        ({"body": b"", "headers": {"Content-Type": "application/json"}}, None),
        ({"body": b"[1]", "headers": {"Content-Type": "application/problem+json"}}, [1]),
        (
            {
                "body": gzip.compress(b'{"z":1}'),
                "headers": {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            },
            {"z": 1},
        ),
        ({"status": 204}, ""),
    ],
)
async def test_bodies(open_desk: Open, server: Server, response: dict[str, Any], body: object) -> None:
    server.answer("/", **response)
    result = await open_desk(allow_hosts=("127.0.0.1",)).ask(f"{server.base}/")
    assert result.status == "ok", result
    assert json.loads(result.value)["body"] == body


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "BadRequest", False),
        (404, "NotFound", False),
        (408, "RequestTimeout", None),
        (429, "TooManyRequests", None),
        (500, "InternalServerError", None),
        (501, "NotImplemented", False),
        (503, "ServiceUnavailable", None),
        (599, "HttpStatus", None),
        (304, "NotModified", False),
    ],
)
async def test_a_status_that_was_not_expected(
    open_desk: Open, server: Server, status: int, kind: str, retryable: bool | None
) -> None:
    server.answer("/", status=status, text="the reason" if status != 304 else "", headers={"Retry-After": "7"})
    desk = open_desk(allow_hosts=("127.0.0.1",))
    result = await desk.ask(f"{server.base}/?secret=1")
    assert (result.status, result.type, result.retryable) == ("failed", kind, retryable)
    assert f"answered {status}" in result.message
    assert "retry after 7" in result.message
    assert "secret=1" not in result.message
    expected = await desk.ask(f"{server.base}/", expect_status=[status])
    assert expected.status == "ok"
    assert json.loads(expected.value)["status"] == status


async def test_a_status_outside_the_expected_fails(open_desk: Open, server: Server) -> None:
    result = await open_desk(allow_hosts=("127.0.0.1",)).ask(f"{server.base}/", expect_status=[201])
    assert (result.type, result.retryable) == ("OK", False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"method": "CONNECT"}, "method"),
        ({"method": "GET\r\nX: y"}, "method"),
        ({"headers": {"X": "a\r\nY: b"}}, "control character"),
        ({"headers": {"X": "a\0"}}, "control character"),
        ({"headers": {"X\r\nY": "a"}}, "name of a header"),
        ({"headers": {"Host": "other"}}, "not a node's to set"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "not a node's to set"),
        ({"headers": {"X": [1]}}, "neither text"),
        ({"headers": {f"X{n}": "1" for n in range(65)}}, "65 headers"),
        ({"headers": {"X": {"secret": "none"}}}, "no secret 'none'"),
        ({"url": "http://a.example/\r\nX: y"}, "percent-encoded"),
        ({"url": "http://me:pass@a.example/"}, "user or password"),
        ({"url": "ftp://a.example/"}, "http://"),
        ({"url": "http://a.example:99999/"}, "cannot be read"),
        ({"url": "http:///x"}, ""),
        ({"url": "http://a%2eexample/"}, "percent-encoded"),
        ({"url": "http://a.example/" + "x" * 9000}, "characters"),
        ({"more": 1}, "unknown field"),
        ({"url": 1}, "url"),
    ],
)
async def test_requests_that_are_never_sent(open_desk: Open, change: dict[str, Any], says: str) -> None:
    names = Names({})
    result = await open_desk(names).ask(**{"url": "http://a.example/", **change})
    assert result.status == "failed"
    assert result.type in ("InvalidRequest", "MissingSecret")
    assert result.retryable is False
    assert says in result.message
    assert "pass" not in result.message or "password" in result.message
    assert names.asked == []


# --- limits ---


async def test_a_large_response_is_cut_off(open_desk: Open, server: Server) -> None:
    server.answer("/", body=b"x" * 5_000)
    bomb = gzip.compress(b"0" * 50_000_000)
    server.answer("/bomb", body=bomb, headers={"Content-Encoding": "gzip"})
    desk = open_desk(allow_hosts=("127.0.0.1",), response_bytes_max=4_000)
    for path in ("/", "/bomb"):
        result = await desk.ask(server.base + path)
        assert (result.type, result.retryable) == ("ResponseTooLarge", False)


@pytest.mark.parametrize(
    ("headers", "body", "kind"),
    [
        ({"Content-Type": "application/json"}, b"{", "InvalidResponse"),
        ({"Content-Type": "application/json"}, b'{"a":18446744073709551616}', "InvalidResponse"),
        ({"Content-Encoding": "gzip"}, b"no gzip", "InvalidResponse"),
        ({"Content-Encoding": "br"}, b"x", "InvalidResponse"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"abc")[:-9], "ConnectionLost"),
    ],
)
async def test_a_response_that_is_not_what_it_says(
    open_desk: Open, server: Server, headers: dict[str, str], body: bytes, kind: str
) -> None:
    server.answer("/", body=body, headers=headers)
    result = await open_desk(allow_hosts=("127.0.0.1",)).ask(f"{server.base}/")
    assert (result.type, result.retryable) == (kind, None)


async def test_no_answer_in_time(open_desk: Open, server: Server) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    server.answers["/"] = slow
    assert (await open_desk(allow_hosts=("127.0.0.1",), timeout_s=0.2).ask(f"{server.base}/")).status == "timed_out"
    desk = open_desk(allow_hosts=("127.0.0.1",))
    assert (await desk.ask(f"{server.base}/", node_timeout_s=0.2)).status == "timed_out"


async def test_cancel(open_desk: Open, server: Server) -> None:
    begun = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(60)
        return web.Response()

    server.answers["/"] = slow
    desk = open_desk(allow_hosts=("127.0.0.1",), in_flight_max=1)
    text = json.dumps({"method": "GET", "url": server.base + "/"}).encode()
    first, second = FakeJob(input=text), FakeJob(input=text)
    desk.start(first, second)
    await begun.wait()
    desk.executor.cancel([second.id, first.id, 123_456_789])
    assert [result.status for result in await desk.all_of([first, second])] == ["cancelled", "cancelled"]


async def test_close_leaves_what_is_in_flight_to_the_next_owner(server: Server) -> None:
    begun = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(60)
        return web.Response()

    server.answers["/"] = slow
    desk = HttpDesk(allow_hosts=("127.0.0.1",), in_flight_max=1)
    text = json.dumps({"method": "GET", "url": server.base + "/"}).encode()
    desk.start(FakeJob(input=text), FakeJob(input=text))
    await begun.wait()
    await desk.executor.close(0.1)
    await asyncio.sleep(0.01)
    assert desk.results == {}


async def test_nobody_listens_or_hangs_up(open_desk: Open) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()

    desk = open_desk(Names({}), allow_hosts=("127.0.0.1",))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert (await desk.ask(f"http://127.0.0.1:{port}/")).type == "ConnectFailed"
    for serve, kind in ((hang_up, "ConnectionLost"), (babble, "InvalidResponse")):
        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            result = await desk.ask(f"http://127.0.0.1:{port}/")
            assert (result.type, result.retryable) == (kind, None)
    assert (await desk.ask("http://nowhere.example/")).type == "ConnectFailed"


async def test_requests_at_once_are_bounded_and_connections_reused(open_desk: Open, server: Server) -> None:
    now = most = 0
    peers: set[object] = set()

    async def count(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        await asyncio.sleep(0.002)
        now -= 1
        return web.Response()

    server.answers["/"] = count
    desk = open_desk(allow_hosts=("127.0.0.1",), in_flight_max=5)
    jobs = [FakeJob(input=json.dumps({"url": server.base + "/"}).encode()) for _ in range(60)]
    desk.start(*jobs)
    assert {result.status for result in await desk.all_of(jobs)} == {"ok"}
    assert most <= 5
    assert len(peers) <= 5


# --- redirects ---


async def test_redirects_are_followed_and_bounded(open_desk: Open, server: Server) -> None:
    server.answer("/a", status=302, headers={"Location": "/b#fragment"})
    server.answer("/b", status=307, headers={"Location": "c?x=1"})
    server.answer("/loop", status=301, headers={"Location": "/loop"})
    server.answer("/nowhere", status=301)
    desk = open_desk(allow_hosts=("127.0.0.1",))
    assert json.loads((await desk.ask(f"{server.base}/a")).value)["body"] == {"path": "/c"}
    assert server.requests[-1][1] == "/c?x=1"
    assert (await desk.ask(f"{server.base}/loop")).type == "TooManyRedirects"
    assert (await desk.ask(f"{server.base}/nowhere")).type == "TooManyRedirects"


@pytest.mark.parametrize(
    ("status", "method", "then", "keeps_body"),
    [(301, "POST", "GET", False), (302, "POST", "GET", False), (303, "PUT", "GET", False), (307, "POST", "POST", True),
     (308, "PUT", "PUT", True), (302, "PUT", "PUT", True), (303, "HEAD", "HEAD", False)],
)  # fmt: skip
async def test_the_method_after_a_redirect(
    open_desk: Open, server: Server, status: int, method: str, then: str, keeps_body: bool
) -> None:
    server.answer("/a", status=status, headers={"Location": "/b"})
    body = {} if method == "HEAD" else {"body": {"a": 1}}
    result = await open_desk(allow_hosts=("127.0.0.1",)).ask(f"{server.base}/a", method=method, **body)
    assert result.status == "ok", result
    seen_method, _, headers, seen_body = server.requests[-1]
    assert seen_method == then
    assert (seen_body == b'{"a": 1}') is keeps_body
    assert ("content-type" in headers) is keeps_body


async def test_secrets_stay_with_their_host(open_desk: Open, server: Server) -> None:
    names = Names({"one.example.com": ["127.0.0.1"], "two.example.com": ["127.0.0.1"]})
    desk = open_desk(names, allow_hosts=("one.example.com", "two.example.com"))
    one, two = (f"http://{name}.example.com:{server.port}" for name in ("one", "two"))
    server.answer("/stay", status=307, headers={"Location": "/end"})
    server.answer("/leave", status=307, headers={"Location": two + "/end"})
    headers = {"Authorization": "Bearer x", "X-Api-Key": {"secret": "token"}, "Cookie": "c=1", "X-Plain": "kept"}
    await desk.ask(one + "/stay", headers=headers)
    kept = server.requests[-1][2]
    assert (kept["authorization"], kept["x-api-key"], kept["cookie"]) == ("Bearer x", "s3cret", "c=1")
    await desk.ask(one + "/leave", headers=headers)
    left = server.requests[-1][2]
    assert left["x-plain"] == "kept"
    assert not {"authorization", "x-api-key", "cookie"} & left.keys()


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{port}/end", "http://localhost:{port}/", "//127.0.0.1:{port}/", "http://[::1]:{port}/",
     "http://2130706433:{port}/", "file:///etc/passwd", "gopher://one.example.com/", "http://rebound.example.com:{port}/",
     "http://u:p@one.example.com:{port}/", "http://one.example.com\\@127.0.0.1:{port}/"],
)  # fmt: skip
async def test_a_redirect_to_where_no_request_may_go(open_desk: Open, server: Server, location: str) -> None:
    names = Names({"one.example.com": ["127.0.0.1"], "rebound.example.com": ["127.0.0.1"], "localhost": ["127.0.0.1"]})
    desk = open_desk(names, allow_hosts=("one.example.com",))
    server.answer("/go", status=302, headers={"Location": location.format(port=server.port)})
    result = await desk.ask(f"http://one.example.com:{server.port}/go")
    assert (result.type, result.retryable) == ("BlockedAddress", False)
    assert [path for _, path, _, _ in server.requests] == ["/go"]


# --- the guard ---


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["class"] + " " + row["url"][:60])
async def test_every_known_trick_is_refused(open_desk: Open, row: dict[str, str]) -> None:
    # A resolver that gives every name the worst answer: what resolves at all resolves to where it must not.
    class Worst(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            self.names[host] = [row.get("canonical", "127.0.0.1").split()[-1]]
            return await super().resolve(host, port, family)

    result = await open_desk(Worst({})).ask(row["url"])
    assert result.status == "failed"
    assert result.type in ("BlockedAddress", "InvalidRequest")
    assert result.retryable is False


async def test_a_name_that_changes_its_address(
    open_desk: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding. 127.0.0.2 plays the public address: no packet of a test leaves the machine."""
    judge = refusal_of_address
    monkeypatch.setattr(exchange, "refusal_of_address", lambda text: None if text == "127.0.0.2" else judge(text))
    await server.listen("127.0.0.2", server.port)
    names = Names({"rebind.example.com": ["127.0.0.2", "127.0.0.1"]})
    first, second = [await open_desk(names).ask(f"http://rebind.example.com:{server.port}/") for _ in range(2)]
    assert first.status == "ok", first
    assert second.type == "BlockedAddress"
    assert names.asked == ["rebind.example.com"] * 2
    assert len(server.requests) == 1


async def test_an_allowed_host_is_not_a_way_to_another(open_desk: Open, server: Server) -> None:
    names = Names({"alias.example.com": ["127.0.0.1"], "in.corp": ["127.0.0.1"]})
    desk = open_desk(names, allow_hosts=(f"127.0.0.1:{server.port}", "*.corp"))
    assert (await desk.ask(f"{server.base}/")).status == "ok"
    assert (await desk.ask(f"http://in.corp:{server.port}/")).status == "ok"
    # The same server by a name that nobody allowed, although a connection to it lies ready in the pool.
    assert (await desk.ask(f"http://alias.example.com:{server.port}/")).type == "BlockedAddress"
    assert (await desk.ask(f"http://127.0.0.1:{server.port + 1}/")).type == "BlockedAddress"


async def test_the_environment_has_no_say(open_desk: Open, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.base)
    monkeypatch.setenv("ALL_PROXY", server.base)
    result = await open_desk(Names({})).ask("http://a.example.com/")
    assert result.type == "ConnectFailed"
    assert server.requests == []


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8",
     "64:ff9b::808:808", "2002:808:808::1"],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    assert refusal_of_address(address) is None


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.0.1", "192.0.0.8",
     "198.18.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255", "168.63.129.16", "::", "::1", "fe80::1",
     "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1",
     "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
     "100::1", "4000::1", "nonsense", ""],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert refusal_of_address(address) is not None


@given(st.ip_addresses(v=4))
def test_a_private_address_is_private_in_every_wrapping(address: Any) -> None:
    refused = refusal_of_address(str(address)) is not None
    assert refused or address.is_global
    packed = int(address)
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{packed >> 16:x}:{packed & 0xFFFF:x}",
                    f"2002:{packed >> 16:x}:{packed & 0xFFFF:x}::1"):  # fmt: skip
        assert (refusal_of_address(wrapped) is not None) is refused


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "metadata", "x.internal", "printer.local", "0x7f.1", "1.2.3",
             "1.2.3.4.", "999.1.1.1", "a..b", "-a.com", "a_.com-", "::1", "a.test"],
)  # fmt: skip
def test_hosts_that_are_nobodys(host: str) -> None:
    assert refusal_of_host(host) is not None


@pytest.mark.parametrize("host", ["example.com", "a-b.example.co.uk.", "8.8.8.8", "xn--bcher-kva.example", "_x.a.com"])
def test_hosts_that_may_be_asked_for(host: str) -> None:
    assert refusal_of_host(host) is None


def test_exceptions() -> None:
    guard = Guard(["127.0.0.1:8080", "*.internal", "[::1]:9", "Build.Example.", "10.0.0.1"])
    assert guard.allows("127.0.0.1", 8080)
    assert not guard.allows("127.0.0.1", 80)
    assert guard.allows("a.b.INTERNAL", 1)
    assert not guard.allows("internal", 1)
    assert not guard.allows("xinternal", 1)
    assert guard.allows("::1", 9)
    assert guard.allows("build.example", 443)
    assert Guard(["*"]).allows("anything", 1)
    for bad in ["", "a:b", "a:0", "a:70000", "[::1", "[::1]x", ":80"]:
        with pytest.raises(ValueError, match=r"http\.allow_hosts|expected|Octet|At least"):
            Guard([bad])
