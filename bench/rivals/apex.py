"""apex_fast itself as a contestant: ``apex bench`` runs the works and measures itself, as for a user."""

import json
import math
import subprocess

from bench.rivals.contestant import ROOT
from bench.rivals.measurement import Measurement

NAME = "apex_fast"
COMMAND = ROOT / ".venv" / "bin" / "apex"
TIMEOUT_FACTOR = 20.0
TIMEOUT_MIN_S = 300.0


def is_built() -> bool:
    """Whether ``make build`` has been run."""
    return COMMAND.exists()


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not math.isnan(value):
        return float(value)
    return None


def _measurement(found: dict[str, object]) -> Measurement:
    def required(key: str) -> float:
        value = _number(found.get(key))
        if value is None:
            raise RuntimeError(f"apex bench gave no number for {key!r}: {found}")
        return value

    return Measurement(
        contestant=NAME,
        name=str(found["name"]),
        unit=str(found["unit"]),
        size=int(required("size")),
        concurrency=int(required("concurrency")),
        rate_per_s=required("rate_per_s"),
        p50_ms=_number(found.get("p50_ms")),
        p99_ms=_number(found.get("p99_ms")),
        cpu_us_per_unit=_number(found.get("cpu_us_per_unit")),
        load_cpu_us_per_unit=_number(found.get("load_cpu_us_per_unit")),
        durability=str(found["durability"]),
        seconds=required("seconds"),
        finished_per_s=_number(found.get("finished_per_s")),
    )


def measure(work: str, seconds: float) -> list[Measurement]:
    """One round of one work: ``apex bench WORK --json --seconds S``.

    Raises ``RuntimeError`` with what the command said when it fails or answers something else than a list of
    measurements.
    """
    argv = [str(COMMAND), "bench", work, "--json", "--seconds", f"{seconds:g}"]
    timeout_s = max(TIMEOUT_MIN_S, TIMEOUT_FACTOR * seconds)
    answer = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"apex bench {work} ended with {answer.returncode}: {answer.stderr[-2000:]}")
    found = json.loads(answer.stdout)
    if not isinstance(found, list):
        raise RuntimeError(f"apex bench {work} printed no JSON list")
    measurements = [_measurement(one) for one in found]
    names = [one.name for one in measurements]
    if len(set(names)) < len(names):
        raise RuntimeError(f"apex bench {work} gave a name twice: {names}")
    return measurements
