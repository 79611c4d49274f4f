"""EventEnvelopes: every field is checked at the door, and a good one starts a run once."""

from typing import Any

import pytest

from tests.integration.gateway.conftest import Gateway
from tests.integration.gateway.test_http import problem

ENVELOPE: dict[str, Any] = {
    "eventId": "5f2f7f1e-8a83-4bb5-9d9c-5a3a70b0a3b1",
    "correlationId": "corr-1",
    "idempotencyKey": "user-workflow-1",
    "tenantId": "default",
    "eventType": "orchestrator:agent.goal_received",
    "payload": {"goal": "unused", "user_id": "u1"},
    "timestamp": "2026-11-21T10:00:00.000Z",
    "source": "omnihub",
    "trace": {"traceId": "t", "spanId": "s", "sampled": True},
    "schemaVersion": "1.0.0",
}


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in ENVELOPE.items() if name != field}


@pytest.mark.parametrize("field", sorted(ENVELOPE))
async def test_a_missing_field_is_named(gateway: Gateway, field: str) -> None:
    found = await problem(gateway, "POST", "/workflows", json=without(field))
    assert found == (400, "INVALID_INPUT", [f"/{field}"])


@pytest.mark.parametrize(
    ("change", "status", "code", "pointer"),
    [
        ({"schemaVersion": "2.0.0"}, 400, "SCHEMA_VERSION_UNSUPPORTED", "/schemaVersion"),
        ({"schemaVersion": "one"}, 400, "INVALID_INPUT", "/schemaVersion"),
        ({"schemaVersion": 1}, 400, "INVALID_INPUT", "/schemaVersion"),
        ({"tenantId": "other"}, 403, "TENANT_MISMATCH", None),
        ({"chaos": {"duplicate": True}}, 403, "CHAOS_REFUSED", None),
        ({"eventType": "orchestrator:agent.other"}, 422, "EVENT_TYPE_UNSUPPORTED", "/eventType"),
        ({"eventType": "goal"}, 400, "INVALID_INPUT", "/eventType"),
        ({"timestamp": "yesterday"}, 400, "INVALID_INPUT", "/timestamp"),
        ({"timestamp": "2026-11-21T10:00:00"}, 400, "INVALID_INPUT", "/timestamp"),
        ({"trace": {"traceId": "t"}}, 400, "INVALID_INPUT", "/trace/spanId"),
        ({"target": []}, 400, "INVALID_INPUT", "/target"),
        ({"target": ["a", 1]}, 400, "INVALID_INPUT", "/target/1"),
        ({"source": ""}, 400, "INVALID_INPUT", "/source"),
        ({"payload": {}}, 400, "INVALID_INPUT", "/payload/goal"),
        ({"payload": []}, 400, "INVALID_INPUT", "/payload"),
        ({"payload": {"goal": 1}}, 400, "INVALID_INPUT", "/payload/goal"),
        ({"payload": {"goal": " "}}, 422, "GOAL_INVALID", "/payload/goal"),
        ({"extra": 1}, 400, "INVALID_INPUT", "/extra"),
        ({"payload": {"goal": "turn the moon into cheese by noon"}}, 422, "PLAN_NOT_FOUND", None),
    ],
)
async def test_a_wrong_field_is_named(
    gateway: Gateway, change: dict[str, Any], status: int, code: str, pointer: str | None
) -> None:
    found = await problem(gateway, "POST", "/workflows", json={**ENVELOPE, **change})
    assert found[:2] == (status, code)
    if pointer is not None:
        assert found[2] == [pointer]
