"""Installs a rival from its locked files into its own folder under ``.services/rivals``.

Python packages with pip's or uv's hash checking, npm packages by their lock's integrity sums and without
install scripts. A stamp of the locks makes the second run instant.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.rivals.contestant import ROOT, Contestant

PYTHON_LOCK = "requirements.txt"
NPM_FILES = ("package.json", "package-lock.json")


def _digest(folder: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in (PYTHON_LOCK, *NPM_FILES):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _uv() -> str | None:
    own = ROOT / ".venv" / "bin" / "uv"
    return str(own) if own.exists() else shutil.which("uv")


def _install_python(lock: Path, venv: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    interpreter = str(venv / "bin" / "python")
    if (uv := _uv()) is not None:
        tool = [uv, "pip", "install", "--quiet", "--python", interpreter]
    else:
        tool = [interpreter, "-m", "pip", "install", "--quiet"]
    subprocess.run([*tool, "--require-hashes", "-r", str(lock)], check=True)


def _install_npm(folder: Path, home: Path) -> None:
    for name in NPM_FILES:
        shutil.copy(folder / name, home / name)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=home, check=True)


def install(contestant: Contestant) -> None:
    """Make the contestant ready to run; nothing is done when its locks have not changed.

    Raises ``subprocess.CalledProcessError`` or ``FileNotFoundError`` (no npm) when it can't be installed.
    """
    lock = contestant.folder / PYTHON_LOCK
    contestant.home.mkdir(parents=True, exist_ok=True)
    if not lock.exists():
        return
    stamp = contestant.home / "installed"
    digest = _digest(contestant.folder)
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing {contestant.name}", file=sys.stderr)
    _install_python(lock, contestant.home / "venv")
    if (contestant.folder / NPM_FILES[0]).exists():
        _install_npm(contestant.folder, contestant.home)
    stamp.write_text(digest)
