"""Scene 5: a model that a run asks changes the run; a person's change is taken back before it has begun."""

import json
from pathlib import Path
from typing import Any, Final

from apex_fast.cli.demo.stage import Stage
from apex_fast.client import Run
from apex_fast.core import check_history

QUESTION: Final = "What does this trip still need?"
BOOK: Final[dict[str, Any]] = {
    "id": "book",
    "type": "function",
    "config": {"name": "book_flight"},
    "input": {"flight": "${nodes.search.output.best}"},
}
TRIP: Final[dict[str, Any]] = {
    "name": "trip",
    "version": "1",
    "nodes": [
        {"id": "look", "type": "agent", "config": {"prompt": QUESTION, "may_patch": True}},
        {"id": "search", "type": "function", "config": {"name": "search_flights"},
         "input": {"to": "${inputs.to}", "date": "${inputs.date}"}},
        {"id": "ask", "type": "approval", "config": {"prompt": "Book ${nodes.search.output.best.id}?"}},
        BOOK,
    ],
    "edges": [
        {"from": "look", "to": "search"},
        {"from": "search", "to": "ask"},
        {"from": "ask", "to": "book", "when": "nodes.ask.output.approved"},
    ],
}  # fmt: skip
FORECAST: Final = {
    "id": "forecast",
    "type": "function",
    "config": {"name": "forecast"},
    "input": {"to": "${inputs.to}", "date": "${inputs.date}"},
}
ANSWER: Final = {
    "output": {"text": "look at the weather before anybody is asked"},
    "patch": {
        "reason": "nobody should book a trip into a storm",
        "operations": [
            {"op": "add", "path": "/nodes/-", "value": FORECAST},
            {"op": "add", "path": "/edges/-", "value": {"from": "look", "to": "forecast"}},
            {"op": "add", "path": "/edges/-", "value": {"from": "forecast", "to": "ask"}},
        ],
    },
}
SECOND_FLIGHT: Final = [
    {"op": "add", "path": "/nodes/-", "value": {**BOOK, "id": "book_again"}},
    {"op": "add", "path": "/edges/-", "value": {"from": "book", "to": "book_again"}},
]


def environment(folder: Path) -> dict[str, str]:
    """What the gateway needs for the scene: a model that is played from a file, and what it may call."""
    script = folder / "model.json"
    script.write_text(json.dumps([{"asked": QUESTION, "answer": ANSWER}]))
    return {"APEX_PLANNER_MODEL": f"script:{script}", "APEX_PATCHES_AGENT_FUNCTIONS": "forecast"}


async def patched(stage: Stage) -> None:
    """Both patches, told and drawn; what ran; the same history decided anew."""
    screen = stage.screen
    screen.scene(5, "An agent changes the run that asks it; another change is taken back")
    await stage.client.register(json.dumps(TRIP))
    run = await stage.client.start("trip", {"to": "Lisbon", "date": "2027-05-02"})
    screen.fact("the model", "is played from a file: no network, no key")
    await _asked(run)
    (first,) = await run.patches()
    screen.fact("patch 1", f"by {first.author}: {first.reason}")
    await _show(stage, run, first.patch_id)
    second = await run.patch(SECOND_FLIGHT, "one more seat")
    screen.fact("patch 2", "by a client: one more seat")
    await _show(stage, run, second)
    await run.roll_back(second, "nobody asked for it")
    screen.fact("rolled back", "patch 2, before anything of it had begun")
    await stage.client.resolve(f"{run.id}~ask", approve=True, reason="fair weather")
    await run.result(30)
    events = await run.timeline()
    called = [event.payload["node"] for event in events if event.type == "ToolCallRequested"]
    screen.fact("executed", " → ".join(called))
    stage.check("forecast" in called, "the step that the agent added was executed, before anybody was asked")
    stage.check("book_again" not in called, "the step that was taken back was not")
    epochs = list(dict.fromkeys(event.epoch for event in events))
    history = await run.history()
    (stage.folder / "trip.history").write_bytes(history)
    checked = check_history(history)
    stage.check(
        checked.records == len(events),
        f"replayed from its history through the graphs {epochs}: {checked.records} records, all the same",
    )
    picture = stage.folder / "patch.svg"
    picture.write_text((await run.patch_difference(first.patch_id)).svg)
    screen.fact("drawn", f"the graph before and after patch 1: {picture.name} (with --keep)")


async def _show(stage: Stage, run: Run, patch_id: str) -> None:
    for line in (await run.patch_difference(patch_id)).text.splitlines():
        stage.screen.line(f"   {'':12} {stage.screen.paint(line, 'green' if line.startswith('+') else 'yellow')}")


async def _asked(run: Run) -> None:
    """Wait until somebody is asked."""
    async for event in run.watch():
        if event.type == "ApprovalRequested":
            return
