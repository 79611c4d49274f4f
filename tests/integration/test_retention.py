"""Old segments become archives and, past the retention, go; what is left says so, and recovery does not need them."""

import asyncio
from pathlib import Path

import pytest

from apex_fast.errors import NotFound
from tests.support.gateway import served
from tests.support.patience import PATIENCE_S
from tests.support.verbs import apex

KEEPS_LITTLE = {"APEX_LOG_RETENTION_S": "0.05", "APEX_LOG_ARCHIVE_AFTER_SEGMENTS": "0"}


async def life(folder: Path, value: str, environment: dict[str, str]) -> str:
    """A gateway's life with one run, of more than a page; its stop keeps a snapshot."""
    async with served(folder, environment) as house:
        run = await house.client.start("says", {"value": value * 9_000})
        assert await run.result(PATIENCE_S) == {"said": value * 9_000}
        return run.id


async def test_archived_history_is_served_as_before(tmp_path: Path) -> None:
    runs = [await life(tmp_path, value, {"APEX_LOG_ARCHIVE_AFTER_SEGMENTS": "0"}) for value in "abcd"]
    log = tmp_path / "data" / "log"
    async with served(tmp_path) as house:
        for run_id, value in zip(runs, "abcd", strict=True):
            events = await house.client.run(run_id).timeline()
            assert [event.type for event in events][-1] == "WorkflowCompleted"
            assert (await house.client.run(run_id).info()).output == {"said": value * 9_000}
        async with house.http.get("/metrics") as answer:
            assert "engine_log_archives" in await answer.text()
    assert list(log.glob("*.archive"))
    status, written = await apex("verify", "data", folder=tmp_path)
    assert status == 0, written
    status, written = await apex("backup", "copy", folder=tmp_path)
    assert status == 0, written
    status, written = await apex("restore", "copy", "elsewhere", folder=tmp_path)
    assert status == 0, written
    assert list((tmp_path / "elsewhere" / "log").glob("*.archive"))


async def test_history_goes_when_its_time_is_over_and_the_run_says_so(tmp_path: Path) -> None:
    runs = []
    for value in "abcde":
        runs.append(await life(tmp_path, value, KEEPS_LITTLE))
        await asyncio.sleep(0.1)  # the retention itself
    async with served(tmp_path) as house:
        with pytest.raises(NotFound) as refusal:
            await house.client.run(runs[0]).timeline()
        assert refusal.value.code == "HISTORY_TRIMMED"
        status, problem = await house.get(f"/runs/{runs[0]}/timeline")
        assert (status, problem["code"]) == (410, "HISTORY_TRIMMED")
        assert (await house.client.run(runs[-1]).timeline())[-1].type == "WorkflowCompleted"
        await house.goes_on()
    status, written = await apex("verify", "data", folder=tmp_path)
    assert status == 0, written
