"""What was observed of the runs of a version, as passes are told (docs/formats/optimizer.md).

Sums over the last runs: two windows, of which the older one goes when the newer one is full, so what is kept does not
grow with the runs and what is old is forgotten.
"""

from dataclasses import dataclass

import msgspec

from apex_fast.optimizer.patch import Expected
from apex_fast.optimizer.seen import Calls, Seen, Work


@dataclass(slots=True)
class _Window(Work):
    runs: int = 0


class Profile:
    """The last runs of a version, between ``runs_max`` / 2 and ``runs_max`` of them once there were so many."""

    def __init__(self, runs_max: int) -> None:
        self._window_max = max(1, runs_max // 2)
        self._older = _Window()
        self._newer = _Window()
        self._settled = b"null"
        self._since = 0

    def add(self, seen: Seen) -> None:
        """One run more."""
        self._since += 1
        if self._newer.runs >= self._window_max:
            self._older, self._newer = self._newer, _Window()
        self._newer.add(seen)
        self._newer.runs += 1

    @property
    def runs(self) -> int:
        """How many runs it spans."""
        return self._older.runs + self._newer.runs

    def a_run(self) -> Expected:
        """What a run takes on average: calls, seconds of work, seconds in which a call was in flight."""
        runs = max(1, self.runs)
        older, newer = self._older, self._newer
        return Expected(
            (older.calls + newer.calls) / runs,
            (older.work_s + newer.work_s) / runs,
            (older.busy_s + newer.busy_s) / runs,
        )

    def document(self) -> bytes:
        """For passes (JSON); `null` where there was no run."""
        if not self.runs:
            return b"null"
        both = Work()
        for window in (self._older, self._newer):
            both.add(window)
        runs, mean = self.runs, self.a_run()
        return msgspec.json.encode(
            {
                "runs": runs,
                "a_run": {"calls": mean.calls, "work_s": mean.work_s, "latency_s": mean.latency_s},
                "nodes": {node: _observed(calls, runs) for node, calls in sorted(both.nodes.items())},
            }
        )

    def settled(self) -> bytes:
        """`document`, made anew when half of the runs are new: passes are asked again then, not each time."""
        if 2 * self._since >= self.runs:
            self._settled, self._since = self.document(), 0
        return self._settled


def _observed(calls: Calls, runs: int) -> dict[str, float]:
    starts = max(1, calls.starts)
    return {
        "starts_per_run": calls.starts / runs,
        "mean_s": calls.work_s / starts,
        "failures_per_run": calls.failures / runs,
        "skips_per_run": calls.skips / runs,
        "output_bytes": calls.output_bytes / starts,
    }
