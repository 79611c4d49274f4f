"""How long a test waits for what must come."""

from typing import Final

PATIENCE_S: Final = 120.0
"""Longer than anything takes here, also where the machine is busy or stands still for a while: what hangs is later."""
