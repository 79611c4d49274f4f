"""Histories that were kept (`tools/histories.py` made them) are read by this engine and decided as they were."""

from pathlib import Path

import pytest

from apex_fast.core import CoreError, check_history

FOLDER = Path(__file__).parent / "histories"
KEPT = sorted(FOLDER.glob("*.apexhist"))
KEPT_MIN = 21


def test_none_is_lost() -> None:
    assert len(KEPT) >= KEPT_MIN


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_decided_as_it_was(file: Path) -> None:
    checked = check_history(file.read_bytes())
    assert 0 < checked.decided < checked.records


def test_a_changed_byte_is_seen() -> None:
    data = bytearray((FOLDER / "saga.apexhist").read_bytes())
    data[-200] ^= 1
    with pytest.raises(CoreError, match="record 12: the hash does not fit the bytes") as caught:
        check_history(bytes(data))
    assert caught.value.code == "HISTORY_INVALID"


def test_another_decision_is_named() -> None:
    """The guard asks for more than the recorded output gives: the edge that was live is dead."""
    data = (FOLDER / "guards.apexhist").read_bytes()
    changed = data.replace(b"nodes.a.output.v > 5", b"nodes.a.output.v > 9")
    assert changed != data
    with pytest.raises(CoreError, match="record 2 is decided otherwise") as caught:
        check_history(changed)
    assert caught.value.code == "HISTORY_DIFFERS"
    assert '"dead":["low"]' in caught.value.message
    assert '"dead":["high","low"]' in caught.value.message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no history"),
        (b"apexhist", "cut short"),
        (b"apexhist\x09\x00\x00\x00\x00\x00\x00\x00", "format version 9"),
        ((FOLDER / "chain.apexhist").read_bytes()[:-3], "cut short within a record"),
    ],
)
def test_what_is_no_history(data: bytes, reason: str) -> None:
    with pytest.raises(CoreError, match=reason) as caught:
        check_history(data)
    assert caught.value.code == "HISTORY_INVALID"
