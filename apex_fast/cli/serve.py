"""`apex serve`: open the gateway and stay until a signal."""

import argparse
import asyncio
import importlib
import os
import resource
import sys
import traceback
from pathlib import Path

import uvloop

from apex_fast import app as house
from apex_fast.authoring import App
from apex_fast.cli.configured import add_config
from apex_fast.errors import InvalidInput
from apex_fast.settings import Settings
from apex_fast.telemetry import logs

OPEN_FILES_MAX = 65_536


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    verb = verbs.add_parser("serve", help="open the gateway", description="Open the gateway and stay until a signal.")
    verb.add_argument("--app", metavar="MODULE:NAME", help="where the functions are, e.g. orders:app")
    verb.add_argument("--data", metavar="FOLDER", type=Path, help="where the log lives (default: ./apex-data)")
    verb.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    verb.add_argument("--port", type=int, help="port for gRPC, HTTP/1.1 and HTTP/2 (default: 7400; 0: any)")
    verb.add_argument(
        "--insecure", action="store_true", help="allow an address other than loopback without credentials"
    )
    add_config(verb)
    verb.set_defaults(run=run)


def load_app(reference: str | None) -> App:
    """The App that MODULE:NAME names. Raises InvalidInput saying what was looked for and where."""
    if reference is None:
        return App()
    module_name, _, name = reference.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"--app {reference}: no module {error.name!r} here ({os.getcwd()}) or in the environment; "
            "write MODULE:NAME, e.g. orders:app for `app` in orders.py"
        ) from error
    except Exception as error:
        raise InvalidInput(f"--app {reference}: {type(error).__name__}: {error}{_place_of(error)}") from error
    found = getattr(module, name or "app", None)
    if not isinstance(found, App):
        raise InvalidInput(f"--app {reference}: {module_name}.{name or 'app'} is not an apex_fast.App")
    try:
        found.table()
    except ValueError as error:
        raise InvalidInput(f"--app {reference}: {error}") from error
    return found


def _place_of(error: Exception) -> str:
    """Where a module failed; a SyntaxError says it by itself."""
    frames = traceback.extract_tb(error.__traceback__)
    return "" if isinstance(error, SyntaxError) or not frames else f" ({frames[-1].filename}, line {frames[-1].lineno})"


def raise_open_files() -> None:
    """Take all the open files that the system grants: each connection and viewer is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a graceful stop."""
    overrides = {
        "server.host": arguments.host,
        "server.port": arguments.port,
        "server.insecure": True if arguments.insecure else None,
        "data.dir": str(arguments.data) if arguments.data else None,
    }
    settings = Settings.load(arguments.config, os.environ, {k: v for k, v in overrides.items() if v is not None})
    logs.configure(settings.telemetry.log_level)
    raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(house.serve(settings, load_app(arguments.app)))
