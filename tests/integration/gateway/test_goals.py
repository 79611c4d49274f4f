"""Goals: planned, registered once, started, through three doors."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apex_fast import App
from apex_fast.wire.apex.v1 import common_pb2, run_pb2
from tests.integration.gateway.conftest import Gateway, opened
from tests.integration.gateway.test_envelopes import ENVELOPE

GOAL = "Book flight to Paris tomorrow and send confirmation to john@example.com"


def tools() -> App:
    app = App()

    @app.function(effect="read")
    async def search_flights(**values: Any) -> dict[str, Any]:
        return {"best": {"id": "F1", **values}}

    @app.function(effect="write", compensation="cancel_flight")
    async def book_flight(**values: Any) -> dict[str, Any]:
        return {"id": "B1", "confirmation": "B1", **values}

    @app.function(effect="write")
    async def cancel_flight(**_values: Any) -> None: ...

    @app.function(effect="write")
    async def send_email(**values: Any) -> dict[str, Any]:
        return {"sent": True, **values}

    return app


@pytest.fixture
async def planning() -> AsyncIterator[Gateway]:
    async for house in opened(tools(), threading.Event()):
        yield house


async def test_a_goal_becomes_a_run(planning: Gateway) -> None:
    answer = await planning.call("SubmitGoal", goal=GOAL, idempotency_key="g")
    again = await planning.call("SubmitGoal", goal=GOAL, idempotency_key="g")
    assert (again.run_id, again.existing) == (answer.run_id, True)
    assert answer.source == run_pb2.SubmitGoalResponse.SOURCE_CACHE
    slots = {entity.slot: entity.text for entity in answer.entities}
    assert slots == {"LOCATION": "Paris", "DATE": "tomorrow", "EMAIL": "john@example.com"}
    for entity in answer.entities:
        assert GOAL[entity.start : entity.end] == entity.text
    run = await planning.call("GetRun", run_id=answer.run_id, wait=True)
    assert run.state == common_pb2.RUN_STATE_COMPLETED
    assert run.goal == GOAL
    events = [event.type async for event in planning.watch(answer.run_id)]
    assert events[:3] == ["GoalReceived", "PlanGenerated", "RunStarted"]
    assert json.loads(run.inputs_json)["EMAIL"] == "john@example.com"


async def test_the_same_goal_by_http_and_by_envelope(planning: Gateway) -> None:
    async with planning.http.post("/runs", json={"goal": GOAL}, headers={"Idempotency-Key": "h"}) as response:
        body = await response.json()
        assert (response.status, body["source"]) == (202, "cache")
    envelope = {**ENVELOPE, "payload": {"goal": GOAL}}
    runs = set()
    for _ in range(2):
        async with planning.http.post("/workflows", json=envelope) as response:
            assert response.status == 202
            accepted = await response.json()
            assert response.headers["location"] == accepted["statusUrl"]
            runs.add(accepted["workflowId"])
    assert len(runs) == 1
    async with planning.http.get(accepted["statusUrl"]) as response:
        assert (await response.json())["correlation_id"] == "corr-1"


async def test_many_goals_at_once_register_their_plan_once(planning: Gateway) -> None:
    answers = await asyncio.gather(*(planning.call("SubmitGoal", goal=GOAL) for _ in range(30)))
    assert len({answer.run_id for answer in answers}) == 30
    listed = await planning.call("ListWorkflows")
    assert len(listed.workflows) == 1
