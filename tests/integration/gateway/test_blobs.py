"""Blobs through both clients of a served gateway."""

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apex_fast.app import back_up, restore
from apex_fast.errors import InvalidInput, LimitExceeded, NotFound, TooLarge
from apex_fast.settings import Settings
from tests.support.gateway import Served, served
from tests.support.patience import PATIENCE_S

BYTES_MAX = 6 << 20
QUOTA = 8 << 20
LARGE = bytes(range(251)) * 20_000
"""More than a request may have."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Served]:
    limits = {"APEX_BLOBS_BYTES_MAX": str(BYTES_MAX), "APEX_BLOBS_QUOTA_BYTES": str(QUOTA)}
    async with served(tmp_path, limits) as house:
        yield house


def address_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def test_what_is_put_is_given_back_and_goes_through_a_run_by_name(house: Served) -> None:
    assert len(LARGE) > 4 << 20
    async with house.http.put("/blobs", data=io.BytesIO(LARGE)) as answer:
        stored = await answer.json()
        assert answer.status == 201
    address = address_of(LARGE)
    assert stored == {"address": address, "bytes": len(LARGE), "blob": {"$blob": address}}
    async with house.http.put("/blobs", data=io.BytesIO(LARGE)) as answer:
        assert (answer.status, await answer.json()) == (200, stored)
    async with house.http.get(f"/blobs/{address}") as answer:
        assert (answer.status, await answer.read()) == (200, LARGE)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-length"] == str(len(LARGE))
        assert answer.headers["x-content-type-options"] == "nosniff"
        tag = answer.headers["etag"]
    async with house.http.get(f"/blobs/{address}", headers={"if-none-match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    run = await house.client.start("says", {"value": stored["blob"]})
    assert await run.result(PATIENCE_S) == {"said": {"$blob": address}}


async def test_the_client(house: Served) -> None:
    blob = await house.client.put_blob(LARGE)
    assert (blob.address, blob.bytes, blob.existing) == (address_of(LARGE), len(LARGE), False)
    assert (await house.client.put_blob(LARGE, expected=blob.address)).existing
    assert await house.client.get_blob(blob.address) == LARGE
    with pytest.raises(NotFound) as missing:
        await house.client.get_blob(address_of(b"nobody put this"))
    assert missing.value.code == "BLOB_NOT_FOUND"
    with pytest.raises(InvalidInput) as another:
        await house.client.put_blob(b"another", expected=blob.address)
    assert another.value.errors[0][0] == "/address"


async def test_over_a_bound_is_a_clear_refusal_and_the_house_goes_on(house: Served) -> None:
    with pytest.raises(TooLarge, match=f"A body may have {BYTES_MAX} bytes here"):
        await house.client.put_blob(bytes(BYTES_MAX + 1))
    await house.client.put_blob(LARGE)
    with pytest.raises(LimitExceeded) as full:
        await house.client.put_blob(LARGE + b"x")
    assert full.value.code == "QUOTA_EXCEEDED"
    async with house.http.put("/blobs", data=io.BytesIO(LARGE + b"x")) as answer:
        assert answer.status == 507
    # Other routes keep their own bound.
    status, problem = await house.post("/runs", bytes(5 << 20))
    assert (status, problem["code"]) == (413, "BODY_TOO_LARGE")
    async with house.http.get("/metrics") as answer:
        values = dict(line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if not line.startswith("#"))
    assert float(values["blobs_bytes"]) == len(LARGE)
    await house.goes_on()


async def test_blobs_are_copied_by_a_backup_and_are_there_after_a_restore(house: Served, tmp_path: Path) -> None:
    address = (await house.client.put_blob(LARGE)).address
    settings = Settings.load(None, {}, {"data.dir": str(tmp_path / "data")})
    back_up(settings, tmp_path / "copy")
    await house.client.put_blob(b"later")
    manifest = back_up(settings, tmp_path / "copy")
    assert sum(kept.name.startswith("blobs/") for kept in manifest.files) == 2
    restore(settings, tmp_path / "copy", tmp_path / "again")
    restored = {path.name: path.read_bytes() for path in (tmp_path / "again" / "blobs").iterdir()}
    assert restored == {path.name: path.read_bytes() for path in (tmp_path / "data" / "blobs").iterdir()}
    assert any(name.endswith(address.removeprefix("sha256:")) for name in restored)


async def test_a_start_that_names_a_blob_which_is_not_there_is_refused_with_its_place(house: Served) -> None:
    put = await house.client.put_blob(b"there")
    absent = {"$blob": address_of(b"not there")}
    for value in (absent, [put.value, {"a/b": [absent]}]):
        with pytest.raises(NotFound) as refusal:
            await house.client.start("says", {"value": value})
        assert refusal.value.code == "BLOB_NOT_FOUND"
        status, problem = await house.post("/runs", {"workflow": "says", "inputs": {"value": value}})
        assert (status, problem["code"]) == (404, "BLOB_NOT_FOUND")
        assert problem["errors"][0]["pointer"] == ("/inputs/value" if value is absent else "/inputs/value/1/a~1b/0")
    # What is no name is a value like any other.
    others: list[object] = [{"$blob": 7}, {"$blob": "x", "more": 1}, '"$blob"', [put.value] * 300]
    for other in others:
        run = await house.client.start("says", {"value": other})
        assert await run.result(PATIENCE_S) == {"said": other}
    many = [{"$blob": (await house.client.put_blob(str(number).encode())).address} for number in range(257)]
    with pytest.raises(LimitExceeded):
        await house.client.start("says", {"value": many})


async def test_a_schedule_that_names_a_blob_which_is_not_there_is_refused_with_its_place(house: Served) -> None:
    absent = {"$blob": address_of(b"not there")}
    with pytest.raises(NotFound) as refusal:
        await house.client.put_schedule("large", "says", every_s=60, inputs={"value": absent})
    assert refusal.value.code == "BLOB_NOT_FOUND"
    body = {"workflow": "says", "inputs": {"value": absent}, "every_s": 60}
    status, problem = await house.put("/schedules/large", body)
    assert (status, problem["code"], problem["errors"][0]["pointer"]) == (404, "BLOB_NOT_FOUND", "/inputs/value")
