"""`apex VERB …`."""

import argparse
import sys

from apex_fast.cli import backup, bench, demo, doctor, erase, history, restore, serve, sweep, verify
from apex_fast.core import CoreError
from apex_fast.errors import ApexError
from apex_fast.settings import SettingsError

VERBS = (serve, demo, bench, doctor, verify, backup, restore, history, erase, sweep)
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The grammar of the command line; every verb adds its own part."""
    top = argparse.ArgumentParser(
        prog="apex", description="apex_fast: a durable gateway for AI workflows.", allow_abbrev=False
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        verb.add_to(verbs)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a verb; the exit code of the process.

    0 it worked; 1 it did not, the reason is on standard error; 2 the words are off; 130 interrupted.
    """
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ApexError, CoreError, SettingsError) as error:
        print(f"apex {arguments.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
