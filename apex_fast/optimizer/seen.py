"""What was seen of one run: its calls, how long they took, and which patches of passes it went under.

Read from the run's own events (docs/decisions/0001), so the past tells as much as the present.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from apex_fast.domain import Event
from apex_fast.optimizer.patch import Expected
from apex_fast.optimizer.reason import expected_in, pass_of

# Runs that say nothing of their version alone: they were given results, moved, or recorded no times.
_OTHERWISE = frozenset({"RunMigrated", "TurnRecorded"})


@dataclass(slots=True)
class Calls:
    """The calls of one node."""

    starts: int = 0
    failures: int = 0
    """Attempts that failed."""
    work_s: float = 0.0
    """All attempts together."""
    output_bytes: int = 0
    skips: int = 0

    def add(self, more: "Calls") -> None:
        """Those of another run."""
        self.starts += more.starts
        self.failures += more.failures
        self.work_s += more.work_s
        self.output_bytes += more.output_bytes
        self.skips += more.skips


@dataclass(slots=True)
class Work:
    """What a run did, or several together."""

    calls: int = 0
    work_s: float = 0.0
    busy_s: float = 0.0
    """Time in which a call was in flight: that of the run without what it waited for otherwise."""
    nodes: dict[str, Calls] = field(default_factory=dict)
    """By the id of the node; those of all items and iterations together."""

    def add(self, more: "Work") -> None:
        """That of other runs."""
        self.calls += more.calls
        self.work_s += more.work_s
        self.busy_s += more.busy_s
        for node, calls in more.nodes.items():
            self.nodes.setdefault(node, Calls()).add(calls)


@dataclass(slots=True)
class Seen(Work):
    """A run that completed under its version, but for patches of passes."""

    patches: dict[str, Expected] = field(default_factory=dict)
    """What the patches of each pass were expected to save."""


class _Started(msgspec.Struct):
    origin_run: str = ""


class _Requested(msgspec.Struct):
    node: str
    attempt: int = 0


class _Received(msgspec.Struct):
    node: str
    attempt: int = 0
    status: str = ""
    output: msgspec.Raw = msgspec.Raw(b"")


class _Skipped(msgspec.Struct):
    node: str


class _Applied(msgspec.Struct):
    number: int
    author: str = ""
    reason: str = ""


class _Dropped(msgspec.Struct):
    number: int


_STARTED = msgspec.json.Decoder(_Started)
_REQUESTED = msgspec.json.Decoder(_Requested)
_RECEIVED = msgspec.json.Decoder(_Received)
_SKIPPED = msgspec.json.Decoder(_Skipped)
_APPLIED = msgspec.json.Decoder(_Applied)
_DROPPED = msgspec.json.Decoder(_Dropped)


def node_of(path: str) -> str:
    """The id of a node in its instance path: `m[3].fetch` is `fetch`."""
    return path.rpartition("].")[2]


def seen_in(events: Iterable[Event]) -> Seen | None:
    """What all events of a run say; None where it did not complete, or says nothing of its version alone."""
    seen = Seen()
    open_at: dict[tuple[str, int], int] = {}
    applied: dict[int, tuple[str, Expected]] = {}
    busy_since_ns = 0
    for event in events:
        kind = event.type
        if kind == "ToolCallRequested":
            asked = _REQUESTED.decode(event.payload)
            calls = seen.nodes.setdefault(node_of(asked.node), Calls())
            if asked.attempt <= 1:
                seen.calls += 1
                calls.starts += 1
            if not open_at:
                busy_since_ns = event.time_ns
            open_at[asked.node, asked.attempt] = event.time_ns
        elif kind == "ToolResultReceived":
            got = _RECEIVED.decode(event.payload)
            begun_ns = open_at.pop((got.node, got.attempt), None)
            if begun_ns is None:
                continue
            calls = seen.nodes[node_of(got.node)]
            calls.work_s += (event.time_ns - begun_ns) / 1e9
            calls.failures += got.status != "ok"
            calls.output_bytes += len(got.output)
            if not open_at:
                seen.busy_s += (event.time_ns - busy_since_ns) / 1e9
        elif kind == "NodeSkipped":
            skipped = _SKIPPED.decode(event.payload)
            seen.nodes.setdefault(node_of(skipped.node), Calls()).skips += 1
        elif kind == "PatchApplied":
            patch = _APPLIED.decode(event.payload)
            author = pass_of(patch.author)
            if author is None:
                return None
            applied[patch.number] = (author[0], expected_in(patch.reason))
        elif kind == "PatchRolledBack":
            applied.pop(_DROPPED.decode(event.payload).number, None)
        elif kind in _OTHERWISE or (kind == "RunStarted" and _STARTED.decode(event.payload).origin_run):
            return None
        elif kind == "WorkflowCompleted":
            seen.work_s = sum(calls.work_s for calls in seen.nodes.values())
            for name, expected in applied.values():
                seen.patches[name] = seen.patches.get(name, Expected()) + expected
            return seen
    return None
