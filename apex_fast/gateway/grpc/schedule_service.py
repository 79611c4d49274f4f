"""`apex.v1.ScheduleService`: runs that start at times."""

from collections.abc import Callable
from functools import partial

from google.protobuf.message import Message

from apex_fast.domain import ScheduleFiring, ScheduleView
from apex_fast.gateway import schedules
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import invalid
from apex_fast.gateway.faults import fault_of
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.house import House
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.schedules import Spec, seconds_of
from apex_fast.gateway.translate import PRIORITIES, PRIORITY_NUMBERS, rfc3339
from apex_fast.wire.apex.v1 import common_pb2, schedule_pb2

SERVICE = "apex.v1.ScheduleService"
_INPUTS = "/spec/inputs_json"
_OVERLAPS = {
    schedule_pb2.SCHEDULE_OVERLAP_UNSPECIFIED: "skip",
    schedule_pb2.SCHEDULE_OVERLAP_SKIP: "skip",
    schedule_pb2.SCHEDULE_OVERLAP_BUFFER_ONE: "buffer_one",
    schedule_pb2.SCHEDULE_OVERLAP_ALLOW: "allow",
}
_OVERLAP_NUMBERS = {name: number for number, name in _OVERLAPS.items()}
_ACTIONS = {
    "started": schedule_pb2.ScheduleFiring.ACTION_STARTED,
    "skipped": schedule_pb2.ScheduleFiring.ACTION_SKIPPED,
    "buffered": schedule_pb2.ScheduleFiring.ACTION_BUFFERED,
    "missed": schedule_pb2.ScheduleFiring.ACTION_MISSED,
    "failed": schedule_pb2.ScheduleFiring.ACTION_FAILED,
}


