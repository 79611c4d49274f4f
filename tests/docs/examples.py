"""Runs the examples of one page, top to bottom, in one folder."""

import difflib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from apex_fast.core import compile as compile_definition
from apex_fast.executors.http.guard import Guard
from apex_fast.settings import Settings
from tests.docs.page import Block, Command, blocks_of, commands_of
from tests.docs.session import Session, environment, lend_curl

ROOT = Path(__file__).parents[2]
PORT_OF_PAGES = "7400"
PYTHON_TIMEOUT_S = 240
VOLATILE = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"sha256:[0-9a-f]{6,64}"), "HASH"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "TIME"),
    (re.compile(r"\b\d+\.\d+(e[-+]?\d+)?\b"), "NUMBER"),
    (re.compile(r"[ \t\r]+$", re.MULTILINE), ""),
)
NODE_TYPES = frozenset({"function", "http", "agent", "map", "join", "composite", "loop", "timer", "signal", "approval"})
# Runs a file as `python FILE` does; then every workflow that it wrote must compile.
RUNNER = """
import runpy, sys
names = runpy.run_path(sys.argv[1], run_name="__main__")
from apex_fast import App
from apex_fast.core import compile
for app in {id(one): one for one in names.values() if isinstance(one, App)}.values():
    for definition in app.definitions():
        compile(definition, app.table())
"""


def without_volatile(text: str) -> str:
    """The text with ids, hashes, times and measured numbers replaced by words."""
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return text.strip("\n")


def fits(expected: str, found: str) -> bool:
    """Whether a command answered what the page shows; `…` stands for anything."""
    parts = map(re.escape, without_volatile(expected).split("…"))
    return re.fullmatch(".*?".join(parts), without_volatile(found), re.DOTALL) is not None


def run_page(page: Path, folder: Path, port: int, *, with_curl: bool = True) -> int:
    """Run every example of a page; how many there were. Raises AssertionError with the line of the one that fails.

    ``with_curl``: use the machine's, if there is one; `tests/docs/curl.py` otherwise.
    """
    blocks = [replace(block, text=block.text.replace(PORT_OF_PAGES, str(port))) for block in blocks_of(page)]
    count = 0
    variables = environment(port)
    if not with_curl or shutil.which("curl") is None:
        variables = lend_curl(folder, variables)
    with Session(folder, variables) as session:
        for index, block in enumerate(blocks):
            try:
                count += _run(block, blocks[index + 1 :], folder, port, session)
            except Exception as error:
                raise AssertionError(f"{page.name}, line {block.line}: {error}") from error
    return count


def _run(block: Block, later: list[Block], folder: Path, port: int, session: Session) -> int:
    if block.name:
        (folder / block.name).write_text(block.text, encoding="utf-8")
    if block.language == "python":
        if not _is_used(block, later):
            _run_python(block, folder, port)
    elif block.language == "json":
        _check_json(block.text)
    elif block.language == "toml":
        _check_settings(block.text, folder)
    elif block.language == "console":
        _run_commands(commands_of(block), session)
    return int(block.language != "text")


def _is_used(block: Block, later: list[Block]) -> bool:
    """Whether a command further down runs the file that the block stands for, by its name or as a module."""
    stem = block.name.partition(".")[0]
    used = re.compile(rf"\b{re.escape(block.name)}\b|\b{re.escape(stem)}:\w")
    return bool(block.name) and any(one.language == "console" and used.search(one.text) for one in later)


def _run_python(block: Block, folder: Path, port: int) -> None:
    file = folder / (block.name or f"example_{block.line}.py")
    file.write_text(block.text, encoding="utf-8")
    command = [sys.executable, "-W", "error", "-c", RUNNER, str(file)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(port),
        capture_output=True,
        text=True,
        timeout=PYTHON_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _check_json(text: str) -> None:
    document = json.loads(text)
    if not isinstance(document, dict):
        return
    if document.get("type") in NODE_TYPES:
        document = {"name": "page", "version": "1", "inputs": {"type": "object"}, "nodes": [document]}
    if "nodes" in document:
        compile_definition(json.dumps(document).encode())


def _check_settings(text: str, folder: Path) -> None:
    file = folder / ".settings.toml"
    file.write_text(text, encoding="utf-8")
    Guard(Settings.load(file, {}).http.allow_hosts)


def _run_commands(commands: list[Command], session: Session) -> None:
    for index, command in enumerate(commands):
        if command.text.startswith("make "):
            _check_verb(command.text)
            continue
        status, written = session.run(command)
        asked = index + 1 < len(commands) and commands[index + 1].text == "echo $?"
        assert status == 0 or asked, f"exit {status}: {command.text}\n{written}"
        if command.expected and not fits(command.expected, written):
            shown = difflib.ndiff(command.expected.splitlines(), written.splitlines())
            raise AssertionError(f"another answer (- the page, + now): {command.text}\n" + "\n".join(shown))


def _check_verb(text: str) -> None:
    """`make VERB` is not run by a test that `make` runs; the verb must be there."""
    verb = text.split()[1]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(verb)}:", makefile, re.MULTILINE), f"no verb {verb} in the Makefile"
