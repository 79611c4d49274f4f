"""What states and marks look like. Nothing is said by colour alone: a state stands as a word, a mark as a sign.

The lines are Okabe and Ito's colours, which most colour-blind readers tell apart; the fills are light tints of them.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Paint:
    """How something is drawn."""

    line: str
    fill: str = "#ffffff"
    dashes: str = ""
    """Of the line, as in SVG; empty: none."""


PLAIN: Final = Paint("#57606a")
STATES: Final = {
    "done": Paint("#009e73", "#dcf4ec"),
    "running": Paint("#0072b2", "#d9ecf8"),
    "waiting": Paint("#b07d00", "#fdf1d0"),
    "failed": Paint("#d55e00", "#fbe3d6"),
    "skipped": Paint("#8c959f", "#f3f4f6", "4 3"),
}
MARKS: Final = {
    "added": Paint("#009e73", "#eefaf5"),
    "removed": Paint("#d55e00", "#fdf0e8", "6 4"),
    "changed": Paint("#0072b2", "#eef6fc"),
}
SIGNS: Final = {"": "", "added": "+ ", "removed": "− ", "changed": "~ "}
