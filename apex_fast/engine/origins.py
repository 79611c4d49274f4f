"""The records of runs that others replay: read once more after a restart, for those that had not come to an end."""

import asyncio

from apex_fast.domain import LogError, RunView
from apex_fast.ports.event_log import EventLog

PAGE_EVENTS = 4_096


async def records_of(event_log: EventLog, view: RunView | None) -> bytes:
    """All records of a run, each after its length (u32, little-endian); empty where they are not there any more."""
    parts: list[bytes] = []
    following = 0
    while view is not None and following <= view.offset:
        try:
            page = await asyncio.to_thread(event_log.timeline, view.head, following, PAGE_EVENTS)
        except LogError:
            return b""
        if not page or page[0].offset != following:
            return b""
        for event in page:
            parts += (len(event.body).to_bytes(4, "little"), event.body)
        following = page[-1].offset + 1
    return b"".join(parts)
