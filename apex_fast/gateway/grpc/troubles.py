"""Dead letters and breakers: methods of `apex.v1.RunService`."""

from functools import partial

from apex_fast.domain import BreakerView, DeadLetterView, DropDeadLetter, Reply
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.letters import retry
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.translate import rfc3339
from apex_fast.wire.apex.v1 import common_pb2, run_pb2

_STATES = {
    "closed": run_pb2.Breaker.STATE_CLOSED,
    "open": run_pb2.Breaker.STATE_OPEN,
    "half_open": run_pb2.Breaker.STATE_HALF_OPEN,
}


def letter_message(view: DeadLetterView) -> run_pb2.DeadLetter:
    """`apex.v1.DeadLetter`."""
    return run_pb2.DeadLetter(
        id=view.id,
        run_id=view.run_id,
        node=view.node,
        attempt=view.attempt,
        function=view.function,
        error=common_pb2.Error(code=view.error_type, message=view.error_message, node=view.node),
        workflow=view.workflow,
        version=view.version,
        time=rfc3339(view.time_ns),
    )


def breaker_message(view: BreakerView) -> run_pb2.Breaker:
    """`apex.v1.Breaker`."""
    return run_pb2.Breaker(
        name=view.name,
        state=_STATES[view.state],
        failures=view.failures,
        until=rfc3339(view.due_ns),
        changed_time=rfc3339(view.changed_ns),
    )


class Troubles:
    """The handlers; `methods` is the table."""

    def __init__(self, house: House, histories: Histories, service: str) -> None:
        self._house = house
        self._histories = histories
        self._service = service

    def methods(self) -> list[Method]:
        """All methods of the group."""
        return [
            unary(self._service, "ListDeadLetters", self.list_dead_letters),
            unary(self._service, "DropDeadLetter", self.drop_dead_letter),
            unary(self._service, "RetryDeadLetter", self.retry_dead_letter),
            unary(self._service, "ListBreakers", self.list_breakers),
        ]

    def list_dead_letters(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ListDeadLetters`."""
        request = run_pb2.ListDeadLettersRequest.FromString(message)
        views, page = self._house.engine.dead_letters(
            tenant_of(metadata),
            page_size_of(request.page_size),
            request.page_token,
            request.workflow,
            request.function,
            request.run_id,
        )

        def show() -> None:
            answer = run_pb2.ListDeadLettersResponse(next_page_token=page)
            answer.dead_letters.extend([letter_message(view) for view in views])
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.when_durable(token, show)

    def drop_dead_letter(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`DropDeadLetter`."""
        request = run_pb2.DropDeadLetterRequest.FromString(message)
        command = DropDeadLetter(tenant_of(metadata), request.id)
        self._house.engine.submit(command, partial(self._dropped, token))

    def _dropped(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply))
        else:
            self._house.outbox.grpc(token, run_pb2.DropDeadLetterResponse().SerializeToString())

    def retry_dead_letter(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`RetryDeadLetter`."""
        request = run_pb2.RetryDeadLetterRequest.FromString(message)
        work = self._retry(token, tenant_of(metadata), request)
        self._house.beside_call(token, work)

    async def _retry(self, token: int, tenant: str, request: run_pb2.RetryDeadLetterRequest) -> None:
        new = await retry(self._house, self._histories, tenant, request.id, request.allow_writes)
        answer = run_pb2.RetryDeadLetterResponse(run_id=new.run_id, offset=new.offset, existing=new.existing)
        self._house.outbox.grpc(token, answer.SerializeToString())

    def list_breakers(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ListBreakers`."""
        request = run_pb2.ListBreakersRequest.FromString(message)
        engine = self._house.engine
        views, page = engine.breakers(tenant_of(metadata), page_size_of(request.page_size), request.page_token)

        def show() -> None:
            answer = run_pb2.ListBreakersResponse(next_page_token=page)
            answer.breakers.extend([breaker_message(view) for view in views])
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.when_durable(token, show)
