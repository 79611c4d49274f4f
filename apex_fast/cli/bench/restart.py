"""A gateway that is started again where another one was killed."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from apex_fast.cli.bench.cpu import process_cpu_s
from apex_fast.cli.bench.load import closed_loop
from apex_fast.cli.bench.starters import CHECK, Unary
from apex_fast.cli.process import GatewayProcess

HEALTH_S_MAX: Final = 60.0


@dataclass(frozen=True)
class Restart:
    """Times run from the start of the process. ``serving_s``: until gRPC health says SERVING."""

    ready_s: float
    serving_s: float
    cpu_s: float
    records: int
    """In the log."""
    replayed: int
    """Those behind the snapshot."""
    fold_s: float


async def restart(gateway: GatewayProcess) -> Restart:
    """Start it and wait until it serves. Raises Unavailable where it does not start."""
    begin = time.perf_counter()
    await gateway.start()
    ready_s = time.perf_counter() - begin
    check = await Unary.connect(gateway.address, CHECK, b"")
    await closed_loop(check.send, 1, HEALTH_S_MAX, 1)
    check.close()
    serving_s = time.perf_counter() - begin
    said = _said(gateway.log_file)
    return Restart(
        ready_s=ready_s,
        serving_s=serving_s,
        cpu_s=process_cpu_s(gateway.pid),
        records=said.get("records", 0),
        replayed=said.get("replayed", 0),
        fold_s=said.get("seconds", 0.0),
    )


def _said(log_file: Path) -> dict[str, Any]:
    """What the gateway logged last of a recovery; nothing where there was none."""
    lines = (json.loads(line) for line in reversed(log_file.read_text().splitlines()))
    return next((line for line in lines if line["message"] == "recovered"), {})
