"""`--data` and `--config`: which settings a verb of the data folder goes by."""

import argparse
import os
from pathlib import Path

from apex_fast.settings import Settings


def add_config(verb: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    verb.add_argument("--config", type=Path, metavar="FILE", help="settings (default: apex.toml where there is one)")


def add_folder(verb: argparse.ArgumentParser) -> None:
    """Add `--data` and `--config`."""
    verb.add_argument("--data", metavar="FOLDER", type=Path, help="where the log lives (default: data.dir)")
    add_config(verb)


def settings_of(arguments: argparse.Namespace, folder: Path | None = None) -> Settings:
    """The settings of the file and the environment; `folder`, where given, is the data folder.

    Raises `InvalidInput` for what is wrong in them.
    """
    overrides = {"data.dir": str(folder)} if folder else {}
    return Settings.load(arguments.config, os.environ, overrides)
