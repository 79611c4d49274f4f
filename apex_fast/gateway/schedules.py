"""Schedules between the wires and the core: what both doors take and show.

Durations are seconds outside and nanoseconds inside; what a schedule may say is decided by the core, whose pointers are
those of the JSON form.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from apex_fast.domain import ChangeSchedule, PutSchedule, Reply, ScheduleView
from apex_fast.errors import ApexError, NotFound
from apex_fast.gateway.bodies import check_labels, check_object, invalid
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.house import House
from apex_fast.gateway.named_blobs import check_named

CATCH_UP_S = 3_600.0
"""How late a time may be met, where nobody says."""
_NS = 1_000_000_000
# What int64 nanoseconds can hold; the core's own bounds are narrower, and say so.
_SECONDS_MAX = 9_000_000_000.0


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a schedule starts, and when."""

    workflow: str
    version: str | None = None
    tag: str | None = None
    inputs: bytes = b"{}"
    cron: str = ""
    time_zone: str = ""
    every_s: float = 0.0
    jitter_s: float = 0.0
    overlap: str = "skip"
    catch_up_s: float = CATCH_UP_S
    priority: str = "medium"
    labels: Mapping[str, str] = field(default_factory=dict)
    time_input: str = ""


def put_command(house: House, tenant: str, name: str, spec: Spec, inputs_pointer: str) -> PutSchedule:
    """The command that sets a schedule. Raises InvalidInput with the place; LimitExceeded."""
    if bool(spec.cron) == bool(spec.every_s):
        raise invalid("/cron", "one of cron and every_s is needed, and not both", code="SCHEDULE_INVALID")
    if spec.time_zone and not spec.cron:
        raise invalid("/time_zone", "only together with cron", code="SCHEDULE_INVALID")
    check_object(spec.inputs, inputs_pointer)
    check_named(house.blobs, tenant, spec.inputs, inputs_pointer)
    check_labels(spec.labels)
    return PutSchedule(
        tenant,
        name,
        spec.workflow,
        spec.version,
        spec.tag,
        spec.inputs,
        spec.cron,
        spec.time_zone,
        _ns(spec.every_s, "/every_s"),
        _ns(spec.jitter_s, "/jitter_s"),
        spec.overlap,
        _ns(spec.catch_up_s, "/catch_up_s"),
        spec.priority,
        dict(spec.labels),
        spec.time_input,
    )


def _ns(seconds: float, pointer: str) -> int:
    if not math.isfinite(seconds) or abs(seconds) > _SECONDS_MAX:
        raise invalid(pointer, "not a number of seconds that a schedule can have", code="SCHEDULE_INVALID")
    return round(seconds * _NS)


def seconds_of(duration_ns: int) -> float:
    """Nanoseconds as seconds."""
    return duration_ns / _NS


def unknown_schedule(name: str) -> NotFound:
    """The error for a schedule that does not exist, or not for this tenant."""
    return NotFound(f"there is no schedule {name[:128]!r}", code="SCHEDULE_NOT_FOUND")


def put(
    house: House,
    command: PutSchedule,
    show: Callable[[bool], None],
    fail: Callable[[ApexError], None],
    inputs_pointer: str,
) -> None:
    """Set a schedule; ``show`` is told whether it stood like this before."""

    def replied(reply: Reply) -> None:
        if reply.code:
            fail(refusal_of(reply, inputs_pointer if reply.code == "INPUTS_INVALID" else ""))
        else:
            show(reply.existing)

    house.engine.submit(command, replied)


def change(
    house: House, tenant: str, name: str, how: str, show: Callable[[], None], fail: Callable[[ApexError], None]
) -> None:
    """``how``: pause, resume or remove."""

    def replied(reply: Reply) -> None:
        if reply.code:
            fail(refusal_of(reply))
        else:
            show()

    house.engine.submit(ChangeSchedule(tenant, name, how), replied)


def find(house: House, tenant: str, name: str) -> ScheduleView:
    """A schedule as decided by now. Raises NotFound."""
    view = house.engine.schedule(tenant, name)
    if view is None:
        raise unknown_schedule(name)
    return view
