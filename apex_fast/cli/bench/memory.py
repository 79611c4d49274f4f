"""Memory of a process, read from ``/proc`` (proc(5))."""

import re
from pathlib import Path


def _status_bytes(pid: int, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def resident_bytes(pid: int) -> int:
    """Resident memory now, mapped files included. Raises OSError where the process is gone."""
    return _status_bytes(pid, "VmRSS")


def resident_peak_bytes(pid: int) -> int:
    """The most that was resident. Raises OSError where the process is gone."""
    return _status_bytes(pid, "VmHWM")
