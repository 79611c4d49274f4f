"""Small file systems of a test's own: full when the test wants it, read-only when it says so.

Mounting needs root, or a namespace of one's own: where the process may not mount, the test runs itself again under
`unshare -rm` and reports what came of it, so it is never skipped.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path


def _mount(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)


@cache
def may_mount() -> bool:
    """Whether this process can mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = _mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder).returncode == 0
        if mounted:
            subprocess.run(["umount", folder], check=True)
    return mounted


def run_where_it_may_mount(test: str) -> None:
    """Run a test, by its node id, in a namespace where it may mount. Raises AssertionError with its report."""
    command = ["unshare", "-rm", sys.executable, "-m", "pytest", "-q", test]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def tmpfs(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size at ``folder``, which is made."""
    folder.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder))
    assert mounted.returncode == 0, mounted.stderr
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    """Nothing can be written to a mounted file system any more."""
    mounted = _mount("-o", "remount,ro", str(folder))
    assert mounted.returncode == 0, mounted.stderr


def fill(folder: Path) -> Path:
    """Take all the space of a file system; remove the file that is returned to give it back."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    return filler
