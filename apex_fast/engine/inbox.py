"""What waits to be decided, by lane.

Results and timers go before control, control before starts; only starts are refused when the house is full.
"""

from collections import deque
from collections.abc import Iterable

from apex_fast.domain import CancelRun, Command, Heartbeat, JobResult, RegisterWorkflow, ResolveApproval, TagWorkflow

CONTROL = (CancelRun, ResolveApproval, RegisterWorkflow, TagWorkflow)


class Inbox:
    """Commands with their tokens. All methods are called on the engine's loop."""

    def __init__(self, starts_max: int, bytes_max: int) -> None:
        self._results: list[tuple[int, Command]] = []
        self._control: list[tuple[int, Command]] = []
        self._starts: deque[tuple[int, Command]] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self.starts_max = starts_max
        self.bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._results) + len(self._control) + len(self._starts)

    def results(self, results: "list[JobResult]") -> None:
        """Queue outcomes; never refused, for each stands for a job that was handed out."""
        self._results.extend([(0, result) for result in results])

    def beats(self, beats: "Iterable[Heartbeat]") -> None:
        """Queue signs of life, among the outcomes: one that comes before a result is taken before it."""
        self._results.extend([(0, beat) for beat in beats])

    def control(self, token: int, command: Command) -> None:
        """Queue a command on something that exists."""
        self._control.append((token, command))

    def start(self, token: int, command: Command, size: int) -> bool:
        """Queue a start of ``size`` bytes; False when the lane is full."""
        held = self._bytes + size
        if len(self._starts) >= self.starts_max or (held > self.bytes_max and self._starts):
            return False
        self._starts.append((token, command))
        self._sizes.append(size)
        self._bytes = held
        return True

    def take(self, starts_max: int) -> list[tuple[int, Command]]:
        """The next batch: every result and control command, and at most ``starts_max`` starts."""
        batch, self._results = self._results, []
        if self._control:
            batch += self._control
            self._control = []
        starts = self._starts
        if len(starts) <= starts_max:
            batch += starts
            starts.clear()
            self._sizes.clear()
            self._bytes = 0
        else:
            batch += [starts.popleft() for _ in range(starts_max)]
            self._bytes -= sum(self._sizes.popleft() for _ in range(starts_max))
        return batch
