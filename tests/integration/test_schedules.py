"""Schedules: set at either door, fired by time, once for each time, also across a kill."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from apex_fast.client import Client, ScheduleInfo
from apex_fast.errors import InvalidInput, NotFound
from tests.support.gateway import SAYS, Served, process_in
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLEEPS = {
    "name": "sleeps",
    "version": "1",
    "nodes": [{"id": "wait", "type": "timer", "config": {"duration_s": 600}}],
}


async def until(house: Served, name: str, action: str) -> ScheduleInfo:
    """The schedule once one of its times came to ``action``."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            schedule = await house.client.schedule(name)
            if schedule.last is not None and schedule.last.action == action:
                return schedule
            await asyncio.sleep(0.05)


async def labelled(client: Client, name: str) -> list[str]:
    """Ids of the runs of a schedule."""
    return [run.run_id for run in (await client.runs(labels={"schedule": name})).runs]


async def test_it_starts_runs_with_the_time_they_are_for(house: Served) -> None:
    await house.client.put_schedule("ticks", "says", every_s=1, time_input="value", labels={"team": "ops"})
    schedule = await until(house, "ticks", "started")
    assert schedule.last is not None
    info = (await house.client.run(schedule.last.run_id).ended(PATIENCE_S)).labels
    assert info == {"schedule": "ticks", "team": "ops"}
    said = await house.client.run(schedule.last.run_id).result(PATIENCE_S)
    assert datetime.fromisoformat(said["said"]) == datetime.fromisoformat(schedule.last.time)
    assert schedule.last.run_id in await labelled(house.client, "ticks")
    async with house.http.get("/metrics") as answer:
        families = list(text_string_to_metric_families(await answer.text()))
    assert {s.name: s.value for family in families for s in family.samples}["workflow_started_total"] >= 1
    await house.client.delete_schedule("ticks")
    with pytest.raises(NotFound) as refused:
        await house.client.schedule("ticks")
    assert refused.value.code == "SCHEDULE_NOT_FOUND"


async def test_while_a_run_is_open_the_next_time_is_skipped(house: Served) -> None:
    await house.client.register(SLEEPS)
    await house.client.put_schedule("slow", "sleeps", every_s=1)
    schedule = await until(house, "slow", "skipped")
    (run_id,) = await labelled(house.client, "slow")
    assert schedule.runs_open == 1
    # A pause is idempotent, and shows.
    assert (await house.client.pause_schedule("slow")).next_time == ""
    assert (await house.client.pause_schedule("slow")).paused
    await house.client.run(run_id).cancel("enough")
    assert (await house.client.resume_schedule("slow")).next_time != ""
    # Not by its last action: the time after the one that starts the next run is skipped again.
    async with asyncio.timeout(PATIENCE_S):
        while len(await labelled(house.client, "slow")) < 2:  # noqa: ASYNC110 (of another process)
            await asyncio.sleep(0.05)
    await house.client.delete_schedule("slow")


async def test_http_sets_shows_pauses_and_removes(house: Served) -> None:
    # Hours from now, so that no time of it passes while this test looks at it.
    hour = 21 if 4 <= datetime.now(UTC).hour < 12 else 9
    body = {
        "workflow": "says", "tag": "main", "inputs": {"value": 1}, "cron": f"0 {hour} * * MON-FRI",
        "time_zone": "Europe/Berlin", "overlap": "buffer_one", "jitter_s": 30, "catch_up_s": 7200, "priority": "low",
    }  # fmt: skip
    status, put = await house.put("/schedules/report", body)
    assert status == 200
    assert {name: put[name] for name in body} == body
    assert (put["paused"], put["runs_open"], "last" in put) == (False, 0, False)
    times = [datetime.fromisoformat(time) for time in put["upcoming_times"]]
    assert len(times) == 5
    assert times == sorted(times)
    assert put["next_time"] == put["upcoming_times"][0]
    assert times[0] > datetime.now(UTC)
    assert all(time.weekday() < 5 and time.hour in {hour - 2, hour - 1} for time in times)
    assert (await house.put("/schedules/report", body))[1]["changed_time"] == put["changed_time"]
    assert (await house.post("/schedules/report/pause", b""))[1]["paused"] is True
    status, page = await house.get("/schedules")
    assert status == 200
    assert [(one["name"], one["paused"]) for one in page["schedules"]] == [("report", True)]
    assert (await house.post("/schedules/report/resume", b""))[1]["next_time"] == put["next_time"]
    async with house.http.delete("/schedules/report") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    for refused in (await house.get("/schedules/report"), await house.post("/schedules/report/pause", b"")):
        assert (refused[0], refused[1]["code"]) == (404, "SCHEDULE_NOT_FOUND")


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"cron": "61 * * * *"}, "SCHEDULE_INVALID", "/cron"),
        ({"cron": "* * * * *", "every_s": 5}, "SCHEDULE_INVALID", "/cron"),
        ({"cron": ""}, "SCHEDULE_INVALID", "/cron"),
        ({"time_zone": "Mars/Olympus"}, "SCHEDULE_INVALID", "/time_zone"),
        ({"catch_up_s": -1}, "SCHEDULE_INVALID", "/catch_up_s"),
        ({"jitter_s": 1e300}, "SCHEDULE_INVALID", "/jitter_s"),
        ({"inputs": [1]}, "INVALID_INPUT", "/inputs"),
        ({"inputs": {"value": 1}, "time_input": "value"}, "SCHEDULE_INVALID", "/time_input"),
        ({"workflow": "nope"}, "WORKFLOW_NOT_FOUND", None),
        ({"workflow": "typed", "inputs": {"n": "x"}}, "INPUTS_INVALID", "/inputs/n"),
        ({"overlap": "never"}, "INVALID_INPUT", "/overlap"),
        ({"crom": "* * * * *"}, "INVALID_INPUT", "/crom"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_place(
    house: Served, change: dict[str, Any], code: str, pointer: str | None
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    await house.client.register({**SAYS, "name": "typed", "inputs": schema})
    body = {"workflow": "says", "cron": "0 9 * * *", **change}
    status, problem = await house.put("/schedules/bad", body)
    assert (status // 100, problem["code"]) == (4, code)
    if pointer is not None:
        assert [error["pointer"] for error in problem["errors"]] == [pointer]


async def test_the_client_gets_the_place_too(house: Served) -> None:
    with pytest.raises(InvalidInput) as refused:
        await house.client.put_schedule("bad", "says", cron="0 0 30 2 *")
    assert refused.value.code == "SCHEDULE_INVALID"
    assert refused.value.errors[0][0] == "/cron"


async def test_each_time_fires_once_across_kills(tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    for kill in range(3):
        async with process_in(tmp_path) as process:
            async with Client(process.address) as client:
                if not kill:
                    await client.register(SAYS)
                    await client.put_schedule("ticks", "says", every_s=1, time_input="value", overlap="allow")
                wanted = len(seen) + 2
                async with asyncio.timeout(PATIENCE_S):
                    while len(seen) < wanted:
                        for run_id in await labelled(client, "ticks"):
                            seen[run_id] = (await client.run(run_id).result(PATIENCE_S))["said"]
                        await asyncio.sleep(0.05)
            process.kill()
    assert len(set(seen.values())) == len(seen), "no two runs are for the same time"
