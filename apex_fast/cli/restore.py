"""`apex restore`: make a data folder of a backup."""

import argparse
import json
from pathlib import Path

from apex_fast import app as house
from apex_fast.cli.configured import add_config, settings_of
from apex_fast.cli.screen import Screen


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "make a data folder of a backup, and prove it"
    verb = verbs.add_parser("restore", help=words, description=words.capitalize() + ".")
    verb.add_argument("copy", type=Path, metavar="SRC", help="a folder that `apex backup` wrote")
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the data folder to make; absent or empty")
    add_config(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 where the folder is there, with every record that was copied and the same state."""
    settings = settings_of(arguments)
    manifest = house.restore(settings, arguments.copy, arguments.folder)
    if arguments.json:
        found = {"folder": str(arguments.folder), "position": manifest.position, "state": manifest.state}
        print(json.dumps(found, indent=2))
        return 0
    screen = Screen()
    screen.good(f"{manifest.position} records in {arguments.folder}, as they were at {manifest.made}")
    screen.fact("state", manifest.state)
    screen.fact("serve it", f"apex serve --data {arguments.folder}")
    return 0
