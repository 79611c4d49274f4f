"""The agent node against a real HTTP server that speaks the OpenAI protocol."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from apex_fast.client import Run
from apex_fast.errors import DefinitionInvalid
from tests.integration.model.provider import Provider, completion, refusal
from tests.support.gateway import Served, served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Provider]:
    server = Provider()
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> AsyncIterator[Served]:
    settings = {
        "APEX_PLANNER_MODEL": "openai/test",
        "APEX_PLANNER_API_BASE": provider.base,
        "APEX_PLANNER_API_KEY": "sk-secret-0123456789",
        "APEX_PLANNER_TIMEOUT_S": "5",
    }
    async with served(tmp_path_factory.mktemp("house"), settings) as gateway:
        yield gateway


def scripted(provider: Provider, *replies: web.Response | float | None) -> None:
    provider.requests.clear()
    provider.replies = list(replies)


async def run_of(house: Served, name: str, config: dict[str, Any], **more: Any) -> Run:
    node = {"id": "a", "type": "agent", "config": {"prompt": "Count ${inputs.what}", **config}, **more}
    await house.client.register({"name": name, "version": "1", "nodes": [node], "output": "${nodes.a.output}"})
    return await house.client.start(name, {"what": "sheep"})


async def test_text(house: Served, provider: Provider) -> None:
    scripted(provider, completion('{"text": "seven"}'))
    run = await run_of(house, "text", {})
    usage = {"tokens_in": 11, "tokens_out": 7}
    assert await run.result(PATIENCE_S) == {"text": "seven", "value": None, "model": "openai/test", "usage": usage}
    [(_, asked)] = provider.requests
    assert asked["messages"][1] == {"role": "user", "content": "Count sheep"}
    requested = next(event for event in await run.timeline() if event.type == "ToolCallRequested").payload
    assert (requested["kind"], requested["effect"]) == ("agent", "read")
    assert "sk-secret" not in json.dumps([event.payload for event in await run.timeline()])


async def test_a_value_that_fits_its_schema(house: Served, provider: Provider) -> None:
    scripted(provider, completion('{"n": 7}'))
    output = await (await run_of(house, "value", {"output_schema": SCHEMA, "model": "openai/other"})).result(PATIENCE_S)
    assert (output["value"], output["text"], output["model"]) == ({"n": 7}, '{"n": 7}', "openai/other")
    [(_, asked)] = provider.requests
    assert (asked["model"], asked["response_format"]["json_schema"]["schema"]) == ("other", SCHEMA)


async def test_a_schema_of_another_type_is_asked_for_as_a_member(house: Served, provider: Provider) -> None:
    scripted(provider, completion('{"value": [1, 2]}'))
    schema = {"type": "array", "items": {"type": "integer"}}
    assert (await (await run_of(house, "list", {"output_schema": schema})).result(PATIENCE_S))["value"] == [1, 2]


async def test_an_answer_that_does_not_fit_is_tried_again(house: Served, provider: Provider) -> None:
    scripted(
        provider, completion('{"n": "seven"}'), completion("no JSON"), refusal(500, "later"), completion('{"n": 7}')
    )
    retry = {"max_attempts": 4, "initial_s": 0.01}
    run = await run_of(house, "again", {"output_schema": SCHEMA}, retry=retry)
    assert (await run.result(PATIENCE_S))["value"] == {"n": 7}
    failed = [event.payload["error"] for event in await run.timeline() if event.payload.get("retry")]
    assert [error["type"] for error in failed] == ["OutputInvalid", "OutputInvalid", "ModelUnavailable"]
    assert "/n" in failed[0]["message"]


async def test_a_refusal_is_not_tried_again(house: Served, provider: Provider) -> None:
    scripted(provider, refusal(401, "bad key"))
    run = await run_of(house, "refused", {}, retry={"max_attempts": 3, "initial_s": 0.01})
    assert (await run.ended(PATIENCE_S)).state == "FAILED"
    assert (await run.timeline())[-1].payload["error"]["type"] == "ModelRefused"
    assert len(provider.requests) == 1


async def test_the_time_limit_of_the_node(house: Served, provider: Provider) -> None:
    scripted(provider, 600.0)
    run = await run_of(house, "slow", {}, timeout_s=0.3)
    assert (await run.ended(PATIENCE_S)).state == "FAILED"
    assert (await run.timeline())[-1].payload["error"]["type"] == "Timeout"


async def test_a_cancel_ends_the_question(house: Served, provider: Provider) -> None:
    scripted(provider, 600.0)
    run = await run_of(house, "cancelled", {})
    async for event in run.watch():
        if event.type == "ToolCallRequested":
            break
    await run.cancel("enough")
    assert (await run.ended(PATIENCE_S)).state == "CANCELLED"


async def test_tools_are_refused(house: Served) -> None:
    with pytest.raises(DefinitionInvalid, match="tools"):
        await run_of(house, "tools", {"tools": ["echo"]})
