"""The plan_store port in a folder: one JSON file for each plan.

A plan is written beside its place, synced, then renamed over it, and the folder is synced (POSIX rename is atomic).
"""

import asyncio
import os
import re
from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class EmbeddedPlanStore:
    """Keeps the promises of ``ports.plan_store.PlanStore``. One process writes to a folder."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder where it is missing. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._writing = asyncio.Lock()

    def load_all(self) -> list[tuple[str, bytes]]:
        plans = ((path.stem, path.read_bytes()) for path in self._folder.glob("*.json"))
        return sorted((name, body) for name, body in plans if _ID.fullmatch(name))

    async def put(self, template_id: str, plan: bytes) -> None:
        if _ID.fullmatch(template_id) is None:
            raise ValueError(f"no plan id: {template_id!r}")
        async with self._writing:
            await asyncio.to_thread(self._write, template_id, plan)

    def _write(self, template_id: str, plan: bytes) -> None:
        beside = self._folder / f".{template_id}.new"
        with beside.open("wb") as file:
            file.write(plan)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._folder / f"{template_id}.json")
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
