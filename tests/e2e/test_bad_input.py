"""Bad input at both doors: the right status, code and pointer, and the gateway goes on."""

import asyncio
import base64
import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio
import msgspec
import pytest
import pytest_asyncio

from apex_fast.client.connection import error_from
from apex_fast.errors import ApexError, InvalidInput
from apex_fast.wire.apex.v1 import common_pb2, run_pb2, workflow_pb2
from tests.support.gateway import ROOT, Served, served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

FUZZ = ROOT / "tests" / "data" / "fuzz"
MIB = 1 << 20
BODY_BYTES_MAX = 4 * MIB
STALL_S = 1.0
STARTS = "/apex.v1.RunService/StartRuns"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One gateway for all: each test shows that it went on after what the one before did to it."""
    settings = {"APEX_FUNCTIONS_STALL_TIMEOUT_S": str(STALL_S), "APEX_FUNCTIONS_CANCEL_GRACE_S": "0.2"}
    async with served(tmp_path_factory.mktemp("bad_input"), {**settings, "APEX_SERVER_GRACE_S": "1"}) as gateway:
        yield gateway


# --- requests -------------------------------------------------------------------------------------------------------

ENVELOPE: dict[str, Any] = {
    "eventId": "e-1",
    "correlationId": "c-1",
    "idempotencyKey": "k-1",
    "tenantId": "default",
    "eventType": "orchestrator:agent.goal_received",
    "payload": {"goal": "do what no template knows"},
    "timestamp": "2026-01-01T00:00:00Z",
    "source": "tests",
    "trace": {"traceId": "t", "spanId": "s"},
    "schemaVersion": "1.0.0",
}


def start(inputs: bytes) -> bytes:
    """A start with inputs as they are."""
    return b'{"workflow":"says","inputs":' + inputs + b"}"


def envelope(**changed: Any) -> bytes:
    """An envelope with fields changed; None takes a field away."""
    return json.dumps({k: v for k, v in {**ENVELOPE, **changed}.items() if v is not None}).encode()


@dataclass(frozen=True)
class Bad:
    """A request over HTTP and how it is refused."""

    name: str
    path: str
    body: bytes
    status: int
    code: str
    pointer: str | None = None
    """None: the refusal names no place."""
    headers: tuple[tuple[str, str], ...] = ()


VALUES: list[tuple[str, bytes, str]] = [
    ("NaN", b'{"value":NaN}', "/value"),
    ("infinity", b'{"value":[1,-Infinity]}', "/value/1"),
    ("lone surrogate", b'{"value":"\\ud800"}', "/value"),
    ("lone low surrogate", b'{"value":{"a":"x\\udc00y"}}', "/value/a"),
    ("lone surrogate as name", b'{"value":{"\\ud800":1}}', "/value"),
    ("raw surrogate", b'{"value":"\xed\xa0\x80"}', ""),
    ("not UTF-8", b'{"value":"\xff"}', ""),
    ("name twice", b'{"value":1,"value":2}', "/value"),
    ("beyond int64", b'{"value":9223372036854775808}', "/value"),
    ("beyond double", b'{"value":1e400}', "/value"),
    ("control character", b'{"value":"\x00"}', "/value"),
    ("unfinished", b'{"value":', "/value"),
    ("100,000 lists", b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "/value" + "/0" * 127),
    ("100,000 objects", b'{"value":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "/value" + "/a" * 127),
]
"""Inputs that are no values, and the place within them."""

BAD: list[Bad] = [
    Bad("empty", "/runs", b"", 400, "INVALID_INPUT", ""),
    Bad("malformed", "/runs", b'{"workflow": "says",', 400, "BAD_JSON", "/workflow"),
    Bad("not JSON", "/runs", b"workflow=says", 400, "BAD_JSON", ""),
    Bad("no object", "/runs", b"[]", 400, "INVALID_INPUT", ""),
    Bad("unknown field", "/runs", b'{"workflow":"says","inputz":{}}', 400, "INVALID_INPUT", "/inputz"),
    Bad("wrong type", "/runs", b'{"workflow":7}', 400, "INVALID_INPUT", "/workflow"),
    Bad("wrong priority", "/runs", b'{"workflow":"says","priority":"urgent"}', 400, "INVALID_INPUT", "/priority"),
    Bad("wrong label", "/runs", b'{"workflow":"says","labels":{"a":1}}', 400, "INVALID_INPUT", "/labels"),
    Bad("inputs no object", "/runs", start(b"[1]"), 400, "INVALID_INPUT", "/inputs"),
    Bad("goal and inputs", "/runs", b'{"goal":"x","inputs":{"a":1}}', 400, "INVALID_INPUT", "/inputs"),
    Bad("neither", "/runs", b"{}", 400, "INVALID_INPUT", "/workflow"),
    Bad("unknown workflow", "/runs", b'{"workflow":"nobody"}', 404, "WORKFLOW_NOT_FOUND"),
    Bad("long key", "/runs", start(b"{}")[:-1] + b',"idempotency_key":"' + b"k" * 256 + b'"}',
        400, "INVALID_INPUT", "/idempotency_key"),
    Bad("media type", "/runs", start(b"{}"), 415, "MEDIA_TYPE_UNSUPPORTED", None, (("content-type", "text/plain"),)),
    Bad("64 MiB", "/runs", start(b'{"value":"' + b"x" * (64 * MIB) + b'"}'), 413, "BODY_TOO_LARGE"),
    Bad("a byte too much", "/runs", b" " * (BODY_BYTES_MAX + 1), 413, "BODY_TOO_LARGE"),
    *(Bad(name, "/runs", start(inputs), 400, "BAD_JSON", "/inputs" + pointer if pointer else "")
      for name, inputs, pointer in VALUES if name != "unfinished"
      and not name.startswith("100,000")),
    Bad("100,000 lists", "/runs", b"[" * 100_000, 400, "BAD_JSON", "/0" * 128),
    Bad("another tenant", "/workflows", envelope(tenantId="other"), 403, "TENANT_MISMATCH"),
    Bad("chaos", "/workflows", envelope(chaos={"kill": 1}), 403, "CHAOS_REFUSED"),
    Bad("major version", "/workflows", envelope(schemaVersion="2.0.0"),
        400, "SCHEMA_VERSION_UNSUPPORTED", "/schemaVersion"),
    Bad("no version", "/workflows", envelope(schemaVersion="one"), 400, "INVALID_INPUT", "/schemaVersion"),
    Bad("version as number", "/workflows", envelope(schemaVersion=1), 400, "INVALID_INPUT", "/schemaVersion"),
    Bad("timestamp", "/workflows", envelope(timestamp="soon"), 400, "INVALID_INPUT", "/timestamp"),
    Bad("event type", "/workflows", envelope(eventType="orchestrator:agent.slept"),
        422, "EVENT_TYPE_UNSUPPORTED", "/eventType"),
    Bad("no goal", "/workflows", envelope(payload={}), 400, "INVALID_INPUT", "/payload/goal"),
    Bad("goal no text", "/workflows", envelope(payload={"goal": 7}), 400, "INVALID_INPUT", "/payload/goal"),
    Bad("empty trace", "/workflows", envelope(trace={}), 400, "INVALID_INPUT", "/trace/traceId"),
    Bad("field too much", "/workflows", envelope(extra=1), 400, "INVALID_INPUT", "/extra"),
    *(Bad(f"without {field}", "/workflows", envelope(**{field: None}), 400, "INVALID_INPUT", f"/{field}")
      for field in ENVELOPE),
    Bad("no plan", "/workflows", envelope(), 422, "PLAN_NOT_FOUND"),
]  # fmt: skip


def check_problem(case: Bad, status: int, problem: dict[str, Any]) -> None:
    assert (status, problem["code"]) == (case.status, case.code), problem
    assert problem["status"] == case.status
    assert problem["type"] in {f"urn:apex:problem:{case.code}", "about:blank"}
    assert problem["title"]
    pointers = [error["pointer"] for error in problem.get("errors", [])]
    assert pointers == ([] if case.pointer is None else [case.pointer]), problem


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
async def test_requests_over_http(house: Served, case: Bad) -> None:
    check_problem(case, *await house.post(case.path, case.body, **dict(case.headers)))
    await house.goes_on()


@pytest.mark.parametrize(("name", "inputs", "pointer"), VALUES, ids=[name for name, _, _ in VALUES])
async def test_inputs_over_grpc(house: Served, name: str, inputs: bytes, pointer: str) -> None:
    request = run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name="says"), inputs_json=inputs)
    code, error = await refused(house, "RunService/StartRun", request.SerializeToString())
    assert (code, error.code) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_JSON"), name
    assert pointers_of(error) == ["/inputs_json" + pointer]
    await house.goes_on()


async def refused(house: Served, method: str, message: bytes) -> tuple[grpc.StatusCode, ApexError]:
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await house.grpc(method, message)
    return found.value.code(), error_from(found.value)


def pointers_of(error: ApexError) -> list[str]:
    assert isinstance(error, InvalidInput), error
    return [pointer for pointer, _ in error.errors]


METHODS = [
    *(f"RunService/{name}" for name in ("StartRun", "SubmitGoal", "GetRun", "ListRuns", "CancelRun", "GetTimeline")),
    *(f"WorkflowService/{name}Workflow" for name in ("Register", "Validate", "Get", "Tag")),
    "WorkflowService/ListWorkflows",
    *(f"ApprovalService/{name}" for name in ("ListApprovals", "ResolveApproval")),
]


@pytest.mark.parametrize("method", METHODS)
async def test_malformed_protobuf(house: Served, method: str) -> None:
    for message in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x07abc", b"\x0b" * 5_000):
        code, error = await refused(house, method, message)
        assert (code, error.code) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE"), message[:8]
    await house.goes_on()


async def test_text_that_is_not_utf8(house: Served) -> None:
    code, error = await refused(house, "RunService/GetRun", b"\x0a\x02\xc3\x28")
    assert (code, error.code) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE")
    await house.goes_on()


async def test_malformed_protobuf_ends_a_stream(house: Served) -> None:
    starts: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = house.channel.stream_stream(STARTS)
    watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = house.channel.unary_stream("/apex.v1.RunService/WatchRun")
    for call in (starts(iter([b"\xff" * 9])), watch(b"\xff" * 9)):
        with pytest.raises(grpc.aio.AioRpcError) as found:
            async for _ in call:
                pass
        assert error_from(found.value).code == "BAD_MESSAGE"
    await house.goes_on()


async def test_one_bad_start_of_many_is_refused_alone(house: Served) -> None:
    says = common_pb2.WorkflowRef(name="says")
    items = [run_pb2.StartRunRequest(workflow=says, inputs_json=inputs) for _, inputs, _ in VALUES]
    items.append(run_pb2.StartRunRequest(workflow=says, inputs_json=b'{"value":1}'))
    items.append(run_pb2.StartRunRequest(workflow=common_pb2.WorkflowRef(name="nobody")))
    items.append(run_pb2.StartRunRequest(workflow=says, priority=common_pb2.Priority.ValueType(77)))
    batch = run_pb2.StartRunsRequest(batch_id=9, items=items)
    results: dict[int, run_pb2.StartRunsResult] = {}
    starts: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = house.channel.stream_stream(STARTS)
    async for message in starts(iter([batch.SerializeToString()])):
        answer = run_pb2.StartRunsResponse.FromString(message)
        assert answer.batch_id == 9
        results.update({result.index: result for result in answer.results})
    assert sorted(results) == list(range(len(items)))
    for index, (_, _, pointer) in enumerate(VALUES):
        assert (results[index].error.code, results[index].error.pointer) == ("BAD_JSON", "/inputs_json" + pointer)
    good = len(VALUES)
    assert results[good].run_id
    assert not results[good].HasField("error")
    assert results[good + 1].error.code == "WORKFLOW_NOT_FOUND"
    assert (results[good + 2].error.code, results[good + 2].error.pointer) == ("INVALID_INPUT", "/priority")
    await house.goes_on()


async def test_64_mib_over_grpc(house: Served) -> None:
    request = run_pb2.StartRunRequest(inputs_json=b'{"value":"' + b"x" * (64 * MIB) + b'"}')
    code, error = await refused(house, "RunService/StartRun", request.SerializeToString())
    assert (code, error.code) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    await house.goes_on()


async def test_bytes_that_are_no_protocol(house: Served) -> None:
    host, _, port = house.process.address.partition(":")
    garbage = [
        b"",
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /runs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        + b"\x00\x40\x00\x01\x05\x00\x00\x00\x01" * 9,
    ]
    for sent in garbage:
        with socket.create_connection((host, int(port))) as line:
            line.settimeout(PATIENCE_S)
            answered = b""
            with suppress(OSError):  # it may hang up at any byte
                line.sendall(sent)
                line.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while part := await asyncio.to_thread(line.recv, 65_536):
                    answered += part
        assert b" 200 " not in answered[:15], sent[:60]
    await house.goes_on()


async def test_hosts_and_origins(house: Served) -> None:
    status, problem = await house.post("/runs", start(b"{}"), host="evil.example")
    assert (status, problem["code"]) == (403, "HOST_REFUSED")
    status, problem = await house.post("/runs", start(b"{}"), origin="https://evil.example")
    assert (status, problem["code"]) == (403, "ORIGIN_REFUSED")
    await house.goes_on()


# --- definitions ----------------------------------------------------------------------------------------------------


def function(node_id: str, name: str = "echo", **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "function", "config": {"name": name}, **more}


def document(**changed: Any) -> bytes:
    """Two nodes in a row, with fields changed."""
    base = {"name": "bad", "version": "1", "nodes": [function("a"), function("b")], "edges": [{"from": "a", "to": "b"}]}
    return json.dumps({**base, **changed}).encode()


def guarded(guard: str) -> bytes:
    return document(edges=[{"from": "a", "to": "b", "when": guard}])


def comprehensions(depth: int) -> str:
    inner = "true"
    for level in range(depth):
        inner = f"[1, 2].all(x{level}, {inner})"
    return inner


WHEN = "/edges/0/when"
DEEP = 100_000
DEFINITIONS: list[tuple[str, bytes, str, str]] = [
    ("malformed", b'{"name":', "BAD_JSON", "/name"),
    ("empty object", b"{}", "MISSING_FIELD", ""),
    ("list", b"[]", "WRONG_TYPE", ""),
    ("unknown field", document(bogus=1), "UNKNOWN_FIELD", "/bogus"),
    ("wrong type", document(nodes=7), "WRONG_TYPE", "/nodes"),
    ("unknown node type", document(nodes=[{"id": "a", "type": "magic"}], edges=[]), "UNKNOWN_TYPE", "/nodes/0/type"),
    ("unknown function", document(nodes=[function("a", "nope")], edges=[]), "UNKNOWN_FUNCTION",
     "/nodes/0/config/name"),
    ("id twice", document(nodes=[function("a"), function("b"), function("a")]), "DUPLICATE_ID", "/nodes/2/id"),
    ("bad id", document(nodes=[function("1 a")], edges=[]), "BAD_ID", "/nodes/0/id"),
    ("cycle", document(edges=[{"from": "a", "to": "b"}, {"from": "b", "to": "a"}]), "CYCLE", "/edges/1"),
    ("cycle of one", document(edges=[{"from": "a", "to": "b"}, {"from": "b", "to": "b"}]), "CYCLE", "/edges/1"),
    ("edge to nobody", document(edges=[{"from": "a", "to": "z"}]), "UNKNOWN_REFERENCE", "/edges/0/to"),
    ("reference to nobody", document(nodes=[function("a", input={"value": "${nodes.z.output}"}), function("b")]),
     "UNKNOWN_REFERENCE", "/nodes/0/input/value"),
    ("not upstream", document(nodes=[function("a", input={"value": "${nodes.b.output}"}), function("b")]),
     "NOT_UPSTREAM", "/nodes/0/input/value"),
    ("no expression", guarded("nodes.a.output ++ 1"), "BAD_EXPRESSION", WHEN),
    ("schema", document(inputs={"type": "nonsense"}), "BAD_SCHEMA", "/inputs/type"),
    ("pattern", document(inputs={"properties": {"a": {"pattern": "(a+"}}}), "BAD_SCHEMA",
     "/inputs/properties/a/pattern"),
    ("10,000 brackets", guarded("(" * 10_000 + "true" + ")" * 10_000), "EXPRESSION_TOO_LONG", WHEN),
    ("1,000 brackets", guarded("(" * 1_000 + "true" + ")" * 1_000), "EXPRESSION_TOO_DEEP", WHEN),
    ("10,000 lists", guarded("[" * 10_000 + "]" * 10_000), "EXPRESSION_TOO_LONG", WHEN),
    ("8,000 not closed", guarded("[" * 8_000), "EXPRESSION_TOO_DEEP", WHEN),
    ("10,000 negations", guarded("!" * 10_000 + "true"), "EXPRESSION_TOO_DEEP", WHEN),
    ("100,000 terms", guarded("+".join(["1"] * 100_000) + " > 0"), "EXPRESSION_TOO_LONG", WHEN),
    ("5,000 terms", guarded("+".join(["1"] * 5_000) + " > 0"), "EXPRESSION_TOO_LONG", WHEN),
    ("1,000 conditionals", guarded("true ? true : " * 1_000 + "true"), "EXPRESSION_TOO_DEEP", WHEN),
    ("10 comprehensions", guarded(comprehensions(10)), "EXPRESSION_TOO_COSTLY", WHEN),
    ("100,000 lists deep", b'{"name":"bad","version":"1","nodes":' + b"[" * DEEP + b"]" * DEEP + b"}",
     "LIMIT_EXCEEDED", "/nodes" + "/0" * 63),
    ("100,000 objects deep", document(nodes=[function("a", input="DEEP")], edges=[]).replace(
        b'"DEEP"', b'{"a":' * DEEP + b"1" + b"}" * DEEP), "LIMIT_EXCEEDED", "/nodes/0/input" + "/a" * 61),
    ("NaN", document(nodes=[function("a", input={"value": float("nan")})], edges=[]), "BAD_JSON",
     "/nodes/0/input/value"),
    ("lone surrogate", document(nodes=[function("a", input={"value": "\ud800"})], edges=[]), "BAD_JSON",
     "/nodes/0/input/value"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "definition", "code", "pointer"), DEFINITIONS, ids=[name for name, _, _, _ in DEFINITIONS]
)
async def test_definitions(house: Served, name: str, definition: bytes, code: str, pointer: str) -> None:
    status, problem = await house.put("/definitions/bad/1", definition)
    assert (status, problem["code"]) == (422, "DEFINITION_INVALID"), name
    found = [(error["pointer"], error["detail"].rpartition("[")[2][:-1]) for error in problem["errors"]]
    assert (pointer, code) in found

    form = common_pb2.Definition(definition_json=definition)
    register = workflow_pb2.RegisterWorkflowRequest(definition=form)
    grpc_code, error = await refused(house, "WorkflowService/RegisterWorkflow", register.SerializeToString())
    assert (grpc_code, error.code) == (grpc.StatusCode.INVALID_ARGUMENT, "DEFINITION_INVALID")
    assert pointers_of(error) == [place for place, _ in found]

    status, validated = await house.post("/definitions/validate", definition)
    assert (status, validated["valid"]) == (200, False)
    assert [(one["pointer"], one["code"]) for one in validated["diagnostics"]] == found
    diagnostics = await house.client.validate(definition)
    assert [(one.pointer, one.code) for one in diagnostics] == found
    await house.goes_on()


async def test_all_diagnostics_come_at_once(house: Served) -> None:
    definition = document(
        bogus=1, nodes=[function("a", "nope"), {"id": "b", "type": "magic"}], output="${nodes.q.output}"
    )
    diagnostics = await house.client.validate(definition)
    codes = {one.code for one in diagnostics}
    assert codes == {"UNKNOWN_FIELD", "UNKNOWN_FUNCTION", "UNKNOWN_TYPE", "UNKNOWN_REFERENCE"}


async def test_costly_guard_fails_its_run_only(house: Served) -> None:
    """A guard within every limit of its text, but over that of its evaluation."""
    many = "inputs.many"
    definition = json.loads(guarded(f"{many}.all(a, {many}.all(b, {many}.all(c, a + b + c >= 0)))"))
    await house.client.register({**definition, "name": "costly"})
    info = await (await house.client.start("costly", {"many": list(range(100))})).ended(PATIENCE_S)
    assert (info.state, info.error_code) == ("FAILED", "EXPRESSION_FAILED")
    await house.goes_on()


# --- strings and JSON -----------------------------------------------------------------------------------------------


def naughty() -> list[str]:
    lines = (FUZZ / "naughty_strings.jsonl").read_bytes().splitlines()
    return list(dict.fromkeys(json.loads(line)["s"] for line in lines))


NAUGHTY = naughty()


async def test_naughty_strings_as_inputs(house: Served) -> None:
    """Bulk over gRPC, one by one over HTTP: as a value, as a name, within a list."""
    values = [{"value": {"text": text, "in": [text], f"as {text}": 1}} for text in NAUGHTY]
    runs = await house.client.start_many("says", values)
    for value, run in zip(values, runs, strict=True):
        assert await run.result(PATIENCE_S) == {"said": value["value"]}
    for text in NAUGHTY:
        status, started = await house.post("/runs", {"workflow": "says", "inputs": {"value": text}})
        assert status == 202, started
        await house.client.run(started["run_id"]).result(PATIENCE_S)
        status, run_shown = await house.get(f"/runs/{started['run_id']}")
        assert (status, run_shown["inputs"]["value"], run_shown["output"]["said"]) == (200, text, text)
    await house.goes_on()


async def test_naughty_strings_as_labels_and_keys(house: Served) -> None:
    """Kept exactly, or refused with the place."""
    kept = 0
    for text in NAUGHTY:
        body = {"workflow": "says", "labels": {text: text}, "idempotency_key": f"label {text}"[:255]}
        status, started = await house.post("/runs", body)
        if 1 <= len(text) <= 63:
            assert status == 202, (text, started)
            _, run_shown = await house.get(f"/runs/{started['run_id']}")
            assert run_shown["labels"] == {text: text}
            info = await house.client.run(started["run_id"]).info()
            assert info.labels == {text: text}
            status, again = await house.post("/runs", body)
            assert (status, again["run_id"], again["existing"]) == (202, started["run_id"], True)
            kept += 1
        else:
            token = "/labels/" + text.replace("~", "~0").replace("/", "~1")
            assert (status, started["code"], started["errors"][0]["pointer"]) == (400, "INVALID_INPUT", token)
    assert kept > 100
    await house.goes_on()


async def test_naughty_strings_as_names(house: Served) -> None:
    """Of workflows and versions in the path, of nodes in a definition; unknown runs, tickets and methods."""
    for text in NAUGHTY:
        path_name = None if text in ("", ".", "..") or "/" in text else quote(text, safe="")
        definition = {"name": text, "version": "1", "nodes": [function("a")]}
        diagnostics = await house.client.validate(definition)
        if path_name is not None:
            status, answer = await house.put(f"/definitions/{path_name}/1", definition)
            if diagnostics:
                assert (status, answer["code"]) == (422, "DEFINITION_INVALID"), text
                assert answer["errors"][0]["pointer"] == "/name"
            else:
                assert (status, answer["name"]) == (201, text), answer
                status, found = await house.get(f"/definitions/{path_name}/1")
                assert (status, found["definition"]["name"]) == (200, text)
            status, missing = await house.get(f"/runs/{path_name}")
            assert (status, missing["code"]) == (404, "RUN_NOT_FOUND"), text
        with pytest.raises(ApexError) as unknown:
            await house.client.run(text).info()
        assert unknown.value.code == "RUN_NOT_FOUND"
        with pytest.raises(ApexError) as no_ticket:
            await house.client.resolve(text, approve=True)
        assert no_ticket.value.code == "TICKET_NOT_FOUND"
        in_nodes = await house.client.validate({"name": "n", "version": "1", "nodes": [function(text)]})
        assert not in_nodes or in_nodes[0].pointer == "/nodes/0/id", in_nodes
    await house.goes_on()


async def test_naughty_strings_as_goals(house: Served) -> None:
    """A goal that no template serves gets no plan; nothing in it is taken for anything but text."""
    for text in NAUGHTY:
        status, problem = await house.post("/runs", {"goal": text})
        assert (status, problem["code"]) in {(422, "PLAN_NOT_FOUND"), (422, "GOAL_INVALID")}, (text, problem)
        with pytest.raises(ApexError) as same:
            await house.client.submit_goal(text)
        assert same.value.code == problem["code"], text
    await house.goes_on()


async def test_json_parsing_suite(house: Served) -> None:
    """nst/JSONTestSuite: what it accepts comes back as it is, what it refuses is refused with BAD_JSON."""
    wrong = []
    with gzip.open(FUZZ / "json_parsing.jsonl.gz") as lines:
        for line in lines:
            case = json.loads(line)
            body = start(b'{"value":' + base64.b64decode(case["b64"]) + b"}")
            status, answer = await house.post("/runs", body)
            accepted = status == 202
            refused_as_json = not accepted and (status, answer["code"]) == (400, "BAD_JSON")
            if not (accepted or refused_as_json) or case["expect"] == ("reject" if accepted else "accept"):
                wrong.append((case["name"], status, answer))
            elif accepted:
                output = await house.client.run(answer["run_id"]).result(PATIENCE_S)
                if output != {"said": json.loads(base64.b64decode(case["b64"]))}:
                    wrong.append((case["name"], status, output))
    assert not wrong
    await house.goes_on()


# --- functions ------------------------------------------------------------------------------------------------------

FUNCTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("fail", {}, "Hopeless"),
    ("leaves", {}, "SystemExit"),
    ("number", {"input": {"value": "seven"}}, "InvalidArguments"),
    ("number", {"input": {"other": 7}}, "InvalidArguments"),
    ("busy_loop", {}, "FunctionStalled"),
    ("sleep_on_loop", {}, "FunctionStalled"),
    ("never", {"timeout_s": 0.3}, "Timeout"),
    ("never_in_thread", {"timeout_s": 0.3}, "Timeout"),
    ("deaf", {"timeout_s": 0.3}, "Timeout"),
    *(
        ("not_json", {"input": {"kind": kind}}, "InvalidResult")
        for kind in ("object", "nan", "infinity", "big", "surrogate", "itself", "set_of_objects", "large")
    ),
]


@pytest.mark.parametrize(
    ("name", "more", "error"),
    FUNCTIONS,
    ids=[f"{n}-{next(iter(m.get('input', {}).values()), '')}" for n, m, _ in FUNCTIONS],
)
async def test_functions(house: Served, name: str, more: dict[str, Any], error: str) -> None:
    """It fails its own node; a neighbour that is at work at the same time and one that comes later complete."""
    version = msgspec.json.encode(more).hex()[:60] or "1"
    await house.client.register({"name": f"bad-{name}", "version": version, "nodes": [function("a", name, **more)]})
    neighbour = {"name": "slow", "version": "1", "nodes": [function("a", "work", input={"pause_s": 0.2, "give": 5})]}
    await house.client.register(neighbour)
    beside = await house.client.start("slow")
    run = await house.client.start(f"bad-{name}", version=version)
    info = await run.ended(PATIENCE_S)
    assert info.state == "FAILED", info
    failed = [event.payload for event in await run.timeline() if event.type == "ToolResultReceived"][-1]
    assert failed["error"]["type"] == error, failed
    assert len(failed["error"]["message"]) < 5_000
    assert await beside.result(PATIENCE_S) == {"a": 5}
    await house.goes_on()


async def test_stuck_functions_do_not_hold_up_the_stop(tmp_path: Path) -> None:
    settings = {"APEX_FUNCTIONS_STALL_TIMEOUT_S": "1", "APEX_SERVER_GRACE_S": "0.5"}
    async with served(tmp_path, settings) as house:
        for name in ("busy_loop", "sleep_on_loop", "deaf", "never_in_thread", "never"):
            definition = {"name": name, "version": "1", "nodes": [function("a", name)]}
            await house.client.register(definition)
            await house.client.start(name)
        await house.goes_on()
        await house.close()
        async with asyncio.timeout(PATIENCE_S):
            assert await house.process.stop() == 0, house.process.log_tail()
