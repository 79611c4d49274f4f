"""Erasure through `apex erase`: what is erased can be read by nobody, all else goes on as if nothing had been."""

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apex_fast.errors import NotFound
from tests.support.gateway import python_path, served
from tests.support.patience import PATIENCE_S
from tests.support.verbs import apex

KEY = bytes(range(32)).hex()
SECRET = "a sentence that nobody shall read "
BODY = {
    "name": "outer",
    "version": "1",
    "nodes": [
        {
            "id": "c",
            "type": "composite",
            "config": {"workflow": "says", "tag": "main", "inputs": {"value": "${inputs.value}"}},
        }
    ],
}


def environment(folder: Path) -> dict[str, str]:
    (folder / "key").write_text(KEY)
    return {"APEX_LOG_KEY_FILE": str(folder / "key"), "APEX_LOG_ARCHIVE_AFTER_SEGMENTS": "0"}


async def life(folder: Path, value: str) -> str:
    """A gateway's life with one run; its stop keeps a snapshot and archives what it may."""
    async with served(folder, environment(folder)) as house:
        run = await house.client.start("says", {"value": value * 300}, idempotency_key=value)
        await run.result(PATIENCE_S)
        return run.id


async def verified(folder: Path, name: str = "data") -> None:
    status, written = await apex("verify", name, folder=folder, **environment(folder))
    assert status == 0, written


async def test_a_run_is_gone_for_good_and_the_others_are_as_they_were(tmp_path: Path) -> None:
    key = environment(tmp_path)
    runs = [await life(tmp_path, f"{SECRET}{number}") for number in range(4)]
    archives = {path: path.read_bytes() for path in (tmp_path / "data" / "log").glob("*.archive")}
    assert archives
    status, written = await apex("backup", "copy", folder=tmp_path, **key)
    assert status == 0, written

    status, written = await apex("erase", "--run", runs[0], "--yes", "--json", folder=tmp_path, **key)
    assert status == 0, written
    erased = json.loads(written)
    assert erased["records"] >= 4
    assert erased["archives"] >= 1
    await verified(tmp_path)

    async with served(tmp_path, key) as house:
        for ask in (house.client.run(runs[0]).info, house.client.run(runs[0]).timeline):
            with pytest.raises(NotFound) as refusal:
                await ask()
            assert refusal.value.code == "RUN_NOT_FOUND"
        for number, run_id in enumerate(runs[1:], start=1):
            assert (await house.client.run(run_id).info()).output == {"said": f"{SECRET}{number}" * 300}
            assert (await house.client.run(run_id).timeline())[-1].type == "WorkflowCompleted"
        again = await house.client.start("says", {"value": "another"}, idempotency_key=f"{SECRET}0")
        assert await again.result(PATIENCE_S) == {"said": "another"}

    # The backup is brought up to date: what it held of the run is gone from it, too.
    status, written = await apex("backup", "copy", folder=tmp_path, **key)
    assert status == 0, written
    objects = {path.name for path in (tmp_path / "copy" / "objects").iterdir()}
    made_anew = [content for path, content in archives.items() if path.read_bytes() != content]
    assert made_anew
    assert not objects & {hashlib.sha256(content).hexdigest() for content in made_anew}
    status, written = await apex("restore", "copy", "elsewhere", folder=tmp_path, **key)
    assert status == 0, written
    await verified(tmp_path, "elsewhere")
    status, written = await apex("erase", "--run", runs[0], "--yes", folder=tmp_path, **key)
    assert (status, "RUN_NOT_FOUND" in written) == (1, True), written


async def test_a_tenant_is_gone_with_its_runs_workflows_and_blobs(tmp_path: Path) -> None:
    key = environment(tmp_path)
    async with served(tmp_path, key) as house:
        blob = await house.client.put_blob(SECRET.encode() * 99)
        await house.client.register(BODY)
        outer = await house.client.start("outer", {"value": SECRET})
        await outer.result(PATIENCE_S)
    runs = [outer.id] + [await life(tmp_path, f"{SECRET}{number}") for number in range(3)]
    data = tmp_path / "data"
    before = {path.name: path.read_bytes() for path in (data / "log").iterdir()}
    status, written = await apex("erase", "--tenant", "default", "--yes", folder=tmp_path, **key)
    assert status == 0, written
    assert "1 blobs" in written
    await verified(tmp_path)
    assert not list((data / "blobs").iterdir())

    # The keys that are left do not open the files of before: neither archives nor snapshots.
    old = tmp_path / "old" / "log"
    old.mkdir(parents=True)
    for name, content in before.items():
        (old / name).write_bytes((data / "log" / "keys").read_bytes() if name == "keys" else content)
    status, written = await apex("verify", "old", folder=tmp_path, **key)
    assert status == 1, written

    async with served(tmp_path, key) as house:
        for run_id in runs:
            with pytest.raises(NotFound):
                await house.client.run(run_id).info()
        assert not (await house.client.runs()).runs
        with pytest.raises(NotFound):
            await house.client.get_blob(blob.address)
        with pytest.raises(NotFound):
            await house.client.start("outer", {"value": "x"})
        await house.goes_on()
    await verified(tmp_path)
    status, written = await apex("erase", "--tenant", "nobody", "--yes", folder=tmp_path, **key)
    assert (status, "nothing of tenant nobody" in written) == (1, True), written


