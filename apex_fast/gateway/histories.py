"""The past of a run: its state at an offset, its history as a file. Read beside the loop, a page at a time."""

import asyncio
from collections.abc import Sequence

import msgspec

from apex_fast.core import history_header, query_history, view_at
from apex_fast.domain import Event, ReplayRun, RunView, WorkflowView
from apex_fast.errors import LimitExceeded, NotFound
from apex_fast.gateway.bodies import invalid
from apex_fast.gateway.house import House

PAGE_EVENTS = 4_096
BEGINNING_EVENTS = 8
# Events that say which version the run is on from there.
_VERSIONED = frozenset({"RunStarted", "RunMigrated"})


class _Version(msgspec.Struct):
    version: str = ""


_VERSION = msgspec.json.Decoder(_Version)


def packed(events: list[Event]) -> bytes:
    """The records as they stand in a file: each after its length (u32, little-endian)."""
    return b"".join(part for event in events for part in (len(event.body).to_bytes(4, "little"), event.body))


class Histories:
    """What has been. Its methods are called for views that are durable."""

    def __init__(self, house: House, version: str) -> None:
        self._house = house
        self._version = version

    async def events(self, view: RunView, last: int) -> list[Event]:
        """The events of a run up to an offset. Raises LimitExceeded where they are more than may be held at once."""
        bytes_max = self._house.options.history_bytes_max
        found: list[Event] = []
        size = 0
        while len(found) <= last:
            start = len(found)
            limit = min(PAGE_EVENTS, last + 1 - start)
            page = await asyncio.to_thread(self._house.engine.timeline, view, start, limit)
            if not page or page[0].offset != start:
                raise NotFound(
                    f"the records of run {view.run_id} before offset {page[0].offset if page else last} are not there",
                    code="HISTORY_TRIMMED",
                )
            size += sum(len(event.body) for event in page)
            if size > bytes_max:
                raise LimitExceeded(
                    f"the history of run {view.run_id} is larger than {bytes_max} bytes; read it in parts (GetHistory)"
                )
            found += page
        return found

    async def query(self, view: RunView, offset: int, expression: str) -> tuple[bytes, int, int]:
        """JSON, offset and epoch of a question about a run after an event. Raises InvalidInput, CoreError."""
        events = await self._up_to(view, offset)
        file = self._header(view, events) + packed(events)
        return await asyncio.to_thread(query_history, file, expression)

    async def at(self, view: RunView, offset: int) -> tuple[RunView, int]:
        """The run as it stood after the event at an offset, and when that was. Raises InvalidInput beyond its end."""
        events = await self._up_to(view, offset)
        return await asyncio.to_thread(view_at, events), events[-1].time_ns

    async def _up_to(self, view: RunView, offset: int) -> list[Event]:
        if offset > view.offset:
            raise invalid("/offset", f"the last event of the run has the offset {view.offset}")
        return await self.events(view, offset)

    async def file(self, view: RunView) -> bytes:
        """The whole history (docs/formats/history.md)."""
        events = await self.events(view, view.offset)
        return self._header(view, events) + packed(events)

    async def replay(
        self, view: RunView, from_node: str, live: bool, version: str | None, allow_writes: bool, key: str
    ) -> ReplayRun:
        """The command that replays a run."""
        records = packed(await self.events(view, view.offset))
        return ReplayRun(view.tenant, view.run_id, records, from_node, live, version, allow_writes, key)

    async def part(self, view: RunView, start: int) -> tuple[bytes, int]:
        """Some of the file from a record on, and where the next part starts."""
        if start > view.offset:
            return b"", start
        found = await asyncio.to_thread(self._house.engine.timeline, view, start, PAGE_EVENTS)
        page = self._bounded(found)
        if not page or page[0].offset != start:
            raise NotFound(f"the records of run {view.run_id} from {start} on are not there", code="HISTORY_TRIMMED")
        header = b""
        if not start:
            events = page if page[-1].offset == view.offset else await self.of_types(view, _VERSIONED)
            header = self._header(view, events)
        return header + packed(page), page[-1].offset + 1

    def _bounded(self, events: list[Event]) -> list[Event]:
        size = 0
        for index, event in enumerate(events):
            size += len(event.body) + 4
            if size > self._house.options.page_bytes_max and index:
                return events[:index]
        return events

    async def at_places(self, view: RunView, places: Sequence[tuple[int, int]]) -> list[Event]:
        """The events at these offsets of a run, each with its position in the log. Raises NotFound where one is not
        there any more."""

        def read() -> list[Event | None]:
            return [self._house.engine.event_at(position, offset) for offset, position in places]

        found = [event for event in await asyncio.to_thread(read) if event is not None]
        if len(found) < len(places):
            raise NotFound(f"some of the records of run {view.run_id} are not there", code="HISTORY_TRIMMED")
        return found

    async def of_types(self, view: RunView, types: frozenset[str], start: int = 0) -> list[Event]:
        """The events of these types, from an offset on."""
        found: list[Event] = []
        while start <= view.offset:
            page = await asyncio.to_thread(self._house.engine.timeline, view, start, PAGE_EVENTS)
            if not page:
                break
            found += [event for event in page if event.type in types]
            start = page[-1].offset + 1
        return found

    async def beginning(self, view: RunView) -> list[Event]:
        """The first events of a run, its start among them. Raises NotFound where they are not there any more."""
        return await self._page(view, 0, min(view.offset + 1, BEGINNING_EVENTS))

    async def turns(self, view: RunView) -> list[Event]:
        """The events after which a run went on in another epoch. Reads only the parts where the epoch changes."""
        found: list[Event] = []
        # Parts as (first offset, its epoch, last offset, the epoch after it), the earliest on top.
        parts = [(0, 0, view.offset, view.epoch)]
        while parts:
            start, before, last, after = parts.pop()
            if before == after or start > last:
                continue
            if last - start < PAGE_EVENTS:
                page = await self._page(view, start, last + 1 - start)
                epochs = [*(event.epoch for event in page[1:]), after]
                found += [event for event, epoch in zip(page, epochs, strict=True) if event.epoch != epoch]
                continue
            middle = (start + last) // 2
            epoch = (await self._page(view, middle, 1))[0].epoch
            parts += [(middle, epoch, last, after), (start, before, middle - 1, epoch)]
        return found

    async def _page(self, view: RunView, start: int, count: int) -> list[Event]:
        """These events. Raises NotFound where they are not there any more."""
        found: list[Event] = []
        while len(found) < count:
            page = await asyncio.to_thread(
                self._house.engine.timeline, view, start + len(found), min(PAGE_EVENTS, count - len(found))
            )
            if not page or page[0].offset != start + len(found):
                raise NotFound(
                    f"the records of run {view.run_id} from {start + len(found)} on are not there",
                    code="HISTORY_TRIMMED",
                )
            found += page
        return found

    def _header(self, view: RunView, events: list[Event]) -> bytes:
        names = [_VERSION.decode(event.payload).version for event in events if event.type in _VERSIONED]
        engine = self._house.engine
        found = [engine.workflow(view.tenant, view.workflow, name) for name in dict.fromkeys(names)]
        definitions: list[WorkflowView] = [one for one in found if one is not None]
        return history_header(self._version, view.run_id, view.tenant, definitions)
