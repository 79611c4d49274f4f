"""`apex demo` as a script would run it: in a pipe."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.gateway import python_path


def test_demo_in_a_pipe(tmp_path: Path) -> None:
    """Five scenes, everything held, exit 0, nothing left behind, and no control characters for a terminal."""
    environment = {**os.environ, "PYTHONPATH": python_path(), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "apex_fast.cli.main", "demo"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    out = done.stdout
    assert done.returncode == 0, out + done.stderr
    assert "\x1b" not in out
    assert "\r" not in out
    for scene in ("A goal becomes a plan", "undone", "1,312 tasks", "SIGKILL", "An agent changes the run"):
        assert scene in out, f"{scene!r} is not in:\n{out}"
    for shown in ("Paris", "john@example.com", "book-flight", "+ node forecast", "Everything held", "Try next"):
        assert shown in out, f"{shown!r} is not in:\n{out}"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
