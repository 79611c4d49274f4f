"""Retries by class, heartbeats, dead letters and breakers, through both doors."""

import asyncio
import hashlib
from datetime import datetime
from typing import Any

import pytest

from apex_fast.client import Run
from apex_fast.errors import InvalidInput, NotFound, RunFailed, WrongState
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def one(name: str, function: str, input: Any = None, **more: Any) -> dict[str, Any]:
    """A workflow of one function node, `a`."""
    node = {"id": "a", "type": "function", "config": {"name": function}, "input": input or {}, **more}
    return {"name": name, "version": "1", "nodes": [node]}


async def started(house: Served, definition: dict[str, Any], inputs: Any = None) -> Run:
    await house.client.register(definition)
    return await house.client.start(definition["name"], inputs)


async def failed(run: Run) -> str:
    """The type of the error that it failed with."""
    with pytest.raises(RunFailed):
        await run.result(PATIENCE_S)
    return str((await run.timeline())[-1].payload["error"]["type"])


async def types(run: Run) -> list[str]:
    return [event.type for event in await run.timeline()]


async def test_a_retry_goes_on_where_the_last_heartbeat_said(house: Served) -> None:
    retry = {"max_attempts": 2, "initial_s": 0.01}
    run = await started(house, one("rows", "rows", {"count": 50, "stop_at": 30}, retry=retry))
    assert await run.result(PATIENCE_S) == {"a": {"attempt": 2, "began_at": 30}}
    events = await run.timeline()
    beats = [event for event in events if event.type == "HeartbeatRecorded"]
    [begin, *_] = [event.time for event in events if event.type == "ToolCallRequested"]
    took_s = (datetime.fromisoformat(beats[-1].time) - datetime.fromisoformat(begin)).total_seconds()
    assert beats[-1].payload["progress"] == {"next": 30}
    assert len(beats) <= 2 + took_s, "at most one a second is recorded, and the last one"


async def test_without_a_heartbeat_the_attempt_ends(house: Served) -> None:
    definition = one(
        "silent", "rows", {"count": 50, "stop_at": 30, "silent": True},
        retry={"max_attempts": 20, "initial_s": 0.01}, heartbeat_timeout_s=0.5,
    )  # fmt: skip
    run = await started(house, definition)
    output = (await run.result(PATIENCE_S))["a"]
    events = [event for event in await run.timeline() if event.type in {"HeartbeatRecorded", "ToolResultReceived"}]
    ended = [event.payload for event in events if event.type == "ToolResultReceived"]
    # The second, but for a machine that stood still for half a second.
    assert output["attempt"] == len(ended) >= 2
    assert {(one["status"], one["error"]["type"]) for one in ended[:-1]} == {("timeout", "HeartbeatTimeout")}
    before = events[: next(at for at, event in enumerate(events) if event.payload is ended[-2])]
    beats = [event.payload["progress"]["next"] for event in before if event.type == "HeartbeatRecorded"]
    assert output["began_at"] == beats[-1] > 0, "where the one before was"


