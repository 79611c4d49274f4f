"""The promises of `ports.blobs`, on every adapter. The number in a test's name is the promise's."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apex_fast.adapters.embedded.blobs import EmbeddedBlobs
from apex_fast.adapters.memory.blobs import MemoryBlobs
from apex_fast.domain import Log, LogError
from apex_fast.ports.blobs import Blobs, StoredBlob

QUOTA_BYTES = 1 << 20
LARGE = bytes(range(256)) * 700
"""Some pieces of 64 KiB, the last one not full."""

Open = Callable[[], Blobs]


@pytest.fixture(params=["memory", "embedded", "encrypted"])
def open_blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same blobs again and again."""
    if request.param == "memory":
        blobs = MemoryBlobs(QUOTA_BYTES)
        yield lambda: blobs
        return
    key_file = None
    if request.param == "encrypted":
        key_file = str(tmp_path / "key")
        Path(key_file).write_text(bytes(range(32)).hex())
    logs: list[Log] = []

    def open_again() -> Blobs:
        for log in logs:
            log.close()
        logs.append(Log.open(str(tmp_path / "log"), key_file=key_file))
        return EmbeddedBlobs(logs[-1], tmp_path / "blobs", QUOTA_BYTES)

    yield open_again
    for log in logs:
        log.close()


def address_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "one byte", "large"])
def test_1_what_was_put_is_given_back_also_after_an_opening(open_blobs: Open, content: bytes) -> None:
    stored = open_blobs().put("a", content)
    assert stored == StoredBlob(address_of(content), len(content), False)
    blobs = open_blobs()
    assert blobs.get("a", stored.address) == content
    assert blobs.size("a", stored.address) == len(content)
    assert blobs.stats() == {"count": 1, "bytes": len(content)}


def test_2_the_same_content_is_kept_once(open_blobs: Open) -> None:
    blobs = open_blobs()
    first = blobs.put("a", LARGE)
    assert blobs.put("a", LARGE) == first._replace(existing=True)
    assert blobs.used("a") == len(LARGE)
    assert open_blobs().put("a", LARGE).existing


async def test_2_also_when_it_is_put_by_many_at_once(open_blobs: Open) -> None:
    blobs = open_blobs()
    stored = await asyncio.gather(*(asyncio.to_thread(blobs.put, "a", LARGE) for _ in range(8)))
    assert sum(not one.existing for one in stored) == 1
    assert blobs.stats() == {"count": 1, "bytes": len(LARGE)}


def test_3_another_content_than_the_expected_one_keeps_nothing(open_blobs: Open) -> None:
    blobs = open_blobs()
    with pytest.raises(LogError) as refused:
        blobs.put("a", b"another", address_of(b"expected"))
    assert refused.value.code == "INVALID"
    assert blobs.stats() == {"count": 0, "bytes": 0}
    assert blobs.put("a", b"expected", address_of(b"expected")).address == address_of(b"expected")


def test_4_a_tenant_finds_only_its_own(open_blobs: Open) -> None:
    blobs = open_blobs()
    address = blobs.put("a", LARGE).address
    assert blobs.get("b", address) is None
    assert blobs.size("b", address) is None
    assert not blobs.put("b", LARGE).existing
    assert (blobs.used("a"), blobs.used("b")) == (len(LARGE), len(LARGE))
    for text in ("", "sha256:", address.upper(), address + "0", address.removeprefix("sha256:"), "../" + address):
        assert blobs.get("a", text) is None, text


def test_5_over_the_quota_nothing_is_kept(open_blobs: Open) -> None:
    blobs = open_blobs()
    large = bytes(QUOTA_BYTES - 5)
    blobs.put("a", large)
    with pytest.raises(LogError, match="6 bytes are over the quota: 1048571 of 1048576 are used") as refused:
        blobs.put("a", b"6 more")
    assert refused.value.code == "QUOTA"
    assert blobs.get("a", address_of(b"6 more")) is None
    assert blobs.put("a", large).existing
    blobs.put("b", b"6 more")
    blobs = open_blobs()
    assert (blobs.used("a"), blobs.used("b")) == (QUOTA_BYTES - 5, 6)
    blobs.put("a", b"five!")
    with pytest.raises(LogError):
        blobs.put("a", b"!")


def test_6_what_is_damaged_is_never_returned(open_blobs: Open, tmp_path: Path) -> None:
    blobs = open_blobs()
    address = blobs.put("a", LARGE).address
    folder = tmp_path / "blobs"
    if not folder.exists():  # in memory nothing can be damaged
        assert blobs.get("a", address) == LARGE
        return
    [path] = folder.iterdir()
    whole = path.read_bytes()
    for place in (20, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LogError) as damaged:
            blobs.get("a", address)
        assert damaged.value.code == "DAMAGED"
    path.write_bytes(whole)
    assert blobs.get("a", address) == LARGE
