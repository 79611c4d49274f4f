"""Restate: the server from npm, the Python SDK on granian, one worker on uvloop."""

import platform
from pathlib import Path

from bench.rivals.contestant import SERVICES, Contestant, Process, free_port, python

NAME = "restate"
MACHINES = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def _server() -> str:
    """The server's binary; npm's launcher would only be one more process."""
    package = f"restate-server-{platform.system().lower()}-{MACHINES[platform.machine()]}"
    return str(SERVICES / NAME / "node_modules" / "@restatedev" / package / "bin" / "restate-server")


def _processes(data: Path) -> list[Process]:
    ingress, admin, fabric, worker = (free_port() for _ in range(4))
    server_env = {
        "RESTATE_BASE_DIR": str(data / "server"),
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{fabric}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{fabric}/",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
    }
    granian = (
        *(str(SERVICES / NAME / "venv" / "bin" / "granian"), "--interface", "asgi", "--loop", "uvloop"),
        *("--host", "127.0.0.1", "--port", str(worker), "--no-access-log", "--log-level", "warning"),
        # The SDK takes SIGTERM for itself, so granian has to kill its worker.
        *("--workers-kill-timeout", "1"),
        "bench.rivals.restate.work:app",
    )
    driver = (
        *(python(NAME), "-m", "bench.rivals.restate.driver"),
        *(f"http://127.0.0.1:{port}" for port in (ingress, admin, worker)),
    )
    return [
        Process("server", (_server(), "--no-logo"), server_env),
        Process("worker", granian),
        Process("load", driver),
    ]


RESTATE = Contestant(
    NAME,
    "fdatasync, its default",
    _processes,
    packages=("@restatedev/restate-server", "restate-sdk", "granian"),
)
