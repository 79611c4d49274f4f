"""Scenes 1 and 2: a goal becomes a run, and what happens when its last step fails."""

import email
import email.policy
import mailbox
import time

import msgspec

from apex_fast.cli.demo.stage import Stage
from apex_fast.client import Event, GoalRun

DETAIL_CHARS_MAX = 66


def shown(event: Event, began_s: float) -> str:
    """A line of the timeline: when it reached us, what it is, what it is about."""
    payload = event.payload
    about = [
        str(payload[name]) for name in ("node", "name", "status", "success") if payload.get(name) not in (None, "")
    ]
    if event.type == "ToolResultReceived" and payload.get("output") is not None:
        about.append(msgspec.json.encode(payload["output"]).decode())
    error = payload.get("error")
    if isinstance(error, dict):
        about.append(f"{error.get('type') or error.get('code')}: {error.get('message')}")
    text = "  ".join(about)
    text = text if len(text) <= DETAIL_CHARS_MAX else text[: DETAIL_CHARS_MAX - 1] + "…"
    return f"{(time.monotonic() - began_s) * 1e3:8.1f} ms  {event.offset:>3}  {event.type:<22} {text}"


async def follow(stage: Stage, goal: str) -> tuple[GoalRun, list[Event]]:
    """Submit a goal and show its timeline while it runs."""
    screen = stage.screen
    began_s = time.monotonic()
    found = await stage.client.submit_goal(goal)
    planned_ms = (time.monotonic() - began_s) * 1e3
    screen.fact("goal", goal)
    screen.fact(
        "entities", "  ".join(f"{one.slot or one.type}={screen.paint(one.text, 'cyan')}" for one in found.entities)
    )
    screen.fact("template", found.template)
    screen.fact("plan from", f"{found.source}, as {found.workflow}")
    screen.fact("run", f"{found.run.id}, durable after {planned_ms:.1f} ms")
    events: list[Event] = []
    async for event in found.run.watch():
        events.append(event)
        line = shown(event, began_s)
        if event.type in {"WorkflowFailed", "CompensationRequested", "CompensationCompleted"}:
            line = screen.paint(line, "yellow")
        elif event.type == "WorkflowCompleted":
            line = screen.paint(line, "green")
        screen.line(f"   {line}")
    return found, events


async def booked(stage: Stage, goal: str) -> None:
    """Scene 1: everything works; the confirmation is in the maildir."""
    stage.screen.scene(1, "A goal becomes a plan, the plan a durable run")
    _, events = await follow(stage, goal)
    stage.check(events[-1].type == "WorkflowCompleted", "the run completed")
    mails = list(mailbox.Maildir(stage.folder / "maildir", factory=None))
    stage.check(len(mails) == 1, "one mail is in the maildir")
    for mail in mails:
        message = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
        stage.check(not message.defects and "@" in message["To"], "it is a message of RFC 5322 without defects")
        for name in ("From", "To", "Subject", "Date", "Message-ID"):
            stage.screen.fact(f"  {name}", str(message[name]))


async def compensated(stage: Stage, goal: str) -> None:
    """Scene 2: the mail server is down; what was booked is cancelled."""
    stage.screen.scene(2, "The same goal while the mail server is down: what was done is undone")
    down = stage.folder / "mail.down"
    down.touch()
    try:
        _, events = await follow(stage, goal)
    finally:
        down.unlink()
    end = events[-1]
    stage.check(end.type == "WorkflowFailed", "the run ended as WorkflowFailed")
    results = end.payload.get("compensation_results") or []
    stage.check(bool(end.payload.get("compensation_executed")), "compensation was executed")
    stage.check(bool(results) and all(one["success"] for one in results), f"compensation_results: {results}")
    lines = stage.ledger()
    left = [line["booked"] for line in lines if "booked" in line]
    cancelled = {line["cancelled"] for line in lines if "cancelled" in line}
    undone = [reference for reference in left if reference in cancelled]
    stage.check(len(undone) == 1 and len(left) == 2, f"of {len(left)} bookings the one of this run is cancelled")
