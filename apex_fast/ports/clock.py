"""Time, as an argument."""

from typing import Protocol


class Clock(Protocol):
    """1. ``now_ns`` is nanoseconds since 1970 UTC; it may step backwards (the machine never does)."""

    def now_ns(self) -> int:
        """The time."""
