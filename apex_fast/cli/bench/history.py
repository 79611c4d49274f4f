"""A log with a given number of events, made by a machine at full speed: what recovery and reads are measured on."""

from contextlib import closing
from pathlib import Path
from typing import Final

from apex_fast.cli.bench import workflows
from apex_fast.core import compile
from apex_fast.domain import Command, JobResult, Log, Machine, RegisterWorkflow, StartRun

TENANT: Final = "default"
RUNS_AT_ONCE: Final = 256
AHEAD_RECORDS_MAX: Final = 200_000
WAIT_S: Final = 60.0
READ_BYTES: Final = 1 << 20
SEGMENT_BYTES: Final = 64 << 20
PARTITIONS: Final = 64
SNAPSHOT_AT: Final = 0.9
MS: Final = 1_000_000
BEGAN_NS: Final = 1_700_000_000_000_000_000


class Writer:
    """Drives a machine through chains of 10 nodes whose jobs succeed at once, and appends its turns."""

    def __init__(self, folder: Path) -> None:
        """Raises LogError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = Log.open(str(folder), SEGMENT_BYTES)
        self.machine = Machine(PARTITIONS, self._log.term)
        self.position = 0
        self._now_ns = BEGAN_NS
        self._results: list[JobResult] = []
        self._open = 0
        self._decide([(1, RegisterWorkflow(TENANT, compile(workflows.chain()).canonical, "main"))])

    def _decide(self, commands: list[tuple[int, Command]]) -> None:
        self._now_ns += MS
        more = True
        while more:
            turn = self.machine.step(self._now_ns, commands)
            commands, more = [], turn.more
            if turn.count:
                self._log.append(turn)
                self.position = turn.position
        jobs, _, _, ended = self.machine.advance(self.position)
        self._open -= len(ended)
        self._results = [JobResult.ok(job.id, job.attempt, b"null") for job in jobs]

    def write(self, events: int) -> None:
        """Go on until the log has this many events, more by less than one turn."""
        while self.position < events:
            commands: list[tuple[int, Command]] = [(0, result) for result in self._results]
            fresh = RUNS_AT_ONCE - self._open
            self._open += fresh
            commands += [(0, StartRun(TENANT, "chain")) for _ in range(fresh)]
            self._decide(commands)
            # The log's queue is bounded.
            self._log.wait_durable(max(0, self.position - AHEAD_RECORDS_MAX), WAIT_S)

    def read(self, position: int) -> int:
        """Wait for what is durable from ``position`` on and read some of it; the position behind that."""
        self._log.wait_durable(position + 1, WAIT_S)
        return position + self._log.scan(position, READ_BYTES)[1]

    def close(self) -> None:
        """Make everything durable and give the log up."""
        self._log.close()


def written(folder: Path, events: int, snapshot: bool) -> int:
    """Write a log; the number of its events. ``snapshot``: with one of the state at nine tenths. Raises LogError."""
    writer = Writer(folder)
    if snapshot:
        writer.write(round(events * SNAPSHOT_AT))
        state, position = writer.machine.snapshot(), writer.position
    writer.write(events)
    writer.close()
    if snapshot:
        with closing(Log.open(str(folder), SEGMENT_BYTES)) as log:
            log.save_snapshot(position, state)
    return writer.position
