"""What waits to be decided, by lane.

Results and timers go before control, control before starts; only starts are refused when the house is full. Starts that
fit into the next turn are taken in the order in which they came. Where more wait, they are fair by tenant and then by
priority, with ageing, and a tenant that waits most is refused first: it may hold four times as many as there are places
left (the dynamic threshold of Choudhury and Hahne, 1998), so there is always a place for one that has none.
"""

from collections import deque
from collections.abc import Iterable

from apex_fast.domain import Command, Heartbeat, JobResult, ReplayRun, StartRun
from apex_fast.fair_queue import FairQueue

SHARE = 4

Start = StartRun | ReplayRun


class Inbox:
    """Commands with their tokens. All methods are called on the engine's loop."""

    def __init__(self, starts_max: int, bytes_max: int, starts_per_turn: int) -> None:
        self._results: list[tuple[int, Command]] = []
        self._control: list[tuple[int, Command]] = []
        self._starts: deque[tuple[int, Start]] = deque()
        self._later: FairQueue[tuple[int, Start, int]] = FairQueue()
        self._bytes = 0
        self._later_bytes = 0
        self._starts_max = starts_max
        self._bytes_max = bytes_max
        self._starts_per_turn = starts_per_turn

    def __len__(self) -> int:
        return len(self._results) + len(self._control) + len(self._starts) + len(self._later)

    def results(self, results: "list[JobResult]") -> None:
        """Queue outcomes; never refused, for each stands for a job that was handed out."""
        self._results.extend([(0, result) for result in results])

    def beats(self, beats: "Iterable[Heartbeat]") -> None:
        """Queue signs of life, among the outcomes: one that comes before a result is taken before it."""
        self._results.extend([(0, beat) for beat in beats])

    def control(self, token: int, command: Command) -> None:
        """Queue a command on something that exists."""
        self._control.append((token, command))

    def start(self, token: int, command: Start, size: int) -> bool:
        """Queue a start of ``size`` bytes; False when the lane is full, or the tenant has its share."""
        waiting = len(self._starts) + len(self._later)
        held = self._bytes + self._later_bytes + size
        if waiting >= self._starts_max or (held > self._bytes_max and waiting):
            return False
        if len(self._later) or len(self._starts) >= self._starts_per_turn:
            tenant = command.tenant
            if self._later.count_of(tenant) >= SHARE * (self._starts_max - waiting):
                return False
            self._later.push([(tenant, command.priority, (token, command, size))])
            self._later_bytes += size
        else:
            self._starts.append((token, command))
            self._bytes += size
        return True

    def has_room(self) -> bool:
        """Whether the next turn has room for more starts."""
        return len(self._starts) < self._starts_per_turn and not len(self._later)

    def take(self) -> list[tuple[int, Command]]:
        """The next batch: every result and control command, and at most a turn's starts."""
        batch, self._results = self._results, []
        if self._control:
            batch += self._control
            self._control = []
        room = self._starts_per_turn - len(self._starts)
        batch += self._starts
        self._starts.clear()
        self._bytes = 0
        if room > 0 and len(self._later):
            for token, command, size in self._later.take(room):
                batch.append((token, command))
                self._later_bytes -= size
        return batch
