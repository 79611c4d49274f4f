"""A shell that a page of the documentation is read to: one bash for all its commands, as a reader's terminal is.

A command in the background is awaited until it says that it is ready (sd_notify(3)), and ended with the page.
"""

import contextlib
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from tests.docs.page import Command

MARK = "\x01the command is done\x01"
COMMAND_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 30.0
CURL = Path(__file__).with_name("curl.py")


class Session:
    """A bash in ``folder``, until the `with` block ends."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Not in the folder: the path of a socket has at most 107 bytes.
        self._ready_folder = tempfile.TemporaryDirectory()
        ready = os.path.join(self._ready_folder.name, "ready")
        self._ready.bind(ready)
        self._ready.settimeout(COMMAND_TIMEOUT_S)
        self._jobs = 0
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**environment, "NOTIFY_SOCKET": ready},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self._say("set -uo pipefail")

    def run(self, command: Command) -> tuple[int, str]:
        """The exit code and what was written."""
        text = command.text
        if command.in_background:
            self._jobs += 1
            text = f"{text.removesuffix('&')} >.job-{self._jobs}.log 2>&1 &"
        # The status stays what it was, so that `echo $?` may be the next command.
        self._say(f"{{ {text}\n}} </dev/null\n__status=$?; echo; echo '{MARK}' $__status; (exit $__status)")
        written: list[str] = []
        while True:
            line = self._line(command, written)
            if line.startswith(MARK):
                break
            written.append(line)
        if command.in_background:
            self._await_ready(command)
        return int(line.removeprefix(MARK)), "".join(written).strip("\n")

    def _say(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text + "\n")
        self._bash.stdin.flush()

    def _read(self) -> None:
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _line(self, command: Command, written: list[str]) -> str:
        try:
            line = self._lines.get(timeout=COMMAND_TIMEOUT_S)
        except queue.Empty:
            told = "".join(written)
            raise AssertionError(f"not done after {COMMAND_TIMEOUT_S:.0f} s: {command.text}\n{told}") from None
        if line is None:
            raise AssertionError(f"the shell ended: {command.text}\n" + "".join(written))
        return line

    def _await_ready(self, command: Command) -> None:
        log = self._folder / f".job-{self._jobs}.log"
        try:
            while b"READY=1" not in self._ready.recv(4096):
                pass
        except TimeoutError:
            raise AssertionError(f"never ready: {command.text}\n{log.read_text(errors='replace')}") from None

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._say("jobs -p | xargs -r kill 2>/dev/null; wait; exit")
            self._bash.wait(STOP_TIMEOUT_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait()
        for stream in (self._bash.stdin, self._bash.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._ready.close()
        self._ready_folder.cleanup()


def environment(port: int) -> dict[str, str]:
    """What a page gets: the commands of this environment first, a port of its own, no settings of the caller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APEX_", "NOTIFY_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "APEX_SERVER_PORT": str(port)}


def lend_curl(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment with `tests/docs/curl.py` as its `curl`."""
    commands = folder / ".commands"
    commands.mkdir()
    command = commands / "curl"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(CURL))} "$@"\n')
    command.chmod(0o755)
    return {**environment, "PATH": f"{commands}{os.pathsep}{environment['PATH']}"}
