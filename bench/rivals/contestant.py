"""What the runner must know of a contestant, and its processes on stage.

A contestant is on stage for one round at a time, in a fresh folder, so that no round pays for the data of the
one before and no rival burns CPU while another is measured.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from apex_fast.cli.bench.cpu import tree_cpu_s
from bench.rivals.load import Command, Lap

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / ".services" / "rivals"
STOP_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 300.0


def free_port() -> int:
    """A TCP port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Process:
    """One process of a contestant. ``load`` is the driver: exactly one, and started last."""

    role: Literal["server", "worker", "load"]
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """A system under measurement.

    ``processes`` gets the folder for the round's data. ``separable`` says whether the load generator is a
    process of its own; if not, its cost is within the figure per unit. The locked versions of ``packages``
    are stated with the result. ``concurrency`` overrides the runs in flight where fewer are faster.
    """

    name: str
    durability: str
    processes: Callable[[Path], list[Process]]
    separable: bool = True
    packages: tuple[str, ...] = ()
    concurrency: dict[str, int] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Where its environment and data live; ignored by git."""
        return SERVICES / self.name

    @property
    def folder(self) -> Path:
        """Where its sources and locks live."""
        return Path(__file__).resolve().parent / self.name


def python(name: str) -> str:
    """The interpreter of a rival's own environment."""
    return str(SERVICES / name / "venv" / "bin" / "python")


class Stage:
    """One contestant's processes for one round; a context manager.

    Raises ``RuntimeError`` with the end of the driver's log when the driver dies, or is killed because it gave
    no answer within ``ANSWER_TIMEOUT_S`` (Temporal needs 40 s for a lap of 10 s and its backlog).
    """

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.data = contestant.home / "data"
        self._running: list[tuple[Process, subprocess.Popen[str]]] = []
        self._logs: list[TextIO] = []

    def __enter__(self) -> "Stage":
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True)
        try:
            for process in self.contestant.processes(self.data):
                self._spawn(process)
            self._answer()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _spawn(self, process: Process) -> None:
        log = (self.data / f"{process.role}.log").open("w")
        self._logs.append(log)
        is_driver = process.role == "load"
        popen = subprocess.Popen(
            process.argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **process.env},
            stdin=subprocess.PIPE if is_driver else subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_driver else log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        self._running.append((process, popen))

    @property
    def _driver(self) -> "subprocess.Popen[str]":
        return self._running[-1][1]

    def _answer(self) -> str:
        assert self._driver.stdout is not None
        hangs = threading.Timer(ANSWER_TIMEOUT_S, self._driver.kill)
        hangs.start()
        line = self._driver.stdout.readline()
        hangs.cancel()
        if not line:
            log = (self.data / "load.log").read_text()[-2000:]
            raise RuntimeError(f"the driver of {self.contestant.name} stopped:\n{log}")
        return line

    def lap(self, command: Command) -> Lap:
        """Let the driver carry out ``command``."""
        assert self._driver.stdin is not None
        self._driver.stdin.write(json.dumps(command) + "\n")
        self._driver.stdin.flush()
        result: Lap = json.loads(self._answer())
        return result

    def cpu_s(self) -> tuple[float, float | None]:
        """CPU seconds so far: of the system, and of the load generator where it is apart."""
        system = [popen.pid for process, popen in self._running if process.role != "load"]
        if not self.contestant.separable:
            return tree_cpu_s([*system, self._driver.pid]), None
        return tree_cpu_s(system), tree_cpu_s([self._driver.pid])

    def _stop(self) -> None:
        # The load ends first, then the servers before their workers: a worker that drains its connections
        # would wait for a server that never hangs up.
        for process, popen in [*self._running[-1:], *self._running[:-1]]:
            if process.role == "load" and popen.stdin is not None:
                popen.stdin.close()
            else:
                popen.terminate()
            try:
                popen.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                print(f"{self.contestant.name}: its {process.role} had to be killed", file=sys.stderr)
            # A child that outlives its parent would disturb the next contestant.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
            if popen.stdout is not None:
                popen.stdout.close()
        self._running.clear()
        for log in self._logs:
            log.close()
        self._logs.clear()
