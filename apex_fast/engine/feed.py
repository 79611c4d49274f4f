"""Tails what became durable, for those who watch.

A run is followed by counting: the first watcher adds it, the last one takes it away. The events of followed runs
are read from the turns that wait for their durability anyway, so a run that nobody watches costs nothing here.
"""

from collections import deque
from collections.abc import Callable

from apex_fast.domain import Event, Followed, Turn


class Feed:
    """Durable events of followed runs, in order, per group."""

    def __init__(self) -> None:
        self._followed = Followed()
        self._watchers: dict[str, int] = {}
        self._waiting: deque[Turn] = deque()
        self._callback: Callable[[list[Event]], None] = lambda _: None

    def on_events(self, callback: Callable[[list[Event]], None]) -> None:
        """Name who is told; called on the engine's loop with the events of one or more groups."""
        self._callback = callback

    def follow(self, run_id: str) -> None:
        """Tell of this run's events from the next group on."""
        count = self._watchers.get(run_id, 0)
        self._watchers[run_id] = count + 1
        if not count:
            self._followed.add(run_id)

    def unfollow(self, run_id: str) -> None:
        """Undo one `follow`."""
        count = self._watchers.get(run_id, 0)
        if count > 1:
            self._watchers[run_id] = count - 1
        elif count:
            del self._watchers[run_id]
            self._followed.discard(run_id)

    def appended(self, turn: Turn) -> None:
        """A turn went to the log."""
        self._waiting.append(turn)

    def durable(self, position: int) -> None:
        """The log is durable up to ``position``."""
        waiting = self._waiting
        events: list[Event] = []
        while waiting and waiting[0].position <= position:
            turn = waiting.popleft()
            if self._watchers:
                events += self._followed.events(turn)
        if events:
            self._callback(events)
