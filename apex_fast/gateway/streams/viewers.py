"""Viewers of runs: the past in pages, then the present, without gap or double.

A viewer first pages through the timeline. The run is looked at (``view``), and once that view is durable a page is read
and, where it does not fit into one, further ones without looking again (``past``): a viewer that is behind waits for no
group. The events that become durable during a look come by the feed and are kept (``early``). The last page is one that
was looked for, up to the end of the timeline, then what is early beyond it; from there the front door follows the feed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from apex_fast.domain import Event, Front, RunView
from apex_fast.errors import Unavailable
from apex_fast.gateway.faults import fault_of
from apex_fast.gateway.house import House
from apex_fast.gateway.outbox import Frame, Headers
from apex_fast.gateway.translate import bounded_page

PAGE_EVENTS = 512


class Encoding(Enum):
    """How a viewer wants its events."""

    GRPC = "grpc"
    SSE = "sse"


_FRAMES: dict[Encoding, Callable[[Event], bytes]] = {Encoding.GRPC: Event.proto, Encoding.SSE: Event.sse}
_HEADERS: dict[Encoding, Headers] = {
    Encoding.GRPC: [],
    Encoding.SSE: [("content-type", "text/event-stream"), ("x-content-type-options", "nosniff")],
}


@dataclass(eq=False)
class Viewer:
    """One stream. ``next_offset``: the first event it has not been given."""

    token: int
    tenant: str
    run_id: str
    encoding: Encoding
    next_offset: int
    opened: bool = False
    live: bool = False
    past: RunView | None = None
    """How the run stood when it was looked at, durable: pages up to there need no new look."""
    looking: bool = False
    """A page is on its way: what becomes durable until then is kept in ``early``. One that does not ask for its next
    page keeps nothing waiting here."""
    early: list[Event] = field(default_factory=list)


@dataclass(eq=False)
class Watched:
    """A run and who watches it; ``live`` counts by encoding, so that an event costs the same for any number."""

    paging: set[Viewer] = field(default_factory=set)
    following: set[Viewer] = field(default_factory=set)
    live: dict[Encoding, int] = field(default_factory=lambda: dict.fromkeys(Encoding, 0))


class Viewers:
    """All viewers of this house. Every method is called on the engine's loop."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._front: Front | None = None
        self._by_token: dict[int, Viewer] = {}
        self._by_run: dict[str, Watched] = {}
        house.engine.feed.on_events(self._on_events)

    def __len__(self) -> int:
        return len(self._by_token)

    def connect(self, front: Front) -> None:
        """Name the front door that publishes."""
        self._front = front

    def open(self, token: int, view: RunView, from_offset: int, encoding: Encoding) -> None:
        """Begin to stream a run from an offset on."""
        viewer = Viewer(token, view.tenant, view.run_id, encoding, from_offset)
        self._by_token[token] = viewer
        self._by_run.setdefault(view.run_id, Watched()).paging.add(viewer)
        self._house.engine.feed.follow(view.run_id)
        self._look(viewer, view)

    def drained(self, token: int) -> None:
        """The front door has room for the next page."""
        viewer = self._by_token.get(token)
        if viewer is None or viewer.live:
            return
        if viewer.past is not None:
            self._page(viewer, viewer.past)
            return
        try:
            view = self._house.engine.run(viewer.tenant, viewer.run_id)
            if view is None:
                raise Unavailable("the run is gone")
            self._look(viewer, view)
        except Exception as error:
            self._break(viewer, error)

    def closed(self, token: int) -> bool:
        """The client is gone. False where the token is no viewer's."""
        viewer = self._by_token.get(token)
        if viewer is None:
            return False
        self._drop(viewer)
        return True

    def end_all(self, reason: str) -> None:
        """End every stream before its run, so that its client goes on elsewhere."""
        for viewer in list(self._by_token.values()):
            self._break(viewer, Unavailable(reason))

    # --- the past -------------------------------------------------------------------------------------------------

    def _look(self, viewer: Viewer, view: RunView) -> None:
        viewer.early = []
        viewer.looking = True
        self._house.engine.when_durable(partial(self._page, viewer, view))

    def _page(self, viewer: Viewer, view: RunView) -> None:
        if viewer.token not in self._by_token:
            return
        try:
            self._send_page(viewer, view)
        except Exception as error:
            self._break(viewer, error)

    def _send_page(self, viewer: Viewer, view: RunView) -> None:
        past: list[Event] = []
        if viewer.next_offset <= view.offset:
            found = self._house.engine.timeline(view, viewer.next_offset, PAGE_EVENTS)
            past = bounded_page(found, self._house.options.page_bytes_max)
        reached = past[-1].offset if past else viewer.next_offset - 1
        # What came after an older look is not here: the end of such a past is not the present.
        more = reached < view.offset or (not viewer.looking and view.ended_ns is None)
        viewer.past = view if reached < view.offset else None
        if not more:
            past = past + [event for event in viewer.early if event.offset > max(reached, view.offset)]
        viewer.early = []
        viewer.looking = False
        if past:
            viewer.next_offset = past[-1].offset + 1
        ended = not more and (view.ended_ns is not None or any(event.ends_run for event in past))
        make = _FRAMES[viewer.encoding]
        frames: list[Frame] = [(event.offset, make(event)) for event in past]
        topic = None if more or ended else viewer.run_id
        if topic is not None:
            self._go_live(viewer)
        outbox = self._house.outbox
        if viewer.opened:
            outbox.stream_send(viewer.token, frames, topic, viewer.next_offset, more)
        else:
            viewer.opened = True
            headers = _HEADERS[viewer.encoding]
            outbox.stream_open(viewer.token, headers, frames, topic, viewer.next_offset, more)
        if ended:
            outbox.stream_end(viewer.token)
            self._drop(viewer)

    # --- the present ----------------------------------------------------------------------------------------------

    def _on_events(self, events: list[Event]) -> None:
        front = self._front
        if front is None:
            return
        # A stream that was opened in this turn must be open before its first event is published.
        self._house.outbox.flush()
        batch: list[tuple[str, int, bytes, bytes]] = []
        ended: list[str] = []
        for event in events:
            run_id = event.run_id
            watched = self._by_run.get(run_id)
            if watched is None:
                continue
            for viewer in watched.paging:
                if viewer.looking:
                    viewer.early.append(event)
            if watched.following:
                grpc = event.proto() if watched.live[Encoding.GRPC] else b""
                sse = event.sse() if watched.live[Encoding.SSE] else b""
                batch.append((run_id, event.offset, grpc, sse))
                if event.ends_run:
                    ended.append(run_id)
        if batch:
            front.publish(batch)
        for run_id in ended:
            front.end_topic(run_id)
            for viewer in list(self._by_run[run_id].following):
                self._drop(viewer)

    def _go_live(self, viewer: Viewer) -> None:
        viewer.live = True
        watched = self._by_run[viewer.run_id]
        watched.paging.discard(viewer)
        watched.following.add(viewer)
        watched.live[viewer.encoding] += 1

    # --- the end --------------------------------------------------------------------------------------------------

    def _break(self, viewer: Viewer, error: Exception) -> None:
        fault = fault_of(error)
        outbox = self._house.outbox
        if viewer.opened:
            outbox.stream_end(viewer.token, fault)
        elif viewer.encoding is Encoding.GRPC:
            outbox.grpc_error(viewer.token, fault)
        else:
            outbox.http_error(viewer.token, fault)
        self._drop(viewer)

    def _drop(self, viewer: Viewer) -> None:
        if self._by_token.pop(viewer.token, None) is None:
            return
        watched = self._by_run[viewer.run_id]
        watched.paging.discard(viewer)
        if viewer in watched.following:
            watched.following.discard(viewer)
            watched.live[viewer.encoding] -= 1
        if not watched.paging and not watched.following:
            del self._by_run[viewer.run_id]
        self._house.engine.feed.unfollow(viewer.run_id)
