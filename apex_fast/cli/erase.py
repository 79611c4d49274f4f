"""`apex erase`: make all of a tenant, or a run, unreadable for good."""

import argparse
import json
from dataclasses import asdict

from apex_fast import app as house
from apex_fast.cli.configured import add_folder, settings_of
from apex_fast.cli.screen import Screen
from apex_fast.errors import InvalidInput


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "destroy the keys of all that a tenant or a run has, while the gateway is stopped"
    verb = verbs.add_parser("erase", help=words, description=words.capitalize() + ".")
    verb.add_argument(
        "--tenant", metavar="TENANT", help=f"whose; without --run, all of it (with --run: {house.TENANT})"
    )
    verb.add_argument("--run", dest="run_id", metavar="RUN", help="one ended run, with those that ran for it")
    verb.add_argument("--yes", action="store_true", help="it cannot be undone, and I mean it")
    add_folder(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 where nothing of it can be read any more."""
    if arguments.tenant is None and arguments.run_id is None:
        raise InvalidInput("say what: --tenant TENANT or --run RUN")
    if not arguments.yes:
        raise InvalidInput("what is erased cannot be restored, by nobody: say that you mean it with --yes")
    settings = settings_of(arguments, arguments.data)
    erased = house.erase(settings, arguments.tenant or house.TENANT, arguments.run_id)
    if arguments.json:
        print(json.dumps(asdict(erased), indent=2))
        return 0
    what = f"run {arguments.run_id}" if arguments.run_id else f"tenant {arguments.tenant}"
    screen = Screen()
    screen.good(f"{what} is erased: {erased.records} records, {erased.blobs} blobs")
    screen.fact("archives", f"{erased.archives} made anew")
    screen.fact("backups", "those of before still hold it: remove them, or bring them up to date")
    return 0
