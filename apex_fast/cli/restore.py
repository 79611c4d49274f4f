"""`apex restore`: make a data folder of a backup."""

import argparse
import json
import os
from pathlib import Path

from apex_fast import app as house
from apex_fast.cli.screen import Screen
from apex_fast.settings import Settings


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "make a data folder of a backup, and prove it"
    verb = verbs.add_parser("restore", help=words, description=words.capitalize() + ".")
    verb.add_argument("copy", type=Path, metavar="SRC", help="a folder that `apex backup` wrote")
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the data folder to make; absent or empty")
    verb.add_argument("--config", type=Path, metavar="FILE", help="settings (default: apex.toml where there is one)")
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 where the folder is there, with every record that was copied and the same state."""
    settings = Settings.load(arguments.config, os.environ)
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
