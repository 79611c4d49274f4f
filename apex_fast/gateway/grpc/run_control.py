"""Steering runs over gRPC, and asking them: pause, resume, migrate, signals, queries."""

from functools import partial

from apex_fast.domain import MigrateRun, PauseRun, PublishSignal, Reply, ResumeRun, RunView, SignalRun
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import (
    NAME_CHARS_MAX,
    REASON_CHARS_MAX,
    check_json,
    check_key,
    check_text,
    invalid,
)
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.registry import FIRST_TAG
from apex_fast.gateway.translate import checkpoint_of, migrated_of, runs_of, state_number
from apex_fast.wire.apex.v1 import run_pb2


class RunControl:
    """The handlers; `methods` is the part of the table of `RunService` that steers."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._histories = histories

    def methods(self, service: str) -> list[Method]:
        """The methods, in the order of the service."""
        return [
            unary(service, "PauseRun", self.pause_run),
            unary(service, "ResumeRun", self.resume_run),
            unary(service, "GetRunDefinition", self.get_run_definition),
            unary(service, "MigrateRun", self.migrate_run),
            unary(service, "SignalRun", self.signal_run),
            unary(service, "PublishSignal", self.publish_signal),
            unary(service, "QueryRun", self.query_run),
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

    def get_run_definition(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetRunDefinition`."""
        request = run_pb2.GetRunDefinitionRequest.FromString(message)
        definition, epoch = self._house.engine.definition_of(tenant_of(metadata), request.run_id)
        answer = run_pb2.GetRunDefinitionResponse(definition_json=definition, epoch=epoch)
        self._house.when_durable(token, lambda: self._house.outbox.grpc(token, answer.SerializeToString()))

    def migrate_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`MigrateRun`."""
        request = run_pb2.MigrateRunRequest.FromString(message)
        version = request.version or None
        tag = None if version else request.tag or FIRST_TAG
        command = MigrateRun(tenant_of(metadata), request.run_id, version, tag)
        self._house.engine.submit(command, partial(self._migrated, token))

    def _migrated(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply))
            return
        migrated = migrated_of(reply)
        answer = run_pb2.MigrateRunResponse(
            state=state_number(reply.state),
            offset=reply.offset,
            version=migrated.version,
            epoch=migrated.epoch,
            existing=reply.existing,
        )
        self._house.outbox.grpc(token, answer.SerializeToString())

    def signal_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`SignalRun`."""
        request = run_pb2.SignalRunRequest.FromString(message)
        key = _checked(request.name, request.payload_json, request.idempotency_key, metadata)
        command = SignalRun(tenant_of(metadata), request.run_id, request.name, request.payload_json, key)
        self._house.engine.submit(command, partial(self._signalled, token), len(message))

    def _signalled(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply, "/payload_json"))
            return
        self._house.outbox.grpc(token, run_pb2.SignalRunResponse(offset=reply.offset).SerializeToString())

    def publish_signal(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`PublishSignal`."""
        request = run_pb2.PublishSignalRequest.FromString(message)
        key = _checked(request.name, request.payload_json, request.idempotency_key, metadata)
        command = PublishSignal(tenant_of(metadata), request.name, request.payload_json, key)
        self._house.engine.submit(command, partial(self._published, token), len(message))

    def _published(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply, "/payload_json"))
            return
        self._house.outbox.grpc(token, run_pb2.PublishSignalResponse(runs=runs_of(reply)).SerializeToString())

    def query_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`QueryRun`."""
        request = run_pb2.QueryRunRequest.FromString(message)
        tenant, run_id = tenant_of(metadata), request.run_id
        if request.HasField("at_offset"):
            work = self._query_at(token, self._house.run(tenant, run_id), request)
            self._house.when_durable(token, partial(self._house.beside_call, token, work))
            return
        answer = self._house.engine.query(tenant, run_id, request.expression)
        self._house.when_durable(token, partial(self._answer, token, answer))

    async def _query_at(self, token: int, view: RunView, request: run_pb2.QueryRunRequest) -> None:
        self._answer(token, await self._histories.query(view, request.at_offset, request.expression))

    def _answer(self, token: int, answer: tuple[bytes, int, int]) -> None:
        json, offset, epoch = answer
        message = run_pb2.QueryRunResponse(result_json=json, offset=offset, epoch=epoch)
        self._house.outbox.grpc(token, message.SerializeToString())


def _checked(name: str, payload: bytes, key: str, metadata: Metadata) -> str:
    """The key of a signal, once its parts are what they may be."""
    if not name:
        raise invalid("/name", "a signal has a name")
    check_text(name, "/name", NAME_CHARS_MAX)
    if payload:
        check_json(payload, "/payload_json")
    key = key or metadata.get("idempotency-key", "")
    check_key(key)
    return key