async def test_a_heartbeat_of_a_cancelled_job_says_so_in_a_thread(house: Served) -> None:
    run = await started(house, one("beats", "beats_until_cancelled", heartbeat_timeout_s=30))
    async for event in run.watch():
        if event.type == "HeartbeatRecorded":
            break
    await run.cancel("enough")
    await run.ended(PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while ("done", run.id) not in {(entry.what, entry.run) for entry in house.ledger.entries()}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # it hears of the cancel with its next heartbeat


async def test_a_class_of_errors_has_its_own_policy(house: Served) -> None:
    retry = {"max_attempts": 5, "initial_s": 0.01, "by_error": [{"types": ["Hopeless"], "max_attempts": 2}]}
    run = await started(house, one("classes", "fail", retry=retry))
    assert await failed(run) == "Hopeless"
    assert (await types(run)).count("ToolCallRequested") == 2


async def test_all_attempts_together_have_a_time_limit(house: Served) -> None:
    retry = {"max_attempts": 1000, "initial_s": 0.05, "factor": 1, "jitter": 0}
    # A machine that stands still for half a second leaves an attempt unanswered; then there is more time.
    for limit_s in (0.5, 1, 2, 4, 8, 16, 32):
        run = await started(house, one(f"together-{limit_s:g}", "fail", retry=retry, schedule_to_close_s=limit_s))
        error, attempts = await failed(run), (await types(run)).count("ToolCallRequested")
        assert attempts <= limit_s / 0.05 + 2
        assert error in {"Hopeless", "Timeout"}
        if error == "Hopeless" and attempts >= 2:
            return
    raise AssertionError("no retry is scheduled that would begin too late")


async def test_dead_letters_are_listed_filtered_and_dropped(house: Served) -> None:
    run = await started(house, one("letters", "fail", {"message": "for good"}))
    await failed(run)
    found = await house.client.dead_letters(workflow="letters")
    [letter] = found.dead_letters
    assert (letter.id, letter.node, letter.function, letter.attempt) == (f"{run.id}~a", "a", "fail", 1)
    assert (letter.error_type, letter.error_message) == ("Hopeless", "for good")
    status, page = await house.get(f"/dead-letters?function=fail&run={run.id}")
    assert (status, [one["id"] for one in page["dead_letters"]]) == (200, [letter.id])
    assert (await house.client.dead_letters(run_id=run.id, function="other")).dead_letters == []
    status, dropped = await house.send("DELETE", f"/dead-letters/{letter.id}", b"")
    assert (status, dropped) == (200, {"id": letter.id, "run_id": run.id})
    assert (await house.client.dead_letters(workflow="letters")).dead_letters == []
    status, problem = await house.send("DELETE", f"/dead-letters/{letter.id}", b"")
    assert (status, problem["code"]) == (404, "DEAD_LETTER_NOT_FOUND")
    with pytest.raises(NotFound):
        await house.client.drop_dead_letter(letter.id)


async def test_a_dead_letter_is_tried_again(house: Served) -> None:
    before = {"id": "before", "type": "function", "config": {"name": "work"}, "effect": "pure"}
    definition = one("again", "fail", {"message": "for good"})
    definition["nodes"].insert(0, before)
    definition["edges"] = [{"from": "before", "to": "a"}]
    run = await started(house, definition)
    await failed(run)
    letter_id = f"{run.id}~a"
    with pytest.raises(InvalidInput) as caught:
        await house.client.retry_dead_letter(letter_id)
    assert (caught.value.code, caught.value.errors) == (
        "WRITES_NOT_ALLOWED",
        [("/nodes/1", "a writes, and would run")],
    )
    assert (await house.client.dead_letters(run_id=run.id)).dead_letters, "it stays where nothing was started"
    (status, over_http), over_grpc = await asyncio.gather(
        house.post(f"/dead-letters/{letter_id}/retry", {"allow_writes": True}),
        house.client.retry_dead_letter(letter_id, allow_writes=True),
    )
    assert (status, over_http["run_id"]) == (202, over_grpc.id), "who asks at the same time gets the same run"
    assert over_http["existing"] != over_grpc.existing
    await failed(over_grpc)
    events = await over_grpc.timeline()
    assert [event.payload["node"] for event in events if event.payload.get("copied")] == ["before"]
    assert [event.payload["node"] for event in events if event.type == "ToolCallRequested"] == ["a"]
    assert events[0].payload["origin_run"] == run.id
    listed = (await house.client.dead_letters(workflow="again")).dead_letters
    assert [letter.id for letter in listed] == [f"{over_grpc.id}~a"], "the first one left, the new run has its own"
    status, problem = await house.post(f"/dead-letters/{letter_id}/retry", {"allow_writes": True})
    assert (status, problem["code"]) == (404, "DEAD_LETTER_NOT_FOUND")


async def test_a_letter_that_a_crash_left_on_the_list_gives_the_same_run(house: Served) -> None:
    run = await started(house, one("half", "fail"))
    await failed(run)
    letter_id = f"{run.id}~a"
    # What a retry does first; then it was cut off.
    key = f"dead-letter:{hashlib.sha256(letter_id.encode()).hexdigest()}"
    begun = await run.replay("a", allow_writes=True, idempotency_key=key)
    await begun.ended(PATIENCE_S)
    again = await house.client.retry_dead_letter(letter_id, allow_writes=True)
    assert (again.id, again.existing) == (begun.id, True)
    listed = (await house.client.dead_letters(workflow="half")).dead_letters
    assert [letter.id for letter in listed] == [f"{begun.id}~a"]


async def test_a_letter_of_a_fast_run_stays(house: Served) -> None:
    await house.client.register(one("fast_letter", "fail"))
    run = await house.client.start("fast_letter", fidelity="fast")
    await run.ended(PATIENCE_S)
    [letter] = (await house.client.dead_letters(workflow="fast_letter")).dead_letters
    with pytest.raises(WrongState):
        await house.client.retry_dead_letter(letter.id, allow_writes=True)
    assert (await house.client.dead_letters(workflow="fast_letter")).dead_letters == [letter]


def opens_for(timeout_s: float) -> dict[str, Any]:
    """A breaker that opens with the second failure."""
    return {"failure_threshold": 2, "timeout_s": timeout_s}


async def test_a_breaker_opens_answers_at_once_and_closes(house: Served) -> None:
    await house.client.register(one("shaky", "shaky", {"ok": "${inputs.ok}"}, breaker=opens_for(3_600)))
    for _ in range(2):
        await failed(await house.client.start("shaky", {"ok": False}))
    [found] = [one for one in await house.client.breakers() if one.name == "shaky"]
    assert (found.state, found.failures) == ("open", 0)
    assert found.until
    refused = await house.client.start("shaky", {"ok": True})
    assert await failed(refused) == "CircuitOpen"
    events = await refused.timeline()
    assert "ToolCallRequested" not in [event.type for event in events]
    times = {event.type: event.time for event in events}
    assert times["RunStarted"] == times["ToolResultReceived"], "answered in the turn that started it"
    await house.client.register(one("shaky-too", "shaky_too", {"ok": "${inputs.ok}"}, breaker=opens_for(0.2)))
    for _ in range(2):
        await failed(await house.client.start("shaky-too", {"ok": False}))
    async with asyncio.timeout(PATIENCE_S):
        while (await (await house.client.start("shaky-too", {"ok": True})).ended(PATIENCE_S)).state != "COMPLETED":
            pass
    status, page = await house.get("/breakers")
    assert (status, [one for one in page["breakers"] if one["name"] == "shaky_too"]) == (200, [])
    async with house.http.get("/metrics") as answer:
        text = await answer.text()
    changes = [line for line in text.splitlines() if line.startswith("circuit_breaker_state_changes_total")]
    assert float(changes[0].split()[-1]) >= 3


async def test_a_fallback_stands_in(house: Served) -> None:
    breaker = {"failure_threshold": 1, "timeout_s": 60, "fallback": {"cached": True}}
    definition = one("cached", "number", {"value": "${inputs.value}"}, breaker=breaker)
    await house.client.register(definition)
    good = await house.client.start("cached", {"value": 7})
    assert await good.result(PATIENCE_S) == {"a": 7}
    other = one("cached-breaks", "number", {"value": "${inputs.value}"}, breaker=breaker, timeout_s=0.000001)
    await house.client.register(other)
    await failed(await house.client.start("cached-breaks", {"value": 8}))
    again = await house.client.start("cached", {"value": 7})
    assert await again.result(PATIENCE_S) == {"a": 7}
    [result] = [event.payload for event in await again.timeline() if event.type == "ToolResultReceived"]
    assert result["fallback"] is True
    assert await failed(await house.client.start("cached", {"value": 9})) == "CircuitOpen"


async def test_refusals_are_counted_whoever_makes_them(house: Served) -> None:
    async def count() -> float:
        async with house.http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        name = 'requests_refused_total{code="WORKFLOW_NOT_FOUND",transport="grpc"}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = await count()
    with pytest.raises(NotFound):
        await house.client.start("there-is-none")
    assert await count() == before + 1
