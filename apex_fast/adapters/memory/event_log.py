"""The event_log port in memory: the reference that the conformance suite reads first."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from apex_fast.core import read_event, split_records
from apex_fast.domain import Event, LogError, Turn

SCAN_RECORDS_MAX = 1024


@dataclass
class Store:
    """What outlives an owner: the stand-in for a folder. Hand the same store to the next `MemoryEventLog`."""

    bodies: list[bytes] = field(default_factory=list)
    term: int = 0
    snapshot: tuple[int, bytes] | None = None
    owned: bool = False


class MemoryEventLog:
    """Keeps the promises of ``ports.event_log.EventLog`` for as long as the store is held."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store if store is not None else Store()
        if self._store.owned:
            raise LogError("LOCKED", "another owner holds this store; close it first")
        self._store.owned = True
        self._store.term += 1
        self.term = self._store.term
        self.position = len(self._store.bodies)
        self.snapshot = self._store.snapshot
        self._loop = asyncio.get_running_loop()
        self._queued: list[Turn] = []
        self._end = self.position
        self._committed: Callable[[int], None] = lambda _: None
        self._closed = False

    def on_durable(self, durable: Callable[[int], None], failed: Callable[[LogError], None]) -> None:
        del failed  # memory does not fail
        self._committed = durable

    def append(self, turn: Turn) -> None:
        if self._closed:
            raise LogError("POISONED", "the log is closed")
        if turn.position - turn.count != self._end:
            raise LogError("CONFLICT", f"the turn starts at {turn.position - turn.count}, the log ends at {self._end}")
        self._end = turn.position
        if not self._queued:
            self._loop.call_soon(self._commit)
        self._queued.append(turn)

    def _commit(self) -> None:
        if not self._queued:
            return
        queued, self._queued = self._queued, []
        for turn in queued:
            self._store.bodies.extend(split_records(turn.records()))
        self._committed(len(self._store.bodies))

    def durable(self) -> int:
        return len(self._store.bodies)

    def has_room(self) -> bool:
        return True

    def scan(self, start: int) -> Iterator[tuple[int, bytes]]:
        for position in range(start, len(self._store.bodies), SCAN_RECORDS_MAX):
            bodies = self._store.bodies[position : position + SCAN_RECORDS_MAX]
            yield position, b"".join(len(body).to_bytes(4, "little") + body for body in bodies)

    def timeline(self, head: int, from_offset: int, limit: int) -> list[Event]:
        events: list[Event] = []
        position: int | None = head
        while position is not None and position < len(self._store.bodies):
            event = read_event(position, self._store.bodies[position])
            if event.offset < from_offset:
                break
            events.append(event)
            position = event.previous
        events.reverse()
        return events[:limit]

    def save_snapshot(self, position: int, state: bytes) -> None:
        if position > len(self._store.bodies):
            raise LogError("CONFLICT", f"position {position} is not durable")
        self._store.snapshot = (position, state)

    def trim(self, before_ns: int) -> None:
        del before_ns  # it is gone with the process anyway

    def stats(self) -> dict[str, int]:
        return {"records": len(self._store.bodies)}

    async def close(self) -> None:
        if not self._closed:
            self._commit()
            self._closed = True
            self._store.owned = False
