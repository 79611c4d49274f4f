"""DBOS on SQLite, its default store: a library, so that work, store and load share one process."""

from pathlib import Path

from bench.rivals.contestant import Contestant, Process, python

NAME = "dbos"
# Writers queue for the one lock of SQLite's journal: measured quicker than with more runs in flight.
FEWER = {"starts": 32, "chain": 8, "fan": 4}


def _processes(data: Path) -> list[Process]:
    return [Process("load", (python(NAME), "-m", "bench.rivals.dbos.driver", str(data)))]


DBOS = Contestant(
    NAME,
    "fdatasync, SQLite rollback journal, its default",
    _processes,
    separable=False,
    packages=("dbos",),
    concurrency=FEWER,
)