class ScheduleService:
    """The handlers; `methods` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def methods(self) -> list[Method]:
        """All methods of the service."""
        return [
            unary(SERVICE, "PutSchedule", self.put_schedule),
            unary(SERVICE, "GetSchedule", self.get_schedule),
            unary(SERVICE, "ListSchedules", self.list_schedules),
            unary(SERVICE, "DeleteSchedule", self.delete_schedule),
            unary(SERVICE, "PauseSchedule", self.pause_schedule),
            unary(SERVICE, "ResumeSchedule", self.resume_schedule),
        ]

    def put_schedule(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`PutSchedule`."""
        request = schedule_pb2.PutScheduleRequest.FromString(message)
        tenant, name = tenant_of(metadata), request.name
        command = schedules.put_command(self._house, tenant, name, _spec_of(request.spec), _INPUTS)

        def show(existing: bool) -> None:
            view = schedules.find(self._house, tenant, name)
            self._answer(
                token, schedule_pb2.PutScheduleResponse(schedule=schedule_message(view, True), existing=existing)
            )

        schedules.put(self._house, command, lambda existing: self._guarded(token, partial(show, existing)),
                      partial(self._house.outbox.grpc_error, token), _INPUTS)  # fmt: skip

    def get_schedule(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetSchedule`."""
        request = schedule_pb2.GetScheduleRequest.FromString(message)
        view = schedules.find(self._house, tenant_of(metadata), request.name)
        self._house.when_durable(token, lambda: self._answer(token, schedule_message(view, True)))

    def list_schedules(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ListSchedules`."""
        request = schedule_pb2.ListSchedulesRequest.FromString(message)
        size = page_size_of(request.page_size)
        views, page = self._house.engine.schedules(tenant_of(metadata), size, request.page_token)

        def show() -> None:
            answer = schedule_pb2.ListSchedulesResponse(next_page_token=page)
            answer.schedules.extend([schedule_message(view, False) for view in views])
            self._answer(token, answer)

        self._house.when_durable(token, show)

    def delete_schedule(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`DeleteSchedule`."""
        name = schedule_pb2.DeleteScheduleRequest.FromString(message).name
        self._change(token, metadata, name, "remove", schedule_pb2.DeleteScheduleResponse)

    def pause_schedule(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`PauseSchedule`."""
        name = schedule_pb2.PauseScheduleRequest.FromString(message).name
        found = partial(self._found, metadata, name)
        self._change(token, metadata, name, "pause", lambda: schedule_pb2.PauseScheduleResponse(schedule=found()))

    def resume_schedule(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ResumeSchedule`."""
        name = schedule_pb2.ResumeScheduleRequest.FromString(message).name
        found = partial(self._found, metadata, name)
        self._change(token, metadata, name, "resume", lambda: schedule_pb2.ResumeScheduleResponse(schedule=found()))

    def _found(self, metadata: Metadata, name: str) -> schedule_pb2.Schedule:
        return schedule_message(schedules.find(self._house, tenant_of(metadata), name), True)

    def _change(self, token: int, metadata: Metadata, name: str, how: str, answer: Callable[[], Message]) -> None:
        fail = partial(self._house.outbox.grpc_error, token)
        show = partial(self._guarded, token, lambda: self._answer(token, answer()))
        schedules.change(self._house, tenant_of(metadata), name, how, show, fail)

    def _answer(self, token: int, message: Message) -> None:
        self._house.outbox.grpc(token, message.SerializeToString())

    def _guarded(self, token: int, show: Callable[[], None]) -> None:
        """Somebody may have removed it between the reply and the look at it."""
        try:
            show()
        except Exception as error:
            self._house.outbox.grpc_error(token, fault_of(error))


def _spec_of(spec: schedule_pb2.ScheduleSpec) -> Spec:
    overlap, priority = _OVERLAPS.get(spec.overlap), PRIORITIES.get(spec.priority)
    if overlap is None:
        raise invalid("/spec/overlap", f"{spec.overlap} is no overlap policy")
    if priority is None:
        raise invalid("/spec/priority", f"{spec.priority} is no priority")
    workflow = spec.workflow
    selector = workflow.WhichOneof("selector")
    return Spec(
        workflow=workflow.name,
        version=workflow.version if selector == "version" else None,
        tag=workflow.tag if selector == "tag" else None,
        inputs=spec.inputs_json or b"{}",
        cron=spec.cron,
        time_zone=spec.time_zone,
        every_s=spec.every_s,
        jitter_s=spec.jitter_s,
        overlap=overlap,
        catch_up_s=spec.catch_up_s if spec.HasField("catch_up_s") else schedules.CATCH_UP_S,
        priority=priority,
        labels=dict(spec.labels),
        time_input=spec.time_input,
    )


def schedule_message(view: ScheduleView, whole: bool) -> schedule_pb2.Schedule:
    """`apex.v1.Schedule`; the times to come only where it is ``whole``."""
    spec = schedule_pb2.ScheduleSpec(
        inputs_json=view.inputs,
        cron=view.cron,
        time_zone=view.time_zone,
        every_s=seconds_of(view.every_ns),
        jitter_s=seconds_of(view.jitter_ns),
        overlap=_OVERLAP_NUMBERS[view.overlap],
        catch_up_s=seconds_of(view.catch_up_ns),
        priority=PRIORITY_NUMBERS[view.priority],
        labels=view.labels,
        time_input=view.time_input,
    )
    spec.workflow.name = view.workflow
    if view.version:
        spec.workflow.version = view.version
    elif view.tag:
        spec.workflow.tag = view.tag
    return schedule_pb2.Schedule(
        name=view.name,
        spec=spec,
        paused=view.paused,
        changed_time=rfc3339(view.changed_ns),
        next_time=rfc3339(view.next_ns),
        buffered_time=rfc3339(view.buffered_ns),
        upcoming_times=[rfc3339(time) for time in view.upcoming_ns] if whole else [],
        runs_open=view.runs_open,
        last=None if view.last is None else _firing(view.last),
    )


def _firing(last: ScheduleFiring) -> schedule_pb2.ScheduleFiring:
    return schedule_pb2.ScheduleFiring(
        time=rfc3339(last.time_ns),
        decided_time=rfc3339(last.decided_ns),
        action=_ACTIONS[last.action],
        run_id=last.run_id,
        error=common_pb2.Error(code=last.error_code, message=last.error_message) if last.error_code else None,
    )
