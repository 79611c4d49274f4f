"""`apex VERB …`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from apex_fast.core import CoreError
from apex_fast.errors import ApexError
from apex_fast.settings import SettingsError

VERBS = (
    "serve",
    "demo",
    "bench",
    "doctor",
    "verify",
    "backup",
    "restore",
    "history",
    "erase",
    "sweep",
    "optimize",
    "graph",
)
"""Modules of this room, each with its own part of the grammar."""
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def parser(verbs_known: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """The grammar of the command line; every verb adds its own part."""
    top = argparse.ArgumentParser(
        prog="apex", description="apex_fast: a durable gateway for AI workflows.", allow_abbrev=False
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in verbs_known:
        import_module(f"apex_fast.cli.{verb}").add_to(verbs)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a verb; the exit code of the process.

    0 it worked; 1 it did not, the reason is on standard error; 2 the words are off; 130 interrupted.
    """
    words = sys.argv[1:] if argv is None else argv
    # Who starts a gateway again does not wait for the modules of the other verbs: a seventh of its start.
    named = tuple(verb for verb in VERBS if words[:1] == [verb])
    arguments = parser(named or VERBS).parse_args(words)
    try:
        return int(arguments.run(arguments))
    except (ApexError, CoreError, SettingsError) as error:
        print(f"apex {arguments.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
