"""Versions of what the contestants run, from their locks."""

import json
import platform
import re

from bench.rivals.contestant import Contestant


def versions(contestants: list[Contestant]) -> dict[str, str]:
    """Python's version and the locked version of every package that the contestants name."""
    found = {"python": platform.python_version()}
    for contestant in contestants:
        for package in contestant.packages:
            if package.startswith("@"):
                lock = json.loads((contestant.folder / "package-lock.json").read_text())
                found[package] = lock["packages"][f"node_modules/{package}"]["version"]
            else:
                text = (contestant.folder / "requirements.txt").read_text()
                pin = re.search(rf"^{re.escape(package)}==(\S+)", text, re.MULTILINE)
                found[package] = pin.group(1) if pin else "unknown"
    return found
