"""What the scenes share: the screen, the client, the folder, and whether everything held."""

import json
from pathlib import Path
from typing import Any

from apex_fast.cli.screen import Screen
from apex_fast.client import Client


class Stage:
    """Where the scenes play."""

    def __init__(self, screen: Screen, client: Client, folder: Path) -> None:
        self.screen = screen
        self.client = client
        self.folder = folder
        self.all_held = True

    def check(self, holds: bool, text: str) -> None:
        """Say whether something holds, and remember it."""
        if holds:
            self.screen.good(text)
        else:
            self.screen.bad(text)
            self.all_held = False

    def ledger(self) -> list[dict[str, Any]]:
        """The lines that the tools wrote."""
        path = self.folder / "ledger.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
