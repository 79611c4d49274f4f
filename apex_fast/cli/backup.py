"""`apex backup`: copy the data folder, also while it is served."""

import argparse
import json
from pathlib import Path

from apex_fast import app as house
from apex_fast.cli.configured import add_folder, settings_of
from apex_fast.cli.screen import Screen


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "copy the data folder, also while it is served, and prove the copy"
    verb = verbs.add_parser("backup", help=words, description=words.capitalize() + ".")
    verb.add_argument("copy", type=Path, metavar="DEST", help="an empty folder, or an earlier copy to bring up to date")
    add_folder(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 where the copy is whole and proved."""
    settings = settings_of(arguments, arguments.data)
    manifest = house.back_up(settings, arguments.copy)
    size = sum(kept.bytes for kept in manifest.files)
    if arguments.json:
        found = {"copy": str(arguments.copy), "position": manifest.position, "state": manifest.state, "bytes": size}
        print(json.dumps(found, indent=2))
        return 0
    screen = Screen()
    screen.good(f"{manifest.position} records, {size} bytes of {settings.data.dir} in {arguments.copy}")
    screen.fact("state", manifest.state)
    return 0
