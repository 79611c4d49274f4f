"""Steering runs over gRPC: `PauseRun`, `ResumeRun`."""

from functools import partial

from apex_fast.domain import PauseRun, Reply, ResumeRun
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import REASON_CHARS_MAX, check_text
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.house import House
from apex_fast.gateway.translate import checkpoint_of, state_number
from apex_fast.wire.apex.v1 import run_pb2


class RunControl:
    """The handlers; `methods` is the part of the table of `RunService` that steers."""

    def __init__(self, house: House) -> None:
        self._house = house

    def methods(self, service: str) -> list[Method]:
        """The methods, in the order of the service."""
        return [
            unary(service, "PauseRun", self.pause_run),
            unary(service, "ResumeRun", self.resume_run),
        ]

    def pause_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`PauseRun`."""
        request = run_pb2.PauseRunRequest.FromString(message)
        check_text(request.reason, "/reason", REASON_CHARS_MAX)
        command = PauseRun(tenant_of(metadata), request.run_id, request.reason)
        self._house.engine.submit(command, partial(self._paused, token))

    def _paused(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply))
            return
        answer = run_pb2.PauseRunResponse(
            state=state_number(reply.state), offset=reply.offset, checkpoint_id=checkpoint_of(reply)
        )
        self._house.outbox.grpc(token, answer.SerializeToString())

    def resume_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ResumeRun`."""
        request = run_pb2.ResumeRunRequest.FromString(message)
        command = ResumeRun(tenant_of(metadata), request.run_id)
        self._house.engine.submit(command, partial(self._resumed, token))

    def _resumed(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply))
            return
        answer = run_pb2.ResumeRunResponse(state=state_number(reply.state), offset=reply.offset)
        self._house.outbox.grpc(token, answer.SerializeToString())
