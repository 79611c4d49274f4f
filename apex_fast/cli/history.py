"""`apex history`: a run as a file, such files decided anew by this engine, and the whole log as tables."""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from apex_fast import app as house
from apex_fast.cli.configured import add_folder, settings_of
from apex_fast.cli.screen import Screen
from apex_fast.client import Client
from apex_fast.core import CoreError, check_history


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "write the history of a run to a file; decide such files anew; write the log as tables"
    verb = verbs.add_parser("history", help=words, description=words.capitalize() + ".")
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write the history of a run to a file, or to standard output")
    export.add_argument("run_id", metavar="RUN")
    export.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: standard output")
    export.add_argument("--address", default="127.0.0.1:7400", metavar="HOST:PORT", help="of the gateway")
    export.set_defaults(run=run_export)
    replay = actions.add_parser("replay", help="check that this engine reads the files and decides the same")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    replay.add_argument("--json", action="store_true", help="print a JSON object for each file")
    replay.set_defaults(run=run_replay)
    parquet = actions.add_parser("parquet", help="write the whole log as Parquet tables, also while it is served")
    parquet.add_argument("folder", type=Path, metavar="OUT", help="folder for events.parquet and runs.parquet")
    add_folder(parquet)
    parquet.add_argument("--json", action="store_true", help="print one JSON object")
    parquet.set_defaults(run=run_parquet)


def run_export(arguments: argparse.Namespace) -> int:
    """Ask a gateway for the history of a run."""
    data = asyncio.run(_exported(arguments.address, arguments.run_id))
    if arguments.file is None:
        sys.stdout.buffer.write(data)
    else:
        arguments.file.write_bytes(data)
        print(f"{arguments.file}: {len(data)} bytes")
    return 0


def run_parquet(arguments: argparse.Namespace) -> int:
    """0 where both tables are written."""
    settings = settings_of(arguments, arguments.data)
    written = house.write_tables(settings, arguments.folder)
    if arguments.json:
        print(json.dumps(asdict(written), indent=2))
        return 0
    screen = Screen()
    screen.good(f"{written.events} events and {written.runs} runs in {arguments.folder}")
    screen.fact("records", f"from {written.start} on")
    return 0


async def _exported(address: str, run_id: str) -> bytes:
    async with Client(address) as client:
        return await client.run(run_id).history()


def run_replay(arguments: argparse.Namespace) -> int:
    """0 if every file is decided as it was, else 1."""
    code = 0
    for file in arguments.files:
        try:
            checked = check_history(file.read_bytes())
        except (CoreError, OSError) as error:
            code = 1
            reason = error.message if isinstance(error, CoreError) else str(error)
            found: dict[str, object] = {"ok": False, "reason": reason}
            said = f"{file}: {reason}"
        else:
            found = {"ok": True, "run_id": checked.run_id, "records": checked.records, "decided": checked.decided}
            said = f"{file}: {checked.records} records, {checked.decided} of them decided again, all the same"
        if arguments.json:
            print(json.dumps({"file": str(file), **found}))
        else:
            print(said, file=sys.stdout if found["ok"] else sys.stderr)
    return code
