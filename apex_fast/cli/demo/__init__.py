"""`apex demo`: the main job in five scenes, on real input, against a gateway in a process of its own.

1. a goal becomes a plan, the plan a run, the run a booked flight and a real mail
2. the same goal with the mail server down: what was done is undone, in reverse order
3. a real scientific workflow of 1,312 tasks as no-ops: how fast, and are its waves those of the oracle
4. the same workflow with tasks that take their time; SIGKILL in the middle; what ran twice
5. a run that asks a model is changed by its answer while it runs; another change is taken back
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from apex_fast.cli.demo import changes
from apex_fast.cli.demo.goals import booked, compensated
from apex_fast.cli.demo.graphs import killed, measured
from apex_fast.cli.demo.stage import Stage
from apex_fast.cli.process import GatewayProcess
from apex_fast.cli.screen import Screen
from apex_fast.client import Client
from apex_fast.core import new_run_id

GOAL = "Book flight to Paris tomorrow and send confirmation to john@example.com"
TOOLS = "apex_fast.cli.demo.tools:app"


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "run the main job in five scenes, in a fresh folder"
    verb = verbs.add_parser("demo", help=words, description=words.capitalize() + ".")
    verb.add_argument("--goal", default=GOAL, help=f"the goal of scenes 1 and 2 (default: {GOAL!r})")
    verb.add_argument("--keep", action="store_true", help="keep the folder: log, mails, ledger")
    verb.set_defaults(run=run)


async def play(folder: Path, goal: str, screen: Screen) -> bool:
    """All scenes; True if everything held."""
    environment = {"APEX_DEMO_FOLDER": str(folder), **changes.environment(folder)}
    gateway = GatewayProcess(folder / "data", TOOLS, environment)
    began = time.monotonic()
    await gateway.start()
    try:
        screen.line(
            f"{screen.paint('apex_fast', 'bold')}  gateway on {gateway.address}, durable in {folder / 'data'}, "
            f"serving after {time.monotonic() - began:.2f} s"
        )
        async with Client(gateway.address) as client:
            stage = Stage(screen, client, folder)
            await booked(stage, goal)
            await compensated(stage, goal)
            await measured(stage)
        await killed(stage, gateway)
        async with Client(gateway.address) as client:
            stage.client = client
            await changes.patched(stage)
        return stage.all_held
    finally:
        await gateway.stop()


def run(arguments: argparse.Namespace) -> int:
    """0 if everything held."""
    screen = Screen()
    folder = Path(tempfile.gettempdir()) / f"apex-demo-{new_run_id(0)[-12:]}"
    folder.mkdir()
    began = time.monotonic()
    try:
        held = asyncio.run(play(folder, arguments.goal, screen))
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    screen.line()
    seconds = time.monotonic() - began
    if not held:
        screen.line(screen.paint(f" Not everything held ({seconds:.0f} s). ", "bold", "red"))
        return 1
    screen.line(screen.paint(f" Everything held, in {seconds:.0f} s. ", "bold", "green"))
    if arguments.keep:
        screen.fact("kept in", str(folder))
    screen.line("   Try next:")
    screen.line("     .venv/bin/apex serve --app apex_fast.cli.demo.tools:app    a gateway to talk to")
    screen.line("     .venv/bin/apex bench chain                                  how fast it is here")
    screen.line("     .venv/bin/apex doctor                                       what is in force")
    return 0
