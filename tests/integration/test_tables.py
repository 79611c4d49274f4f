"""The log as Parquet tables: read back, they say what the timelines say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]

from apex_fast.errors import RunFailed
from tests.support.gateway import python_path, served
from tests.support.patience import PATIENCE_S
from tests.support.verbs import apex

KEY = bytes(range(32)).hex()
FAILS = {"name": "fails", "version": "2", "nodes": [{"id": "f", "type": "function", "config": {"name": "fail"}}]}
WAITS = {"name": "waits", "version": "1", "nodes": [{"id": "s", "type": "signal", "config": {"name": "go"}}]}


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(parquet.read_table(folder / f"{name}.parquet").to_pylist())


@pytest.mark.parametrize("fidelity", ["full", "fast"])
async def test_tables_are_the_timelines(tmp_path: Path, fidelity: str) -> None:
    (tmp_path / "key").write_text(KEY)
    key = {"APEX_LOG_KEY_FILE": str(tmp_path / "key"), "APEX_LOG_ARCHIVE_AFTER_SEGMENTS": "0"}
    runs, timelines = [], {}
    for number in range(3):
        async with served(tmp_path, {**key, "APEX_ENGINE_FIDELITY": fidelity}) as house:
            run = await house.client.start("says", {"value": f"é{number}" * 3_000}, labels={"n": str(number)})
            await run.result(PATIENCE_S)
            runs.append(run.id)
    assert list((tmp_path / "data" / "log").glob("*.archive"))
    async with served(tmp_path, key) as house:
        await house.client.register(FAILS)
        await house.client.register(WAITS)
        failed = await house.client.start("fails", {})
        with pytest.raises(RunFailed):
            await failed.result(PATIENCE_S)
        waiting = await house.client.start("waits", {})
        for run_id in (*runs, failed.id, waiting.id):
            _, page = await house.get(f"/runs/{run_id}/timeline?limit=1000")
            timelines[run_id] = page["events"]
        # While it is served.
        status, written = await apex("history", "parquet", "out", "--json", folder=tmp_path, **key)
        assert status == 0, written
    events = rows(tmp_path / "out", "events")
    said = json.loads(written)
    assert (said["events"], said["start"]) == (len(events), 0)
    assert [event["position"] for event in events] == list(range(len(events)))
    assert {event["type"] for event in events if event["run_id"] is None} == {"WorkflowRegistered", "WorkflowTagged"}
    assert {event["tenant"] for event in events} == {"default"}
    for run_id, timeline in timelines.items():
        mine = [event for event in events if event["run_id"] == run_id]
        assert [(one["offset"], one["type"], one["epoch"]) for one in mine] == [
            (one["offset"], one["type"], one["epoch"]) for one in timeline
        ]
        assert [json.loads(one["payload"]) for one in mine] == [one["payload"] for one in timeline]
        assert [one["time"].isoformat()[:23] for one in mine] == [one["time"][:23] for one in timeline]

    table = {row["run_id"]: row for row in rows(tmp_path / "out", "runs")}
    assert said["runs"] == len(table) == 5
    for number, run_id in enumerate(runs):
        row = table[run_id]
        assert (row["workflow"], row["version"], row["state"]) == ("says", "1", "COMPLETED")
        assert row["labels"] == [("n", str(number))]
        assert row["events"] == len(timelines[run_id])
        assert row["started"] < row["ended"]
    assert (table[failed.id]["state"], table[failed.id]["error_code"]) == ("FAILED", "NODE_FAILED")
    assert (table[waiting.id]["state"], table[waiting.id]["ended"]) == ("OPEN", None)

    status, written = await apex("erase", "--run", runs[0], "--yes", folder=tmp_path, **key)
    assert status == 0, written
    status, written = await apex("history", "parquet", "out", folder=tmp_path, **key)
    assert status == 0, written
    assert runs[0] not in {row["run_id"] for row in rows(tmp_path / "out", "runs")}
    assert len(rows(tmp_path / "out", "events")) == len(events) - len(timelines[runs[0]]) + 1


async def test_many_events_are_written_in_batches(tmp_path: Path) -> None:
    body = {"nodes": [{"id": "e", "type": "function", "config": {"name": "echo"}, "input": {"value": "${item}"}}]}
    fan = {"name": "fan", "version": "1", "nodes": [
        {"id": "m", "type": "map", "config": {"over": "${inputs.items}", "body": {**body, "edges": []}}}
    ]}  # fmt: skip
    async with served(tmp_path) as house:
        await house.client.register(fan)
        run = await house.client.start("fan", {"items": list(range(3_000))})
        await run.result(PATIENCE_S)
    status, written = await apex("history", "parquet", "out", folder=tmp_path)
    assert status == 0, written
    file = parquet.ParquetFile(tmp_path / "out" / "events.parquet")
    assert file.num_row_groups > 1
    assert file.metadata.num_rows > 8_192
    [row] = rows(tmp_path / "out", "runs")
    assert row["state"] == "COMPLETED"


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from apex_fast.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "history", "parquet", "out"],
        cwd=tmp_path,
        env={"PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'apex_fast[parquet]'" in done.stderr
