"""The promises of the model port, kept by litellm against a real HTTP server."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from apex_fast.adapters.litellm.model import LitellmModel, read_key
from apex_fast.adapters.memory.plan_store import MemoryPlanStore
from apex_fast.core import Recognizer
from apex_fast.planner import ModelFailed, Planner
from apex_fast.planner.asking import question
from apex_fast.ports.model import ModelError
from tests.integration.model.provider import Provider, completion, refusal
from tests.support.patience import PATIENCE_S

# What litellm and its own libraries warn about is not ours to fix.
pytestmark = pytest.mark.filterwarnings("default")

KEY = "sk-secret-0123456789"
GOAL = "Say hello to John Smith at john@example.com"
REQUEST = question(GOAL, [], {"send_email": "sends a mail"})
ANSWER = {
    "possible": True,
    "description": "Says hello",
    "steps": [
        {
            "id": "s1",
            "tool": "send_email",
            "input": [
                {"name": "to", "kind": "text", "value": "{EMAIL}"},
                {"name": "subject", "kind": "text", "value": "Hello {PERSON}"},
            ],
            "depends_on": [],
            "compensation": None,
        }
    ],
}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    server = Provider()
    await server.start()
    yield server
    await server.stop()


def model(provider: Provider, **more: Any) -> LitellmModel:
    return LitellmModel("openai/test", api_key=KEY, api_base=provider.base, **{"timeout_s": PATIENCE_S, **more})


async def fault(provider: Provider, **more: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model(provider, **more).answer(REQUEST)
    return caught.value


async def test_asks_once_with_the_schema_the_bound_and_the_key(provider: Provider) -> None:
    provider.replies = [completion(json.dumps(ANSWER))]
    said = await model(provider, tokens_max=321).answer(REQUEST)
    assert json.loads(said.text) == ANSWER
    assert (said.tokens_in, said.tokens_out) == (11, 7)
    [(headers, body)] = provider.requests
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["response_format"]["json_schema"]["schema"] == REQUEST.schema
    assert body["response_format"]["json_schema"]["strict"] is True
    assert 321 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


async def test_promise_1_a_failure_is_not_asked_again(provider: Provider) -> None:
    for reply in (refusal(500, "oh no"), refusal(429, "slow down")):
        provider.requests.clear()
        provider.replies = [reply, completion("{}"), completion("{}")]
        await fault(provider)
        assert len(provider.requests) == 1


async def test_promise_2_it_ends_within_its_time(provider: Provider) -> None:
    provider.replies = [600.0]
    async with asyncio.timeout(PATIENCE_S):
        error = await fault(provider, timeout_s=0.3)
    assert (error.fault, error.retryable) == ("TIMEOUT", True)


@pytest.mark.parametrize("content", ['{"possible": tru', "no JSON", "[1]", "", None])
async def test_promise_3_what_is_no_object_is_a_bad_answer(provider: Provider, content: str | None) -> None:
    provider.replies = [completion(content)]
    error = await fault(provider)
    assert (error.fault, error.retryable) == ("BAD_ANSWER", True)


async def test_promise_3_an_answer_cut_off_is_a_bad_answer(provider: Provider) -> None:
    provider.replies = [completion('{"possible": true}', finish="length")]
    assert "token limit" in (await fault(provider)).message


async def test_promise_3_a_reply_without_a_choice_is_a_bad_answer(provider: Provider) -> None:
    provider.replies = [completion("{}", choices=[])]
    assert (await fault(provider)).fault in ("BAD_ANSWER", "UNAVAILABLE")


async def test_promise_4_each_refusal_has_its_kind(provider: Provider) -> None:
    provider.replies = [
        refusal(429, "slow down", **{"Retry-After": "7"}),
        refusal(500, "oh no"),
        refusal(503, "later"),
        None,
        refusal(401, "bad key"),
        refusal(404, "no such model"),
        refusal(400, "bad request"),
    ]
    faults = [await fault(provider) for _ in range(7)]
    assert [error.fault for error in faults] == [
        "RATE_LIMITED",
        "UNAVAILABLE",
        "UNAVAILABLE",
        "UNAVAILABLE",
        "REFUSED",
        "REFUSED",
        "REFUSED",
    ]
    assert [error.retryable for error in faults] == [True] * 4 + [False] * 3
    assert faults[0].retry_after_s == 7.0


async def test_promise_4_a_provider_that_is_not_there_is_unavailable(provider: Provider) -> None:
    await provider.stop()
    assert (await fault(provider)).fault == "UNAVAILABLE"


async def test_promise_5_the_key_is_nowhere(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    provider.replies = [refusal(401, f"Incorrect API key provided: {KEY}")]
    error = await fault(provider)
    desk = model(provider)
    for text in (str(error), repr(error), repr(desk), str(vars(error))):
        assert KEY not in text
    assert all(KEY not in record.getMessage() for record in caplog.records if record.name.startswith("apex_fast"))


def test_a_key_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert read_key(tmp_path / "key") == KEY


def desk(provider: Provider, **more: Any) -> Planner:
    return Planner(Recognizer(), MemoryPlanStore(), model(provider, **more), {"send_email"})


async def test_a_goal_is_planned_by_the_model_and_learnt(provider: Provider) -> None:
    provider.replies = [completion(json.dumps(ANSWER))]
    planner = desk(provider)
    planned = await planner.plan(GOAL)
    assert (planned.source, planned.slots) == ("model", {"PERSON": "John Smith", "EMAIL": "john@example.com"})
    again = await planner.plan("Say hello to Anna Berg at anna@example.org")
    assert (again.source, again.slots["EMAIL"]) == ("cache", "anna@example.org")
    assert len(provider.requests) == 1


async def test_a_plan_with_an_unknown_tool_is_asked_for_again(provider: Provider) -> None:
    wrong = json.loads(json.dumps(ANSWER))
    wrong["steps"][0]["tool"] = "launch_rocket"
    provider.replies = [completion(json.dumps(wrong)), completion(json.dumps(ANSWER))]
    assert (await desk(provider).plan(GOAL)).source == "model"
    assert "launch_rocket" in provider.requests[1][1]["messages"][1]["content"]
    provider.replies = [completion(json.dumps(wrong)), completion(json.dumps(wrong))]
    with pytest.raises(ModelFailed, match="launch_rocket"):
        await desk(provider).plan(GOAL)


async def test_malformed_json_and_a_failing_provider_are_tried_again(provider: Provider) -> None:
    for first in (completion('{"possible":'), refusal(500, "oh no")):
        provider.replies = [first, completion(json.dumps(ANSWER))]
        assert (await desk(provider).plan(GOAL)).source == "model"


async def test_a_provider_that_keeps_failing_is_given_up(provider: Provider) -> None:
    provider.replies = [refusal(500, "oh no"), refusal(500, "oh no")]
    with pytest.raises(ModelFailed) as caught:
        await desk(provider).plan(GOAL)
    assert caught.value.retryable
    assert provider.replies == []
