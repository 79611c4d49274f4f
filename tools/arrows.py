"""The arrows between crates, and who may name which library, held against `cargo metadata`.

Source of the rules: docs/ARCHITECTURE.md, "Arrows".
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

ALLOWED = {
    "apex-ir": set[str](),
    "apex-machine": {"apex-ir"},
    "apex-log": set[str](),
    "apex-recall": set[str](),
    "apex-front": set[str](),
    "apex-sim": {"apex-machine", "apex-log"},
    "apex-py": {"apex-ir", "apex-machine", "apex-log", "apex-recall", "apex-front"},
}
"""Crate of ours → crates of ours that it may depend on."""

ONLY_IN = {
    "pyo3": {"apex-py"},
    "tonic": {"apex-front"},
    "hyper": {"apex-front"},
    "tokio": {"apex-front"},
    "axum": {"apex-front"},
}
"""Library → the crates that may depend on it (tests included)."""

PURE = {"apex-ir", "apex-machine"}
IMPURE = {"tokio", "rustix", "libc", "rand", "getrandom", "uuid", "chrono", "crossbeam"}
"""What the pure crates never depend on."""

EXTENSION = re.compile(r"^\s*(from|import) apex_fast\.core\._core", re.MULTILINE)
"""Only `apex_fast/core` imports the extension; import-linter does not see modules that are not Python."""


def main() -> int:
    """0 if every arrow points the right way."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.run(command, check=True, cwd=ROOT, capture_output=True).stdout)["packages"]
    wrong: list[str] = []
    for package in packages:
        name = package["name"]
        if name not in ALLOWED:
            wrong.append(f"{name}: a crate that tools/arrows.py does not know; give it its arrows")
            continue
        for dependency in package["dependencies"]:
            other = dependency["name"]
            shipped = dependency["kind"] is None
            if other.startswith("apex-") and other != name and other not in ALLOWED[name]:
                wrong.append(f"{name} → {other}: not an arrow of the house")
            if other in ONLY_IN and name not in ONLY_IN[other]:
                wrong.append(f"{name} → {other}: only {', '.join(sorted(ONLY_IN[other]))} may name it")
            if name in PURE and shipped and other in IMPURE:
                wrong.append(f"{name} → {other}: a pure crate has no clock, file, thread or randomness")
    wrong += [
        f"{path.relative_to(ROOT)}: import it from apex_fast.core or apex_fast.domain"
        for path in sorted((ROOT / "apex_fast").rglob("*.py"))
        if EXTENSION.search(path.read_text()) and path.parent.name != "core"
    ]
    print("\n".join(wrong) if wrong else f"arrows: {len(packages)} crates, all right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
