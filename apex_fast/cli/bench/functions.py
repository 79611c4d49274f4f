"""The no-op functions that the gateway under measurement runs: `--app apex_fast.cli.bench.functions:app`."""

import asyncio

from apex_fast.authoring import App

app = App()


@app.function(effect="write")
async def step() -> None:
    """Counts as done; every figure is then the cost of the house."""


@app.function(effect="write")
async def pause(seconds: float) -> None:
    """Waits."""
    await asyncio.sleep(seconds)
