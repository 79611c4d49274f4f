"""`apex bench`."""

import argparse


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    verbs.add_parser("bench", help="measure")
