"""Where and with what a measurement was taken: machine, versions, commit."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

VERSIONS = ("apex_fast", "uvloop", "msgspec", "protobuf")


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


def commit(folder: Path) -> str:
    """The commit of the tree that ``folder`` is in, with ``+`` when it has changes that are not committed.

    `unknown` for an installed package: then the version says what it is.
    """
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that take part."""
    found = {"python": platform.python_version()}
    for package in VERSIONS:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found
