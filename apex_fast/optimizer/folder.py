"""Passes as files: `NAME.wasm` in folders, compiled when first called and again when a file changes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from apex_fast.optimizer.guest import Guest, Limits

SHIPPED = Path(__file__).parent / "passes"


@dataclass(frozen=True, slots=True)
class Found:
    """A pass by its name and the hash of its bytes."""

    name: str
    hash: str
    guest: Guest


class PassFolder:
    """The passes of some folders; of two with one name that of the later folder counts."""

    def __init__(self, folders: Iterable[Path] = (SHIPPED,), limits: Limits = Limits()) -> None:  # noqa: B008
        """Nothing is read yet."""
        self._folders = tuple(folders)
        self._limits = limits
        self._known: dict[Path, tuple[tuple[int, int, int], Found]] = {}

    def passes(self) -> list[Found]:
        """The passes as they are now, by name. What did not change is not read again; a file that goes while it
        is read is not there."""
        found: dict[str, Found] = {}
        seen: dict[Path, tuple[tuple[int, int, int], Found]] = {}
        for file in (file for folder in self._folders for file in sorted(folder.glob("*.wasm"))):
            try:
                seen[file] = self._one(file)
            except OSError:
                continue
            found[file.stem] = seen[file][1]
        self._known = seen
        return [found[name] for name in sorted(found)]

    def _one(self, file: Path) -> tuple[tuple[int, int, int], Found]:
        status = file.stat()
        mark = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._known.get(file)
        if known is not None and known[0] == mark:
            return known
        module = file.read_bytes()
        digest = f"sha256:{hashlib.sha256(module).hexdigest()}"
        if known is not None and known[1].hash == digest:
            return mark, known[1]
        return mark, Found(file.stem, digest, Guest(module, self._limits))
