"""CPU time of process trees, read from ``/proc`` (proc(5)).

User and system time of every living process of the tree, and of the children that they have reaped. Resolution is one
clock tick, 10 ms on Linux, so a lap should burn a second or more.
"""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> tuple[int, float] | None:
    """Parent and CPU seconds of a process, or nothing when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in brackets and may hold blanks and brackets itself.
    fields = text.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return int(fields[1]), ticks / TICKS_PER_S


def process_cpu_s(pid: int) -> float:
    """CPU seconds of one process and the children that it has reaped; 0 when it is gone."""
    stat = _stat(pid)
    return 0.0 if stat is None else stat[1]


def tree_cpu_s(roots: list[int]) -> float:
    """CPU seconds that the processes ``roots`` and all their descendants have used since they began."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) is not None:
            parents[int(entry)], used[int(entry)] = stat
    members = set(roots)
    total = 0.0
    for pid, cpu_s in used.items():
        ancestor = pid
        while ancestor not in members and ancestor in parents:
            ancestor = parents[ancestor]
        if ancestor in members:
            total += cpu_s
    return total
