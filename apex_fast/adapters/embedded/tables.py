"""A log as two Parquet tables, for queries: every event, and every run.

Read as anybody may read a log that is served, and written in batches: what is in memory is a batch, and a row for each
run that has not ended at the place where the reading is. Records that were erased are left out; of runs whose beginning
was let go, what is left is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from apex_fast.adapters.embedded.history import FolderHistory
from apex_fast.core import read_event, split_records
from apex_fast.domain import Event
from apex_fast.errors import Unavailable

EVENTS = "events.parquet"
RUNS = "runs.parquet"
BATCH_ROWS = 8_192
BATCH_BYTES = 16 << 20
REGISTRY = "00000000-0000-0000-0000-000000000000"
"""The run of events that are about no run."""
STATES = {"WorkflowCompleted": "COMPLETED", "WorkflowFailed": "FAILED"}


@dataclass(frozen=True)
class Written:
    """Rows of the two tables, and the first position that the log still has."""

    events: int
    runs: int
    start: int


class _Started(msgspec.Struct):
    workflow: str = ""
    version: str = ""
    parent_run: str = ""
    labels: dict[str, str] = {}


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Ended(msgspec.Struct):
    error: _Error | None = None


_started = msgspec.json.Decoder(_Started)
_ended = msgspec.json.Decoder(_Ended)


def write_tables(log: Path, folder: Path, key_file: str | None) -> Written:
    """Write ``events.parquet`` and ``runs.parquet`` into ``folder``. Blocks.

    Raises Unavailable where pyarrow is not installed; LogError; OSError.
    """
    arrow = _arrow()
    history = FolderHistory(log, key_file)
    folder.mkdir(parents=True, exist_ok=True)
    beside = {name: folder / f"{name}.new" for name in (EVENTS, RUNS)}
    events = _Table(arrow, beside[EVENTS], _event_schema(arrow))
    runs = _Table(arrow, beside[RUNS], _run_schema(arrow))
    with events.writer, runs.writer:
        _fill(history, events, runs)
        events.flush()
        runs.flush()
    for name, path in beside.items():
        path.replace(folder / name)
    return Written(events.rows, runs.rows, history.view.start)


def _fill(history: FolderHistory, events: "_Table", runs: "_Table") -> None:
    # Runs that did not end yet, in the order of their starts.
    open_runs: dict[str, dict[str, Any]] = {}
    for event in _events(history):
        payload = event.payload
        events.add(_event_row(event, payload), len(payload))
        if event.run_id == REGISTRY:
            continue
        row = open_runs.get(event.run_id)
        if row is None:
            row = open_runs[event.run_id] = _run_row(event)
        row["events"] += 1
        if event.type == "RunStarted":
            started = _started.decode(payload)
            row |= {"workflow": started.workflow, "version": started.version, "labels": list(started.labels.items())}
            row["parent_run"] = started.parent_run or None
        elif event.ends_run:
            error = _ended.decode(payload).error
            cancelled = error is not None and error.code == "CANCELLED"
            row |= {"state": "CANCELLED" if cancelled else STATES[event.type], "ended": event.time_ns // 1_000}
            if error is not None:
                row |= {"error_code": error.code, "error_message": error.message}
            runs.add(open_runs.pop(event.run_id), 0)
    for row in open_runs.values():
        runs.add(row, 0)


def _events(history: FolderHistory) -> Iterator[Event]:
    for first, records in history.scan(history.view.start):
        for position, body in enumerate(split_records(records), start=first):
            if body:
                yield read_event(position, body)


def _event_row(event: Event, payload: bytes) -> dict[str, Any]:
    return {
        "position": event.position,
        "partition": event.partition,
        "sequence": event.sequence,
        "term": event.term,
        "tenant": event.tenant,
        "run_id": None if event.run_id == REGISTRY else event.run_id,
        "offset": event.offset,
        "epoch": event.epoch,
        "type": event.type,
        "time": event.time_ns // 1_000,
        "causation": event.causation,
        "correlation": event.correlation or None,
        "payload": payload.decode(),
    }


def _run_row(event: Event) -> dict[str, Any]:
    return {
        "run_id": event.run_id,
        "tenant": event.tenant,
        "workflow": None,
        "version": None,
        "state": "OPEN",
        "started": event.time_ns // 1_000 if event.offset == 0 else None,
        "ended": None,
        "events": 0,
        "parent_run": None,
        "labels": [],
        "error_code": None,
        "error_message": None,
    }


class _Table:
    """A file that is written in batches of rows."""

    def __init__(self, arrow: Any, path: Path, schema: Any) -> None:
        from pyarrow import parquet  # type: ignore[import-untyped]

        self._arrow = arrow
        self._schema = schema
        self.writer = parquet.ParquetWriter(path, schema, compression="zstd")
        self._batch: list[dict[str, Any]] = []
        self._bytes = 0
        self.rows = 0

    def add(self, row: dict[str, Any], size: int) -> None:
        """One row; ``size``: bytes of what is large in it."""
        self._batch.append(row)
        self._bytes += size
        if len(self._batch) >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._batch:
            self.writer.write_batch(self._arrow.RecordBatch.from_pylist(self._batch, schema=self._schema))
            self.rows += len(self._batch)
            self._batch, self._bytes = [], 0


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise Unavailable(
            "pyarrow, which writes Parquet, is not installed: pip install 'apex_fast[parquet]'", retryable=False
        ) from None
    return pyarrow


def _event_schema(arrow: Any) -> Any:
    name = arrow.dictionary(arrow.int32(), arrow.string())
    return arrow.schema(
        [
            ("position", arrow.int64()),
            ("partition", arrow.int32()),
            ("sequence", arrow.int64()),
            ("term", arrow.int64()),
            ("tenant", name),
            ("run_id", arrow.string()),
            ("offset", arrow.int64()),
            ("epoch", arrow.int64()),
            ("type", name),
            ("time", arrow.timestamp("us", tz="UTC")),
            ("causation", arrow.int64()),
            ("correlation", arrow.string()),
            ("payload", arrow.string()),
        ]
    )


def _run_schema(arrow: Any) -> Any:
    name = arrow.dictionary(arrow.int32(), arrow.string())
    time = arrow.timestamp("us", tz="UTC")
    return arrow.schema(
        [
            ("run_id", arrow.string()),
            ("tenant", name),
            ("workflow", name),
            ("version", name),
            ("state", name),
            ("started", time),
            ("ended", time),
            ("events", arrow.int64()),
            ("parent_run", arrow.string()),
            ("labels", arrow.map_(arrow.string(), arrow.string())),
            ("error_code", name),
            ("error_message", arrow.string()),
        ]
    )