async def test_killed_at_any_moment_it_leaves_a_folder_that_serves_and_is_done_when_it_says_so(tmp_path: Path) -> None:
    key = environment(tmp_path)
    runs = [await life(tmp_path, f"{SECRET}{number}") for number in range(4)]
    began = time.monotonic()
    assert (await apex("erase", "--run", runs[3], "--yes", folder=tmp_path, **key))[0] == 0
    took = time.monotonic() - began
    for step in range(5):
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "apex_fast.cli.main", "erase", "--run", runs[0], "--yes"),
            cwd=tmp_path,
            env={"PYTHONPATH": python_path(), "APEX_DATA_DIR": "data", **key},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Later each time, up to where it has ended.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), took * (0.3 + step / 6))
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        await verified(tmp_path)
    async with served(tmp_path, key) as house:
        assert (await house.client.run(runs[1]).info()).output == {"said": f"{SECRET}1" * 300}
        await house.goes_on()
    status, written = await apex("erase", "--run", runs[0], "--yes", folder=tmp_path, **key)
    assert status == 0 or "RUN_NOT_FOUND" in written, written
    await verified(tmp_path)
    status, written = await apex("erase", "--run", runs[0], "--yes", folder=tmp_path, **key)
    assert (status, "RUN_NOT_FOUND" in written) == (1, True), written
    assert (await apex("erase", "--run", runs[2], "--yes", folder=tmp_path, **key))[0] == 0


async def test_a_run_goes_with_those_that_ran_for_it_and_not_without(tmp_path: Path) -> None:
    key = environment(tmp_path)
    async with served(tmp_path, key) as house:
        await house.client.register(BODY)
        outer = await house.client.start("outer", {"value": SECRET})
        await outer.result(PATIENCE_S)
        started = [event for event in await outer.timeline() if event.type == "ChildStarted"]
        child = started[0].payload["child"]
    status, written = await apex("erase", "--run", child, "--yes", folder=tmp_path, **key)
    assert (status, "WRONG_STATE" in written, outer.id in written) == (1, True, True), written
    status, written = await apex("erase", "--run", outer.id, "--yes", folder=tmp_path, **key)
    assert status == 0, written
    async with served(tmp_path, key) as house:
        for run_id in (outer.id, child):
            with pytest.raises(NotFound):
                await house.client.run(run_id).info()


async def test_what_cannot_be_erased_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        run = await house.client.start("says", {"value": "plain"})
        await run.result(PATIENCE_S)
        status, written = await apex("erase", "--tenant", "default", "--yes", folder=tmp_path)
        assert (status, "LOG_LOCKED" in written) == (1, True), written
    for arguments, words in (
        (("--run", run.id), "--yes"),
        (("--yes",), "--tenant TENANT or --run RUN"),
        (("--run", run.id, "--yes"), "the log is not encrypted"),
        (("--run", "nonsense", "--yes"), "is not a run id"),
    ):
        status, written = await apex("erase", *arguments, folder=tmp_path)
        assert (status, words in written) == (1, True), written
    # Records of before the key stay readable, and so cannot be erased by destroying one.
    later = await life(tmp_path, "sealed")
    for arguments in (("--run", run.id), ("--tenant", "default")):
        status, written = await apex("erase", *arguments, "--yes", folder=tmp_path, **environment(tmp_path))
        assert (status, "has no key of its own" in written) == (1, True), written
    async with served(tmp_path, environment(tmp_path)) as house:
        for run_id, value in ((run.id, "plain"), (later, "sealed" * 300)):
            assert (await house.client.run(run_id).info()).output == {"said": value}


async def test_what_is_erased_is_let_go_by_retention_like_all_else(tmp_path: Path) -> None:
    key = environment(tmp_path)
    for number in range(3):
        await life(tmp_path, f"{SECRET}{number}")
    status, written = await apex("erase", "--tenant", "default", "--yes", folder=tmp_path, **key)
    assert status == 0, written
    for _ in range(3):
        async with served(tmp_path, {**key, "APEX_LOG_RETENTION_S": "0.05"}) as house:
            await house.goes_on()
            await asyncio.sleep(0.1)  # the retention itself
    status, written = await apex("verify", "data", "--json", folder=tmp_path, **key)
    assert status == 0, written
    assert json.loads(written)["start"] > 0
    status, written = await apex("sweep", "--json", folder=tmp_path, **key)
    assert status == 0, written
    assert json.loads(written)["keys"] > 0
    await verified(tmp_path)


async def test_a_sweep_removes_what_no_run_names(tmp_path: Path) -> None:
    async with served(tmp_path, environment(tmp_path)) as house:
        named = await house.client.put_blob(b"named")
        await house.client.put_blob(b"not named")
        run = await house.client.start("says", {"value": named.value})
        await run.result(PATIENCE_S)
    status, written = await apex("sweep", "--json", folder=tmp_path, **environment(tmp_path))
    assert (status, json.loads(written)["blobs"]) == (0, 0)
    status, written = await apex("sweep", "--older-than", "0", "--json", folder=tmp_path, **environment(tmp_path))
    assert status == 0, written
    assert json.loads(written)["blobs"] == 1
    assert json.loads(written)["bytes"] == 9
    async with served(tmp_path, environment(tmp_path)) as house:
        assert await house.client.get_blob(named.address) == b"named"
        assert (await house.client.run(run.id).info()).output == {"said": named.value}
