"""The clock port on the system's clock."""

import time


class SystemClock:
    """Keeps the promise of ``ports.clock.Clock``."""

    def now_ns(self) -> int:
        return time.time_ns()
