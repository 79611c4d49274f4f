"""`apex sweep`: remove blobs that no run names any more, and data keys that no file needs."""

import argparse
import json
from dataclasses import asdict

from apex_fast import app as house
from apex_fast.cli.configured import add_folder, settings_of
from apex_fast.cli.screen import Screen
from apex_fast.errors import InvalidInput

DAY_S = 86_400.0


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "remove blobs that nothing names, and data keys that nothing needs, while the gateway is stopped"
    verb = verbs.add_parser("sweep", help=words, description=words.capitalize() + ".")
    verb.add_argument(
        "--older-than", type=float, default=DAY_S, metavar="SECONDS", help="leave blobs that were put later (86400)"
    )
    add_folder(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 where it was done."""
    if arguments.older_than < 0:
        raise InvalidInput("--older-than is a number of seconds, 0 or more")
    settings = settings_of(arguments, arguments.data)
    swept = house.sweep(settings, arguments.older_than)
    if arguments.json:
        print(json.dumps(asdict(swept), indent=2))
        return 0
    screen = Screen()
    screen.good(f"{swept.blobs} blobs of {swept.bytes} bytes and {swept.keys} data keys are removed")
    return 0
