"""DBOS on SQLite, its default store: a library, so that work, store and load share one process."""

from pathlib import Path

from bench.rivals.contestant import Contestant, Process, python

NAME = "dbos"


def _processes(data: Path) -> list[Process]:
    return [Process("load", (python(NAME), "-m", "bench.rivals.dbos.driver", str(data)))]


DBOS = Contestant(NAME, "SQLite, its default", _processes, separable=False, packages=("dbos",))
