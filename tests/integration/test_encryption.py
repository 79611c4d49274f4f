"""A gateway with a key file: its files say nothing, and nothing opens without the key."""

import subprocess
from pathlib import Path

from apex_fast.client import Client
from tests.support.gateway import process_in, run_serve, served
from tests.support.patience import PATIENCE_S
from tests.support.verbs import apex

FIRST = bytes(range(32)).hex()
SECOND = bytes(range(32, 64)).hex()
SECRET = "a sentence that nobody shall read "


async def life(folder: Path, key: str, more: str = "") -> str:
    (folder / "key").write_text(key)
    environment = {"APEX_LOG_KEY_FILE": str(folder / "key"), "APEX_LOG_ARCHIVE_AFTER_SEGMENTS": "0"}
    async with served(folder, environment) as house:
        run = await house.client.start("says", {"value": SECRET * 300 + more})
        await run.result(PATIENCE_S)
        return run.id


async def test_the_files_say_nothing_and_the_gateway_everything(tmp_path: Path) -> None:
    runs = [await life(tmp_path, FIRST, str(number)) for number in range(4)]
    log = tmp_path / "data" / "log"
    assert list(log.glob("*.archive"))
    for path in log.iterdir():
        assert b"nobody shall read" not in path.read_bytes(), path.name
    key = {"APEX_LOG_KEY_FILE": str(tmp_path / "key")}
    async with served(tmp_path, key) as house:
        for number, run_id in enumerate(runs):
            assert (await house.client.run(run_id).info()).output == {"said": SECRET * 300 + str(number)}
            assert (await house.client.run(run_id).timeline())[-1].type == "WorkflowCompleted"
    for verb in (("verify", "data"), ("backup", "copy"), ("restore", "copy", "elsewhere"), ("verify", "elsewhere")):
        status, written = await apex(*verb, folder=tmp_path, **key)
        assert status == 0, written
        assert (tmp_path / "key").read_text() not in written
    for path in (tmp_path / "copy" / "objects").iterdir():
        assert b"nobody shall read" not in path.read_bytes(), path.name


async def test_without_its_key_it_does_not_start_and_nothing_is_harmed(tmp_path: Path) -> None:
    run_id = await life(tmp_path, FIRST)
    before = {path: path.read_bytes() for path in (tmp_path / "data" / "log").iterdir() if path.name != "lock"}
    (tmp_path / "other").write_text(SECOND)
    for key_file, words in (
        ("", "the log is encrypted: name the file of its key with log.key_file"),
        (str(tmp_path / "other"), "is wrapped by the master key"),
        (str(tmp_path / "nowhere"), "nowhere: No such file or directory"),
    ):
        done = serve(tmp_path, key_file)
        assert (done.returncode, "LOG_KEY" in done.stderr, words in done.stderr) == (1, True, True), done.stderr
    status, written = await apex("verify", "data", folder=tmp_path)
    assert (status, "LOG_KEY" in written) == (1, True)
    after = {path: path.read_bytes() for path in (tmp_path / "data" / "log").iterdir() if path.name != "lock"}
    assert after == before
    await another_key(tmp_path, run_id)


def serve(folder: Path, key_file: str) -> "subprocess.CompletedProcess[str]":
    return run_serve("--data", "data", "--port", "0", folder=folder, APEX_LOG_KEY_FILE=key_file)


async def another_key(folder: Path, run_id: str) -> None:
    """The new one first, the old one below, a start; then the new one alone is enough."""
    await life(folder, f"{SECOND}\n{FIRST}\n")
    (folder / "key").write_text(SECOND)
    environment = {"APEX_LOG_KEY_FILE": str(folder / "key")}
    async with served(folder, environment) as house:
        assert (await house.client.run(run_id).info()).output == {"said": SECRET * 300}
    assert "is wrapped by the master key" in serve_with(folder, FIRST).stderr


def serve_with(folder: Path, key: str) -> "subprocess.CompletedProcess[str]":
    (folder / "old").write_text(key)
    return serve(folder, str(folder / "old"))


async def test_a_killed_gateway_with_a_key_recovers(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(FIRST)
    key = {"APEX_LOG_KEY_FILE": str(tmp_path / "key")}
    async with served(tmp_path, key) as house:
        runs = [await house.client.start("says", {"value": number}) for number in range(50)]
        house.process.kill()
    async with process_in(tmp_path, key) as process, Client(process.address) as client:
        for number, run in enumerate(runs):
            assert await client.run(run.id).result(PATIENCE_S) == {"said": number}
