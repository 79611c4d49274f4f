"""Passes are files: found, and found anew when they change."""

import hashlib
import json
import os
from pathlib import Path

from apex_fast.optimizer import SHIPPED, Answer, PassFolder, Refusal
from tests.unit.optimizer.guests import EMPTY, UNHURRIED, saying


def test_a_pass_is_named_by_its_file_and_the_hash_of_its_bytes(tmp_path: Path) -> None:
    module = saying(EMPTY)
    (tmp_path / "mine.wasm").write_bytes(module)
    (tmp_path / "notes.txt").write_text("no pass")
    [found] = PassFolder([tmp_path], UNHURRIED).passes()
    assert (found.name, found.hash) == ("mine", f"sha256:{hashlib.sha256(module).hexdigest()}")


def test_a_file_that_changes_is_another_pass_and_others_stay(tmp_path: Path) -> None:
    folder = PassFolder([tmp_path], UNHURRIED)
    (tmp_path / "a.wasm").write_bytes(saying(EMPTY))
    (tmp_path / "b.wasm").write_bytes(saying(EMPTY))
    before = folder.passes()
    (tmp_path / "b.new").write_bytes(saying('{"error": "no"}'))
    os.replace(tmp_path / "b.new", tmp_path / "b.wasm")
    after = folder.passes()
    assert after[0].guest is before[0].guest
    assert after[1].hash != before[1].hash
    assert isinstance(before[1].guest.call(b"{}"), Answer)
    assert isinstance(after[1].guest.call(b"{}"), Refusal)
    (tmp_path / "a.wasm").unlink()
    assert [one.name for one in folder.passes()] == ["b"]


def test_of_one_name_the_later_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "p.wasm").write_bytes(saying(EMPTY))
    (tmp_path / "two" / "p.wasm").write_bytes(saying('{"error": "second"}'))
    [found] = PassFolder([tmp_path / "one", tmp_path / "two"], UNHURRIED).passes()
    said = found.guest.call(b"{}")
    assert isinstance(said, Refusal)
    assert said.reason == "second"


def test_what_cannot_be_compiled_is_found_and_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.wasm").write_bytes(b"no module")
    [found] = PassFolder([tmp_path], UNHURRIED).passes()
    said = found.guest.call(b"{}")
    assert isinstance(said, Refusal)
    assert said.code == "MODULE_INVALID"


def test_what_is_shipped_is_what_the_manifest_says() -> None:
    said = json.loads((SHIPPED / "manifest.json").read_text())["passes"]
    found = {one.name: one.hash.removeprefix("sha256:") for one in PassFolder(limits=UNHURRIED).passes()}
    assert found == {name: one["sha256"] for name, one in said.items()}
    said_to_nothing = [one.guest.call(b"{}") for one in PassFolder(limits=UNHURRIED).passes()]
    assert {one.code for one in said_to_nothing if isinstance(one, Refusal)} == {"INPUT_REFUSED"}
    assert all(isinstance(one, Refusal) for one in said_to_nothing)
