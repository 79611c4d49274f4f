"""The truth: an append-only sequence of records."""

from collections.abc import Callable, Iterator
from typing import Protocol

from apex_fast.domain import Event, LogError, Turn


class History(Protocol):
    """What a machine is recovered from."""

    @property
    def term(self) -> int:
        """Number of the newest ownership."""

    @property
    def snapshot(self) -> tuple[int, bytes] | None:
        """Newest snapshot: the position it stands for, and the machine's bytes."""

    def scan(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Records from ``start`` in chunks: the position of the first, and u32-LE length-prefixed bodies."""


class EventLog(History, Protocol):
    """Where a machine's turns become durable.

    Promises, each a test of ``tests/conformance/test_event_log.py``:

    1. ``append`` takes a turn whole or raises; turns become durable in the order of their appends.
    2. The position handed to the durable callback never falls, and counts only what survives the loss of power
       (the memory adapter: the loss of the loop).
    3. The callback runs on the loop that opened the log, at most once per committed group.
    4. ``scan`` and ``timeline`` give exactly what was appended, byte for byte, and only what is durable.
    5. ``timeline`` gives the events of one run, ascending, dense offsets, from any offset.
    6. Opened again, ``position`` and ``scan`` give what was durable; ``term`` is higher than at any opening before.
    7. Two owners never hold the same log: the second opening raises ``LogError`` with code LOCKED.
    8. After a failure nothing is acknowledged again: the failure callback runs once, ``append`` raises.
    9. A turn that does not start at the end of the log raises ``LogError`` with code CONFLICT and keeps nothing.
    10. ``append`` without room raises ``LogError`` with code FULL or QUEUE_FULL and keeps nothing; the same turn may be
        appended again later. ``has_room`` turns false before that, while what is on its way still fits.
    11. ``trim`` forgets only records that were decided before the time it is given and that a snapshot stands for. What
        is not forgotten is read as before; ``timeline`` of what is raises ``LogError`` with code TRIMMED.
    """

    @property
    def position(self) -> int:
        """Number of records found at opening."""

    def on_durable(self, durable: Callable[[int], None], failed: Callable[[LogError], None]) -> None:
        """Name the two callbacks; called once, before the first append."""

    def append(self, turn: Turn) -> None:
        """Queue a turn; durable once the callback's position reaches ``turn.position``."""

    def durable(self) -> int:
        """Number of records known to be durable."""

    def has_room(self) -> bool:
        """False: take no new work."""

    def timeline(self, head: int, from_offset: int, limit: int) -> list[Event]:
        """Events with offset >= ``from_offset`` of the run whose last event stands at position ``head``."""

    def save_snapshot(self, position: int, state: bytes) -> None:
        """Keep the machine's state at a durable position, so that recovery starts there. Blocks; on any thread."""

    def trim(self, before_ns: int) -> None:
        """Forget records decided before ``before_ns`` (since 1970) as far as that is easy. Blocks; on any thread."""

    def stats(self) -> dict[str, int]:
        """Counters and gauges for metrics."""

    async def close(self) -> None:
        """Make durable what was appended, then give the log up."""
