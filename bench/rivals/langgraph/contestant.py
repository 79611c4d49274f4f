"""LangGraph with the SQLite checkpointer and durability ``sync``: a library, one process."""

from pathlib import Path

from bench.rivals.contestant import Contestant, Process, python

NAME = "langgraph"


def _processes(data: Path) -> list[Process]:
    return [Process("load", (python(NAME), "-m", "bench.rivals.langgraph.driver", str(data)))]


LANGGRAPH = Contestant(
    NAME,
    "fdatasync, SQLite WAL, durability sync",
    _processes,
    separable=False,
    packages=("langgraph", "langgraph-checkpoint-sqlite"),
)
