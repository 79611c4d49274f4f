"""`apex verify` and `apex doctor` on a log that is served, and on one that is damaged."""

import json
from pathlib import Path
from typing import Any

from apex_fast.core import LogView
from tests.support.gateway import served
from tests.support.patience import PATIENCE_S
from tests.support.segments import forge
from tests.support.verbs import apex


async def verdict_on(folder: Path) -> tuple[int, dict[str, Any]]:
    status, written = await apex("verify", str(folder), "--json", folder=folder.parent)
    return status, json.loads(written)


async def test_a_served_log_is_verified_and_its_owner_does_not_notice(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with served(tmp_path) as house:
        runs = [await house.client.start("says", {"value": number}) for number in range(20)]
        assert [await run.result(PATIENCE_S) for run in runs] == [{"said": number} for number in range(20)]
        status, found = await verdict_on(data)
        assert (status, found["ok"], found["damage"], found["term"]) == (0, True, None, 1)
        assert found["position"] > 60
        status, written = await apex("doctor", "--json", folder=tmp_path)
        assert status == 0, written
        await house.goes_on()
    status, after = await verdict_on(data)
    assert (status, after["term"], after["unfinished"]) == (0, 1, None)
    assert after["position"] > found["position"]


async def test_doctor_raises_no_term(tmp_path: Path) -> None:
    async with served(tmp_path):
        pass
    for _ in range(2):
        _, written = await apex("doctor", "--json", folder=tmp_path)
        (check,) = [check for check in json.loads(written)["checks"] if check["name"] == "log"]
        assert check["ok"]
    assert LogView.open(str(tmp_path / "data" / "log")).term == 1


async def test_the_first_record_that_was_changed_is_named(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        for number in range(5):
            await (await house.client.start("says", {"value": f"value {number}"})).result(PATIENCE_S)
    (segment,) = (tmp_path / "data" / "log").glob("*.segment")
    content = bytearray(segment.read_bytes())
    at = content.index(b"value 2")
    content[at] ^= 1
    segment.write_bytes(content)
    status, found = await verdict_on(tmp_path / "data")
    assert (status, found["ok"]) == (1, False)
    damage = found["damage"]
    assert damage["file"] == segment.name
    assert damage["offset"] < at
    assert "checksum" in damage["reason"]
    assert damage["position"] > 0
    status, written = await apex("verify", "data", folder=tmp_path)
    assert status == 1
    assert f"record {damage['position']} of data/log cannot be trusted: {segment.name}, byte" in written


async def test_there_is_nothing_to_verify(tmp_path: Path) -> None:
    status, written = await apex("verify", "nowhere", folder=tmp_path)
    assert status == 1
    assert "apex verify: LOG_IO: cannot read the log in nowhere/log" in written


async def test_a_forged_record_with_every_checksum_mended_breaks_the_chain_of_its_run(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        for number in range(5):
            await (await house.client.start("says", {"value": f"value {number}"})).result(PATIENCE_S)
    (segment,) = (tmp_path / "data" / "log").glob("*.segment")
    forge(segment, b"value 2", b"value 2")
    assert (await verdict_on(tmp_path / "data"))[0] == 0, "nothing was changed: the mending is right"
    forge(segment, b"value 2", b"value 7")
    status, found = await verdict_on(tmp_path / "data")
    assert (status, found["ok"]) == (1, False)
    damage = found["damage"]
    assert (damage["file"], damage["reason"]) == (segment.name, "its hash does not continue the chain of its run")
    assert damage["offset"] < segment.read_bytes().index(b"value 7") < damage["offset"] + 2_000
