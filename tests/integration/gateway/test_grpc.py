"""The gRPC door beside its services: health, reflection, refusals."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)

from apex_fast.client.connection import error_from
from apex_fast.errors import DefinitionInvalid
from apex_fast.wire.apex.v1 import worker_pb2
from apex_fast.wire.grpc.health.v1 import health_pb2
from tests.integration.gateway.conftest import Gateway
from tests.integration.gateway.test_runs import details_of
from tests.support.definitions import chain


async def test_workers_cannot_connect_yet(gateway: Gateway) -> None:
    call = gateway.multi(
        "/apex.v1.WorkerService/Connect", worker_pb2.ConnectRequest, worker_pb2.ConnectResponse, "stream_stream"
    )()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [answer async for answer in call]
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert details_of(caught.value)[0] == "NOT_RUNNING_YET"


async def test_health(gateway: Gateway) -> None:
    check = gateway.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    for service in ("", "apex.v1.RunService", "grpc.health.v1.Health"):
        answer = await check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = gateway.multi(
        "/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
    )(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await gateway.door.stop(2)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_garbage_in_a_message(gateway: Gateway) -> None:
    await gateway.register(chain(1))
    raw = gateway.channel.unary_unary(
        "/apex.v1.RunService/StartRun", request_serializer=bytes, response_deserializer=bytes
    )
    for garbage in (b"\xff\xff\xff", b"\x0a\xff", b"\x1a\x02\xff\xfe"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw(garbage)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert details_of(caught.value)[0] == "BAD_MESSAGE"
    await gateway.start("chain")


@pytest.mark.parametrize(
    ("fields", "reason", "place"),
    [
        ({"workflow": {}}, "INVALID_INPUT", "/workflow/name"),
        ({"workflow": {"name": "chain"}, "inputs_json": b"{"}, "BAD_JSON", None),
        ({"workflow": {"name": "chain"}, "inputs_json": b'{"a":{"b":1,"b":2}}'}, "BAD_JSON", "/inputs_json/a/b"),
        ({"workflow": {"name": "chain"}, "inputs_json": b"1"}, "INVALID_INPUT", "/inputs_json"),
        ({"workflow": {"name": "chain"}, "priority": 9}, "INVALID_INPUT", "/priority"),
        ({"workflow": {"name": "chain"}, "idempotency_key": "k" * 256}, "INVALID_INPUT", "/idempotency_key"),
        ({"workflow": {"name": "chain"}, "labels": {"": "x"}}, "INVALID_INPUT", "/labels/"),
    ],
)
async def test_bad_starts(gateway: Gateway, fields: dict[str, Any], reason: str, place: str | None) -> None:
    await gateway.register(chain(1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("StartRun", **fields)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    found, places = details_of(caught.value)
    assert found == reason
    if place is not None:
        assert places == [place]


async def test_inputs_that_do_not_fit_the_schema(gateway: Gateway) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    await gateway.register(json.dumps({**json.loads(chain(1)), "inputs": schema}).encode())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("StartRun", workflow={"name": "chain"}, inputs_json=b'{"n": "x"}')
    reason, places = details_of(caught.value)
    assert (reason, places) == ("INPUTS_INVALID", ["/inputs_json/n"])


async def test_another_tenant_is_refused(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("ListRuns", (("apex-tenant", "other"),))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_reflection_knows_the_services(gateway: Gateway) -> None:
    def services() -> list[str]:
        with grpc.insecure_channel(gateway.address) as channel:
            return list(ProtoReflectionDescriptorDatabase(channel).get_services())

    found = await asyncio.to_thread(services)
    assert {"apex.v1.RunService", "apex.v1.PatchService", "grpc.health.v1.Health"} <= set(found)


async def test_long_refusals_fit_into_trailers(gateway: Gateway) -> None:
    """A client takes 8 KiB of trailers; beyond it every refusal would be INTERNAL."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("ResolveApproval", ticket="é" * 100_000, decision=1)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.call("GetWorkflow", workflow={"name": "n" * 100_000})
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    nodes = [{"id": f"n{i}", "type": "no such type", "why" * 300: "\u20ac" * 300} for i in range(500)]
    body = json.dumps({"name": "bad", "version": "1", "nodes": nodes}).encode()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.register(body)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = error_from(caught.value)
    assert isinstance(error, DefinitionInvalid)
    assert error.errors[0][0].startswith("/nodes/0")
    assert error.errors[-1][1].endswith("more places")
