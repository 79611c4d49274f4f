"""`docs/demo.svg`: `apex demo` on a terminal, as a picture. `python tools/picture.py` plays it and writes the file."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 116
REDRAWN = re.compile(rb"[^\n]*\r(?!\n)")


def played() -> bytes:
    """What the demo shows on a terminal, bars that were drawn over left out."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    child = subprocess.Popen([ROOT / ".venv/bin/apex", "demo"], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        shown += piece
    if child.wait() != 0:
        sys.exit(f"the demo failed:\n{shown.decode()}")
    return REDRAWN.sub(b"", shown.replace(b"\r\n", b"\n")).replace(b"\x1b[K", b"")


def main() -> None:
    """Write the picture."""
    text = re.sub(r"/\S*/(apex-demo-\w+)", r"/tmp/\1", played().decode())
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text("$ make demo", style="bold"))
        console.print(Text.from_ansi(text))
        picture = console.export_svg(title="apex_fast", theme=MONOKAI, unique_id="demo")
    # Blanks at the start of a text are dropped by some viewers unless they are told to keep them.
    picture = picture.replace("<text ", '<text xml:space="preserve" ')
    (ROOT / "docs" / "demo.svg").write_text(picture)


if __name__ == "__main__":
    main()
