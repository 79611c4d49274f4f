"""A verb of `apex` in a process of its own."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.support.gateway import python_path

TIMEOUT_S = 240.0


async def apex(*arguments: str, folder: Path, **environment: str) -> tuple[int, str]:
    """Run it in ``folder``, where the data folder is `data`: exit code, and what it wrote."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "apex_fast.cli.main", *arguments),
        cwd=folder,
        env={"PYTHONPATH": python_path(), "APEX_DATA_DIR": "data", "APEX_SERVER_PORT": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    written, _ = await asyncio.wait_for(child.communicate(), TIMEOUT_S)
    assert child.returncode is not None
    return child.returncode, written.decode()
