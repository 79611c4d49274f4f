"""`apex backup` of a gateway that serves, `apex restore`, and copies that are not what was copied."""

import asyncio
import json
from pathlib import Path

from tests.support.gateway import Served, process_in, served
from tests.support.ledger import Ledger
from tests.support.patience import PATIENCE_S
from tests.support.verbs import apex


async def runs_of(house: Served, first: int, count: int) -> list[str]:
    runs = [await house.client.start("says", {"value": number}) for number in range(first, first + count)]
    for number, run in enumerate(runs, first):
        assert await run.result(PATIENCE_S) == {"said": number}
    return [run.id for run in runs]


async def back_up(folder: Path) -> dict[str, object]:
    status, written = await apex("backup", "copy", "--json", folder=folder)
    assert status == 0, written
    found: dict[str, object] = json.loads(written)
    return found


async def test_a_copy_made_under_load_becomes_a_gateway_with_everything_acknowledged_before(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        before = await runs_of(house, 0, 30)
        done = asyncio.Event()
        extra = 0

        async def load() -> None:
            nonlocal extra
            while not done.is_set():
                await runs_of(house, 1_000, 10)
                extra += 10

        loading = asyncio.create_task(load())
        first = await back_up(tmp_path)
        again = await back_up(tmp_path)
        done.set()
        await loading
        assert extra > 0
        assert int(str(again["position"])) >= int(str(first["position"])) > 90

    status, written = await apex("restore", "copy", "elsewhere", "--json", folder=tmp_path)
    assert status == 0, written
    assert json.loads(written)["state"] == again["state"]
    async with process_in(tmp_path, data=tmp_path / "elsewhere") as process:
        copy = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        try:
            for number, run_id in enumerate(before):
                view = await copy.client.run(run_id).info()
                assert (view.state, view.output) == ("COMPLETED", {"said": number})
            await copy.goes_on()
        finally:
            await copy.close()


async def test_a_second_copy_takes_only_what_is_new_and_the_first_is_whole_until_then(tmp_path: Path) -> None:
    for _ in range(3):
        async with served(tmp_path) as house:
            # More than a page, so that the next opening begins a segment behind it.
            await (await house.client.start("says", {"value": "x" * 9_000})).result(PATIENCE_S)
        await back_up(tmp_path)
    kept = {path.name: path.stat().st_ino for path in (tmp_path / "copy" / "objects").iterdir()}
    async with served(tmp_path) as house:
        await runs_of(house, 100, 5)
    found = await back_up(tmp_path)
    now = {path.name: path.stat().st_ino for path in (tmp_path / "copy" / "objects").iterdir()}
    sealed = [file for file in json.loads((tmp_path / "copy" / "backup.json").read_bytes())["files"] if file["header"]]
    assert len(sealed) == 3
    assert any(now[file["sha256"]] == kept.get(file["sha256"]) for file in sealed)
    status, written = await apex("restore", "copy", "elsewhere", folder=tmp_path)
    assert status == 0, written
    assert f"{found['position']} records in elsewhere" in written


async def test_a_restored_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        await runs_of(house, 0, 5)
    await back_up(tmp_path)
    objects = sorted((tmp_path / "copy" / "objects").iterdir(), key=lambda path: path.stat().st_size)
    largest = objects[-1]
    content = largest.read_bytes()
    largest.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    status, written = await apex("restore", "copy", "elsewhere", folder=tmp_path)
    assert status == 1
    assert "BACKUP_DAMAGED: the backup in copy is damaged: the bytes of log/" in written
    largest.unlink()
    status, written = await apex("restore", "copy", "elsewhere", folder=tmp_path)
    assert status == 1
    assert "is missing" in written
    assert not list(tmp_path.glob("elsewhere*"))
    largest.write_bytes(content)
    assert (await apex("restore", "copy", "elsewhere", folder=tmp_path))[0] == 0


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        await runs_of(house, 0, 1)
    status, written = await apex("backup", "data", folder=tmp_path)
    assert status == 1
    assert "data holds something that is no backup" in written
    status, written = await apex("restore", "data", "elsewhere", folder=tmp_path)
    assert status == 1
    assert "data is no backup: it has no backup.json" in written
    await back_up(tmp_path)
    status, written = await apex("restore", "copy", "data", folder=tmp_path)
    assert status == 1
    assert "data is not empty" in written
    status, written = await apex("backup", "other", "--data", "nowhere", folder=tmp_path)
    assert status == 1
    assert "nowhere/log/meta: No such file or directory" in written
