"""Where and with what a measurement was taken: machine, versions, commit."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

from bench.rivals.contestant import ROOT, Contestant


def _first(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return "unknown"
    return found.group(1).strip() if found else "unknown"


def machine() -> dict[str, str | int | float]:
    """The machine; ``load_1m`` is the load average now, so that a noisy run shows."""
    memory_kib = _first("/proc/meminfo", r"^MemTotal:\s+(\d+)")
    return {
        "cpu": _first("/proc/cpuinfo", r"^model name\s*:\s*(.+)$"),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(int(memory_kib) / 2**20) if memory_kib.isdigit() else 0,
        "kernel": platform.release(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """The commit of the tree, with ``+`` when it has changes that are not committed."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def versions(contestants: list[Contestant]) -> dict[str, str]:
    """Python's version and the locked version of every package that the contestants name."""
    found = {"python": platform.python_version()}
    for contestant in contestants:
        for package in contestant.packages:
            if package.startswith("@"):
                lock = json.loads((contestant.folder / "package-lock.json").read_text())
                found[package] = lock["packages"][f"node_modules/{package}"]["version"]
            else:
                text = (contestant.folder / "requirements.txt").read_text()
                pin = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)
                found[package] = pin.group(1) if pin else "unknown"
    return found
