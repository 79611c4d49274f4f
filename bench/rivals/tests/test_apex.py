"""What the runner takes from ``apex bench``: a list of measurements, or a clear error."""

import json
from pathlib import Path

import pytest

from bench.rivals import apex

FOUND: dict[str, object] = {
    "name": "starts.grpc_unary",
    "unit": "start",
    "size": 1,
    "concurrency": 200,
    "rate_per_s": 12_000.0,
    "p50_ms": 4.0,
    "p99_ms": None,
    "cpu_us_per_unit": 55.0,
    "durability": "fdatasync",
    "seconds": 10.0,
    "against": {},
}


def command(path: Path, monkeypatch: pytest.MonkeyPatch, says: str, code: int = 0) -> None:
    """Put a program in the place of ``apex`` that prints ``says`` and its arguments' count."""
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\necho \"$@\" >&2\nexit {code}\n")
    path.chmod(0o755)
    monkeypatch.setattr(apex, "COMMAND", path)


def test_a_list_of_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path / "apex", monkeypatch, json.dumps([FOUND]))
    assert apex.is_built()
    (one,) = apex.measure("starts", 10)
    assert (one.contestant, one.name, one.work) == ("apex_fast", "starts.grpc_unary", "starts")
    assert one.rate_per_s == 12_000.0
    assert one.p99_ms is None
    assert one.load_cpu_us_per_unit is None


@pytest.mark.parametrize(
    ("says", "code", "why"),
    [
        ("", 2, "bench starts --json --seconds 10"),
        ("{}", 0, "no JSON list"),
        (json.dumps([FOUND, FOUND]), 0, "gave a name twice"),
        (json.dumps([{**FOUND, "rate_per_s": None}]), 0, "no number for 'rate_per_s'"),
    ],
)
def test_anything_else_is_an_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, code: int, why: str
) -> None:
    command(tmp_path / "apex", monkeypatch, says, code)
    with pytest.raises(RuntimeError, match=why):
        apex.measure("starts", 10)
