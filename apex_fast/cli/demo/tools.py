"""The functions of the demo: a travel desk with a real mailbox, and the tasks of a scientific workflow.

They leave traces outside the gateway, so that the demo can prove what ran: booked flights in `bookings/`, mails in a
maildir, and a ledger with a line for each execution. The folder is `APEX_DEMO_FOLDER`.
"""

import asyncio
import json
import mailbox
import os
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any
from zlib import crc32

from apex_fast import App, Retry, current_job

app = App()

PRICES_EUR = (129, 174, 219)


def folder() -> Path:
    """Where the demo leaves its traces."""
    return Path(os.environ["APEX_DEMO_FOLDER"])


def note(entry: dict[str, Any]) -> None:
    """One line in the ledger, whole or not at all (O_APPEND, one write)."""
    line = json.dumps({"pid": os.getpid(), **entry}, separators=(",", ":")) + "\n"
    descriptor = os.open(folder() / "ledger.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@app.function(effect="read", retry=Retry(max_attempts=3, initial_s=0.05))
async def search_flights(to: str, date: str) -> dict[str, Any]:
    """Flights to a place on a day; the same question gets the same answer."""
    seed = crc32(f"{to} {date}".encode())
    flights = [
        {"id": f"AX{seed % 900 + 100 + n}", "to": to, "date": date, "price_eur": price}
        for n, price in enumerate(PRICES_EUR)
    ]
    return {"flights": flights, "best": flights[0]}


@app.function(effect="read")
async def forecast(to: str, date: str) -> dict[str, Any]:
    """The weather at a place on a day; the same question gets the same answer."""
    return {"to": to, "date": date, "celsius": crc32(f"{date} {to}".encode()) % 20 + 10, "storm": False}


@app.function(effect="write", retry=Retry(max_attempts=3, initial_s=0.05))
async def book_flight(flight: dict[str, Any]) -> dict[str, Any]:
    """Book a flight. The same idempotency key books once."""
    reference = f"BK{crc32(current_job().idempotency_key.encode()):08X}"
    (folder() / "bookings").mkdir(exist_ok=True)
    (folder() / "bookings" / reference).write_text(json.dumps(flight))
    note({"booked": reference})
    return {"id": reference, "flight": flight["id"], "to": flight["to"], "price_eur": flight["price_eur"]}


@app.function(effect="write", retry=Retry(max_attempts=3, initial_s=0.05))
async def cancel_flight(id: str) -> dict[str, str]:
    """Undo a booking; a booking that is gone already is fine."""
    (folder() / "bookings" / id).unlink(missing_ok=True)
    note({"cancelled": id})
    return {"cancelled": id}


@app.function(effect="write", retry=Retry(max_attempts=3, initial_s=0.1))
def send_email(to: str, subject: str = "Confirmation", body: str = "", **details: Any) -> dict[str, str]:
    """Deliver an RFC 5322 message into the demo's maildir. Fails while `mail.down` stands in the folder."""
    if (folder() / "mail.down").exists():
        raise ConnectionError("the mail server refused the connection")
    message = EmailMessage()
    message["From"] = "Travel desk <travel@example.com>"
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(
        idstring=f"{crc32(current_job().idempotency_key.encode()):08x}", domain="example.com"
    )
    lines = [body] if body else ["Your request is confirmed."]
    lines += [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in details.items()]
    message.set_content("\n".join(lines) + "\n")
    key = mailbox.Maildir(folder() / "maildir").add(message)
    return {"message_id": str(message["Message-ID"]), "file": key}


@app.function(effect="write")
async def task() -> None:
    """A task that only counts as done."""


@app.function(effect="write", name="timed_task")
async def timed_task(task: str, seconds: float) -> str:
    """A task that takes its (scaled) time, with a line in the ledger when it starts and when it is done."""
    note({"task": task, "key": current_job().idempotency_key, "is": "started"})
    await asyncio.sleep(seconds)
    note({"task": task, "key": current_job().idempotency_key, "is": "done"})
    return task
