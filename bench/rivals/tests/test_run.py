"""The runner end to end on the limits, which need nothing installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.rivals.contestant import ROOT, Contestant, Process, Stage


def test_the_limits_in_one_table(tmp_path: Path) -> None:
    argv = [sys.executable, "bench/rivals/run.py", "--only", "limit-loop", "--only", "limit-file"]
    options = ["--work", "chain", "--seconds", "0.3", "--rounds", "3", "--out", str(tmp_path)]
    answer = subprocess.run([*argv, *options], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "| chain | limit-loop |" in answer.stdout
    report = json.loads((tmp_path / "rivals.json").read_text())
    found = {one["contestant"]: one for one in report["measurements"]}
    assert set(found) == {"disk", "limit-loop", "limit-file"}
    assert found["limit-file"]["rounds"] == 3
    assert found["limit-file"]["durability"] == "fdatasync, group commit"
    assert found["limit-loop"]["against"]["limit-file"] > 1
    assert report["failures"] == {}
    assert report["machine"]["cores"] >= 1


def test_a_driver_that_dies_is_named_with_its_last_words() -> None:
    def processes(_: Path) -> list[Process]:
        return [Process("load", (sys.executable, "-c", "raise SystemExit('no disk left')"))]

    contestant = Contestant("test-dies", "none", processes, separable=False)
    with pytest.raises(RuntimeError, match="no disk left"), Stage(contestant):
        pass
