"""What waits to be done: fair by tenant, then by priority, with ageing.

Tenants take turns, one item a turn (deficit round robin with a quantum of one, Shreedhar and Varghese 1995: all jobs
weigh the same). Within a tenant `high` goes before `medium` before `low`; each eighth turn takes the oldest instead. So
an item that finds ``k`` others of its tenant is taken within ``8 * (k + 1)`` turns of it, whatever comes later; with
``t`` tenants each ``t`` items taken are a turn of every one. Used from several threads: one lock, held for one batch.
Knows nothing of the project.
"""

from collections import deque
from collections.abc import Iterable
from threading import Lock
from typing import Final, Generic, TypeVar

T = TypeVar("T")
LEVEL: Final = {"high": 0, "medium": 1, "low": 2}
AGEING: Final = 8


class _Tenant(Generic[T]):
    __slots__ = ("count", "levels", "name", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.levels: tuple[deque[tuple[int, T]], ...] = (deque(), deque(), deque())
        self.count = 0
        self.turn = 0

    def pop(self) -> T:
        self.count -= 1
        self.turn += 1
        waiting = [level for level in self.levels if level]
        if self.turn % AGEING or len(waiting) == 1:
            return waiting[0].popleft()[1]
        return min(waiting, key=lambda level: level[0][0]).popleft()[1]

    def pop_same(self, limit: int) -> list[T]:
        """Up to ``limit`` items where all are of one priority, else none: nobody to be fair to, no need to count."""
        waiting = [level for level in self.levels if level]
        if len(waiting) > 1:
            return []
        count = min(limit, self.count)
        self.count -= count
        return [waiting[0].popleft()[1] for _ in range(count)]


class FairQueue(Generic[T]):
    """Items by tenant and priority. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        # Tenants come and go: only those that have something here are kept.
        self._tenants: dict[str, _Tenant[T]] = {}
        self._round: deque[_Tenant[T]] = deque()
        self._number = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def count_of(self, tenant: str) -> int:
        """How many items of a tenant wait."""
        held = self._tenants.get(tenant)
        return 0 if held is None else held.count

    def push(self, items: Iterable[tuple[str, str, T]]) -> None:
        """Add (tenant, priority, item)s; an unknown priority counts as `medium`."""
        with self._lock:
            number = self._number
            for name, priority, item in items:
                tenant = self._tenants.get(name)
                if tenant is None:
                    tenant = self._tenants[name] = _Tenant(name)
                    self._round.append(tenant)
                number += 1
                tenant.levels[LEVEL.get(priority, 1)].append((number, item))
                tenant.count += 1
            self._count += number - self._number
            self._number = number

    def take(self, limit: int) -> list[T]:
        """Up to ``limit`` items, in the order in which they shall be done."""
        taken: list[T] = []
        with self._lock:
            turns = self._round
            if len(turns) == 1:
                taken = turns[0].pop_same(limit)
                if not turns[0].count:
                    del self._tenants[turns.popleft().name]
            while turns and len(taken) < limit:
                tenant = turns[0]
                taken.append(tenant.pop())
                if tenant.count:
                    turns.rotate(-1)
                else:
                    del self._tenants[turns.popleft().name]
            self._count -= len(taken)
        return taken
