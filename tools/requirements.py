"""The hashed requirement files hold what the wheel needs, and no address of a registry.

`--write` resolves them anew (uv, pinned with the rest); without it the files are checked.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"


def names(lines: list[str]) -> set[str]:
    """Normalized names of the requirement lines."""
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {match.group().lower().replace("_", "-") for match in found if match}


def main() -> int:
    """0 if the files are good."""
    if "--write" in sys.argv[1:]:
        flags = ["--universal", "--generate-hashes", "--no-annotate", "--no-header", "--quiet"]
        flags += ["--no-emit-index-url", "--no-emit-find-links", "--python-version", "3.11"]
        command = [sys.executable, "-m", "uv", "pip", "compile", *flags, "dev.in", "-o", "dev.txt"]
        subprocess.run(command, check=True, cwd=FOLDER)
    locked = (FOLDER / "dev.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = names(project["dependencies"] + [r for e in project["optional-dependencies"].values() for r in e])
    wanted |= names((FOLDER / "dev.in").read_text().splitlines())
    missing = wanted - names(locked)
    hosts = [line for line in locked if "://" in line or line.startswith(("--index", "--find-links", "--extra"))]
    unhashed = [line for line in locked if re.match(r"[A-Za-z0-9]", line) and not line.endswith("\\")]
    for name in sorted(missing):
        print(f"requirements/dev.txt: {name} is not locked; run `make lock`")
    for line in hosts + unhashed:
        print(f"requirements/dev.txt: {line!r} names a registry or has no hash")
    return 1 if missing or hosts or unhashed else 0


if __name__ == "__main__":
    sys.exit(main())
