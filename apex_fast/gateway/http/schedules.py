"""`/schedules`: runs that start at times."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apex_fast.domain import ScheduleFiring, ScheduleView
from apex_fast.gateway import schedules
from apex_fast.gateway.bodies import Body, invalid
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import JSON, Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.schedules import CATCH_UP_S, Spec, seconds_of
from apex_fast.gateway.translate import RunError, rfc3339

Overlap = Literal["skip", "buffer_one", "allow"]
Priority = Literal["high", "medium", "low"]
_INPUTS = "/inputs"


class ScheduleBody(Body):
    """What a schedule starts, and when: `cron` or `every_s`."""

    workflow: Annotated[str, Meta(min_length=1)]
    version: str | None = None
    tag: str | None = None
    """Version or tag, resolved at each start; neither: the tag `main`."""
    inputs: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    cron: str = ""
    """minute hour day-of-month month day-of-week."""
    time_zone: str = ""
    """IANA name that `cron` is read in; empty: UTC."""
    every_s: float = 0.0
    """The times are its multiples since 1970-01-01T00:00:00Z."""
    jitter_s: float = 0.0
    """A start comes later by less than this, differently for each time."""
    overlap: Overlap = "skip"
    """What happens at a time while a run of the schedule is open."""
    catch_up_s: float = CATCH_UP_S
    """A time that is met later than this (after downtime, say) is missed."""
    priority: Priority = "medium"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    time_input: str = ""
    """The input that gets the time of the start (RFC 3339, without jitter)."""


class SchedulesQuery(Body):
    """What a page of schedules selects."""

    page_size: int = 0
    page_token: str = ""


class FiringShown(msgspec.Struct, omit_defaults=True):
    """What a time of a schedule came to."""

    time: str
    decided_time: str
    action: Literal["started", "skipped", "buffered", "missed", "failed"]
    run_id: str = ""
    error: RunError | None = None


class ScheduleShown(msgspec.Struct, omit_defaults=True):
    """A schedule: what was put, and how it stands."""

    name: str
    workflow: str
    inputs: msgspec.Raw
    overlap: Overlap
    catch_up_s: float
    jitter_s: float
    priority: Priority
    paused: bool
    runs_open: int
    changed_time: str
    version: str = ""
    tag: str = ""
    cron: str = ""
    time_zone: str = ""
    every_s: float | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] = {}
    time_input: str = ""
    next_time: str = ""
    buffered_time: str = ""
    upcoming_times: list[str] = []
    last: FiringShown | None = None


class SchedulePage(msgspec.Struct):
    """Schedules by name."""

    schedules: list[ScheduleShown]
    next_page_token: str


_PUT = msgspec.json.Decoder(ScheduleBody)


def shown(view: ScheduleView) -> ScheduleShown:
    """A schedule for HTTP."""
    return ScheduleShown(
        name=view.name,
        workflow=view.workflow,
        inputs=msgspec.Raw(view.inputs),
        overlap=view.overlap,
        catch_up_s=seconds_of(view.catch_up_ns),
        jitter_s=seconds_of(view.jitter_ns),
        priority=view.priority,
        paused=view.paused,
        runs_open=view.runs_open,
        changed_time=rfc3339(view.changed_ns),
        version=view.version,
        tag=view.tag,
        cron=view.cron,
        time_zone=view.time_zone,
        every_s=msgspec.UNSET if view.cron else seconds_of(view.every_ns),
        labels=view.labels,
        time_input=view.time_input,
        next_time=rfc3339(view.next_ns),
        buffered_time=rfc3339(view.buffered_ns),
        upcoming_times=[rfc3339(time) for time in view.upcoming_ns],
        last=None if view.last is None else _firing(view.last),
    )


def _firing(last: ScheduleFiring) -> FiringShown:
    return FiringShown(
        rfc3339(last.time_ns),
        rfc3339(last.decided_ns),
        last.action,
        last.run_id,
        RunError(last.error_code, last.error_message) if last.error_code else None,
    )


class ScheduleRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """All routes of the group."""
        unknown = ("SCHEDULE_NOT_FOUND",)
        one = [Answer(200, "The schedule as it stands, durably", ScheduleShown)]
        return [
            Route("PUT", "/schedules/{name}", "putSchedule", "Set a schedule; the same again changes nothing",
                  "schedules", self.put,
                  [Answer(200, "It stands so, durably", ScheduleShown)], body=ScheduleBody,
                  problems=("SCHEDULE_INVALID", "INPUTS_INVALID", "WORKFLOW_NOT_FOUND", "LIMIT_EXCEEDED")),
            Route("GET", "/schedules", "listSchedules", "Schedules by name", "schedules", self.list,
                  [Answer(200, "A page of schedules", SchedulePage)], query=SchedulesQuery),
            Route("GET", "/schedules/{name}", "getSchedule", "A schedule, and the times that come next", "schedules",
                  self.get, one, problems=unknown),
            Route("DELETE", "/schedules/{name}", "deleteSchedule", "Remove a schedule; its runs go on", "schedules",
                  self.delete, [Answer(204, "It is gone, durably")], problems=unknown),
            Route("POST", "/schedules/{name}/pause", "pauseSchedule", "Start nothing until it is resumed",
                  "schedules", partial(self._change, "pause"), one, problems=unknown),
            Route("POST", "/schedules/{name}/resume", "resumeSchedule",
                  "Go on; what passed meanwhile is not caught up", "schedules", partial(self._change, "resume"), one,
                  problems=unknown),
        ]  # fmt: skip

    def put(self, exchange: Exchange) -> None:
        """`PUT /schedules/{name}`."""
        body = exchange.read(_PUT)
        if body.version is not None and body.tag is not None:
            raise invalid("/tag", "version or tag, not both")
        spec = Spec(
            workflow=body.workflow,
            version=body.version,
            tag=body.tag,
            inputs=bytes(body.inputs),
            cron=body.cron,
            time_zone=body.time_zone,
            every_s=body.every_s,
            jitter_s=body.jitter_s,
            overlap=body.overlap,
            catch_up_s=body.catch_up_s,
            priority=body.priority,
            labels=body.labels,
            time_input=body.time_input,
        )
        command = schedules.put_command(self._house, exchange.tenant, exchange.params["name"], spec, _INPUTS)
        show = exchange.guarded(partial(self._show, exchange))
        schedules.put(self._house, command, lambda _: show(), exchange.fail, _INPUTS)

    def list(self, exchange: Exchange) -> None:
        """`GET /schedules`."""
        query = exchange.select(SchedulesQuery)
        views, page = self._house.engine.schedules(exchange.tenant, page_size_of(query.page_size), query.page_token)
        exchange.when_durable(lambda: exchange.answer(200, SchedulePage([shown(view) for view in views], page)))

    def get(self, exchange: Exchange) -> None:
        """`GET /schedules/{name}`."""
        view = schedules.find(self._house, exchange.tenant, exchange.params["name"])
        exchange.when_durable(lambda: exchange.answer(200, shown(view)))

    def delete(self, exchange: Exchange) -> None:
        """`DELETE /schedules/{name}`."""
        gone = partial(exchange.answer_bytes, 204, JSON[1:], b"")
        schedules.change(self._house, exchange.tenant, exchange.params["name"], "remove", gone, exchange.fail)

    def _change(self, how: str, exchange: Exchange) -> None:
        show = exchange.guarded(partial(self._show, exchange))
        schedules.change(self._house, exchange.tenant, exchange.params["name"], how, show, exchange.fail)

    def _show(self, exchange: Exchange) -> None:
        exchange.answer(200, shown(schedules.find(self._house, exchange.tenant, exchange.params["name"])))
