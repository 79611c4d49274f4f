"""`apex doctor`: what is in force, and whether everything that it needs is there."""

import argparse
import json
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from apex_fast.app import log_folder
from apex_fast.cli.configured import add_config, settings_of
from apex_fast.cli.screen import Screen
from apex_fast.domain import LogError, LogView
from apex_fast.settings import Settings

FREE_BYTES_MIN = 1 << 30
OPEN_FILES_MIN = 4096


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "show the settings in force and check what they need"
    verb = verbs.add_parser("doctor", help=words, description=words.capitalize() + ".")
    add_config(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def checks(settings: Settings) -> Iterator[Check]:
    """Look at everything that serving with these settings needs."""
    yield Check("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 or newer")
    folder = Path(settings.data.dir)
    existing = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), Path("/"))
    writable = os.access(existing, os.W_OK | os.X_OK)
    yield Check("data folder", writable, f"{folder.absolute()}", f"{existing} is not writable for this user")
    free = shutil.disk_usage(existing).free
    yield Check("free space", free >= FREE_BYTES_MIN, f"{free / 1e9:.1f} GB", "free at least 1 GB")
    yield from _log_check(settings)
    yield _port_check(settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES_MIN
    yield Check("open files", enough, f"up to {hard}", f"raise the hard limit: ulimit -Hn {OPEN_FILES_MIN}")
    model = settings.planner.model
    yield Check("model", True, model or "off (goals need a template); APEX_PLANNER_MODEL=… switches one on")


def _log_check(settings: Settings) -> Iterator[Check]:
    folder = log_folder(settings)
    if not folder.exists():
        yield Check("log", True, "none yet; the first start makes it")
        return
    try:
        log = LogView.open(str(folder), settings.log.key_file or None)
    except LogError as error:
        yield Check("log", False, str(error), "see docs/errors for the code")
        return
    found = f"{log.position} records, term {log.term}"
    if log.unfinished is not None:
        found += f"; unfinished: {log.unfinished}"
    yield Check("log", True, found)


def _port_check(settings: Settings) -> Check:
    place = f"{settings.server.host}:{settings.server.port}"
    try:
        with socket.create_server((settings.server.host, settings.server.port)):
            return Check("port", True, f"{place} is free")
    except OSError as error:
        return Check("port", False, f"{place}: {error.strerror}", "another gateway may run; or set APEX_SERVER_PORT")


def run(arguments: argparse.Namespace) -> int:
    """0 if everything is there, else 1."""
    settings = settings_of(arguments)
    found = list(checks(settings))
    sick = [check for check in found if not check.ok]
    if arguments.json:
        described = [{"key": s.key, "value": s.value, "origin": s.origin} for s in settings.describe()]
        print(json.dumps({"settings": described, "checks": [asdict(check) for check in found]}, indent=2))
        return 1 if sick else 0
    screen = Screen()
    for setting in settings.describe():
        origin = "" if setting.origin == "default" else screen.paint(f"  ({setting.origin})", "cyan")
        screen.line(f"   {setting.key:<36} {setting.value}{origin}")
    screen.line()
    for check in found:
        text = f"{check.name:<12} {check.found}"
        if check.ok:
            screen.good(text)
        else:
            screen.bad(f"{text}: {check.advice}")
    return 1 if sick else 0
