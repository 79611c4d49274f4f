"""A node that failed is tried once more with an input that a model proposes: a gateway, and a provider over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from apex_fast.errors import RunFailed
from tests.integration.model.provider import Provider, completion, refusal
from tests.support.gateway import Served, served
from tests.support.patience import PATIENCE_S

DEFINITION: dict[str, Any] = {
    "name": "weather",
    "version": "1",
    "nodes": [
        {
            "id": "a",
            "type": "function",
            "config": {"name": "weather"},
            "input": {"city": "${inputs.city}"},
            "correction": {"instructions": "Use a city that exists."},
        }
    ],
}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    found = Provider()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def house(tmp_path: Path, provider: Provider) -> AsyncIterator[Served]:
    settings = {
        "APEX_PLANNER_MODEL": "openai/test",
        "APEX_PLANNER_API_BASE": provider.base,
        "APEX_PLANNER_API_KEY": "sk-test",
    }
    async with served(tmp_path, settings) as gateway:
        await gateway.client.register(DEFINITION)
        yield gateway


def proposal(input: Any, reason: str = "as told") -> str:
    return json.dumps({"input_json": json.dumps(input), "reason": reason})


async def test_the_corrected_input_is_tried(house: Served, provider: Provider) -> None:
    provider.replies = [completion(proposal({"city": "Paris"}, "it exists"))]
    run = await house.client.start("weather", {"city": "Atlantis"})
    assert await run.result(PATIENCE_S) == {"a": {"city": "Paris"}}
    [proposed] = [event.payload for event in await run.timeline() if event.type == "CorrectionProposed"]
    assert (proposed["input"], proposed["reason"], proposed["attempt"]) == ({"city": "Paris"}, "it exists", 2)
    [(_, asked)] = provider.requests
    prompt = asked["messages"][1]["content"]
    for said in ("weather", "Use a city that exists.", "Atlantis", "there is no city"):
        assert said in prompt


async def test_what_the_model_writes_is_never_evaluated(house: Served, provider: Provider) -> None:
    provider.replies = [completion(proposal({"city": "${inputs.city}"}))]
    run = await house.client.start("weather", {"city": "Paris and more"})
    with pytest.raises(RunFailed, match="no city"):
        await run.result(PATIENCE_S)
    requested = [event.payload for event in await run.timeline() if event.type == "ToolCallRequested"]
    assert requested[-1]["input"] == {"city": "${inputs.city}"}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (completion(proposal([1])), "no object"),
        (completion("{}"), "gave no input"),
        (refusal(401, "no"), "no correction"),
    ],
)
async def test_without_a_correction_the_node_fails_as_it_had(
    house: Served, provider: Provider, reply: Any, says: str
) -> None:
    provider.replies = [reply]
    run = await house.client.start("weather", {"city": "Atlantis"})
    with pytest.raises(RunFailed, match=says):
        await run.result(PATIENCE_S)
    assert (await run.timeline())[-1].payload["error"]["type"] == "Hopeless"
