"""The functions that gateways of the tests run: `--app tests.support.functions:app`.

Well-behaved ones write to the ledger; the others do what no function should.
"""

import asyncio
import time
from typing import Any

from apex_fast import App, current_job
from tests.support.ledger import note

app = App()


class Flaky(Exception):
    """Raised by the first attempts of `work`."""


class Hopeless(Exception):
    """Raised by `fail`."""


@app.function(effect="write")
async def work(pause_s: float = 0.0, fails: int = 0, give: Any = None) -> Any:
    """Begin, wait, fail in the first ``fails`` attempts, end."""
    note("started")
    await asyncio.sleep(pause_s)
    if current_job().attempt <= fails:
        raise Flaky(f"attempt {current_job().attempt}")
    note("done")
    return give


@app.function(effect="write")
def plain_work(pause_s: float = 0.0, give: Any = None) -> Any:
    """The same in a thread."""
    note("started")
    time.sleep(pause_s)
    note("done")
    return give


@app.function(effect="pure")
async def echo(value: Any = None) -> Any:
    """What it was given."""
    return value


@app.function(effect="read")
async def number(value: int) -> int:
    """Takes a number only."""
    return value


@app.function(effect="write")
async def undo(input: dict[str, Any], output: Any = None) -> Any:
    """Compensation of `booking`."""
    note("started")
    if input.get("stuck"):
        raise Hopeless("cannot be undone")
    return output


@app.function(effect="write", compensation="undo")
async def booking(stuck: bool = False, pause_s: float = 0.0) -> dict[str, Any]:
    """Work that can be undone, unless it is ``stuck``."""
    note("started")
    await asyncio.sleep(pause_s)
    note("done")
    return {"reference": current_job().idempotency_key, "stuck": stuck}


@app.function(effect="write")
async def fail(message: str = "no") -> None:
    """Raises."""
    raise Hopeless(message)


@app.function(effect="read")
async def busy_loop() -> None:
    """Holds the loop of the async functions for ever."""
    while True:
        pass


@app.function(effect="read")
async def sleep_on_loop() -> None:
    """Sleeps without awaiting."""
    time.sleep(3600)  # noqa: ASYNC251 (that is the point)


@app.function(effect="read")
async def never() -> None:
    """Waits for what never comes."""
    await asyncio.Event().wait()


@app.function(effect="read")
def never_in_thread() -> None:
    """The same, in a thread that nobody can cancel."""
    time.sleep(3600)


@app.function(effect="read")
async def deaf() -> None:
    """Does not end when it is cancelled."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@app.function(effect="read")
async def not_json(kind: str) -> Any:
    """Returns what cannot be encoded."""
    loop: list[Any] = []
    loop.append(loop)
    values = {
        "object": object(),
        "nan": float("nan"),
        "infinity": {"deep": [float("inf")]},
        "big": 2**70,
        "surrogate": "\ud800",
        "itself": loop,
        "set_of_objects": {object()},
        "large": "x" * (5 << 20),
    }
    return values[kind]


@app.function(effect="read")
async def leaves() -> None:
    """Raises what ends a process."""
    raise SystemExit(3)
