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


@app.function(effect="read")
async def look(pause_s: float = 0.0, give: Any = None) -> Any:
    """A read that takes its time."""
    note("started")
    await asyncio.sleep(pause_s)
    return give


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


@app.function(effect="write")
async def rows(count: int, stop_at: int = -1, silent: bool = False) -> dict[str, Any]:
    """Works through rows, saying how far it is; the first attempt stops at one, or says nothing any more."""
    job = current_job()
    begin = job.progress["next"] if job.progress else 0
    for at in range(begin, count):
        if job.attempt == 1 and at == stop_at:
            if silent:
                await asyncio.Event().wait()
            raise Flaky(f"row {at}")
        job.heartbeat({"next": at + 1})
        await asyncio.sleep(0)
    return {"attempt": job.attempt, "began_at": begin}


@app.function(effect="read")
def beats_until_cancelled() -> None:
    """In a thread: goes on until a heartbeat says that nobody waits any more."""
    note("started")
    try:
        while True:
            current_job().heartbeat()
            time.sleep(0.02)
    finally:
        note("done")


@app.function(effect="read")
async def weather(city: str) -> dict[str, Any]:
    """Knows one city."""
    if city != "Paris":
        raise Hopeless(f"there is no city {city}")
    return {"city": city}


@app.function(effect="read")
async def shaky(ok: bool, say: Any = None) -> Any:
    """Fails where it is told to."""
    if not ok:
        raise Flaky("told to")
    return say


@app.function(effect="read")
async def shaky_too(ok: bool) -> None:
    """The same, under a name of its own."""
    if not ok:
        raise Flaky("told to")
