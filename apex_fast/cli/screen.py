"""What a verb shows a person: colour on a terminal, plain text in a pipe (and where NO_COLOR is set)."""

import os
import sys
from typing import TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
WIDTH = 96
BAR = "█"
BAR_EMPTY = "░"


class Screen:
    """Lines for people on ``stream``."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        self._colour = self.is_terminal and "NO_COLOR" not in os.environ

    def paint(self, text: str, *styles: str) -> str:
        """The text in these styles, where colour is shown."""
        if not self._colour:
            return text
        return f"\x1b[{';'.join(STYLES[style] for style in styles)}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """One line."""
        print(text, file=self._stream, flush=True)

    def scene(self, number: int, title: str) -> None:
        """The head of a scene."""
        rule = "─" * max(4, WIDTH - len(title) - 6)
        self.line()
        self.line(f"{self.paint(f' {number} ', 'bold', 'cyan')} {self.paint(title, 'bold')} {self.paint(rule, 'dim')}")

    def fact(self, name: str, value: str) -> None:
        """A name and what it is."""
        self.line(f"   {self.paint(f'{name:<12}', 'dim')} {value}")

    def good(self, text: str) -> None:
        """Something that holds."""
        self.line(f"   {self.paint('✓', 'green')} {text}")

    def bad(self, text: str) -> None:
        """Something that does not."""
        self.line(f"   {self.paint('✗', 'red')} {text}")

    def progress(self, done: int, total: int, text: str) -> None:
        """A bar that is drawn over itself; nothing in a pipe."""
        if self.is_terminal:
            filled = 40 * done // max(total, 1)
            bar = self.paint(BAR * filled, "green") + self.paint(BAR_EMPTY * (40 - filled), "dim")
            print(f"\r   {bar} {done}/{total} {text}\x1b[K", end="", file=self._stream, flush=True)

    def progress_end(self) -> None:
        """Leave the bar's line."""
        if self.is_terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
