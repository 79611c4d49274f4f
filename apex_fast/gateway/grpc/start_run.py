"""Starts of runs: the hot path. No await, no task, one object per start beside the message.

`StartRun` answers one start, `StartRuns` many: results are collected per batch until the turn's answers leave.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from apex_fast.domain import Reply, StartRun
from apex_fast.errors import ApexError, InvalidInput, Overloaded, Unavailable
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import NAME_CHARS_MAX, check_key, check_labels, check_object, invalid
from apex_fast.gateway.faults import fault_of, refusal_of
from apex_fast.gateway.grpc.method import Metadata
from apex_fast.gateway.house import House
from apex_fast.gateway.named_blobs import check_named
from apex_fast.gateway.problems import problem_of, retry_after_s
from apex_fast.gateway.registry import FIRST_TAG
from apex_fast.gateway.translate import ENDED, FIDELITIES, PRIORITIES, state_number
from apex_fast.wire.apex.v1 import common_pb2, run_pb2

ITEMS_MAX = 1_024
# Starts of one stream that may wait for their answers; its client is held back until some are answered.
IN_FLIGHT_MAX = 16_384

_read_start = run_pb2.StartRunRequest.FromString
_read_starts = run_pb2.StartRunsRequest.FromString
_Started = run_pb2.StartRunResponse


def command_of(house: House, tenant: str, request: run_pb2.StartRunRequest, key: str) -> StartRun:
    """The command of a start. Raises InvalidInput, LimitExceeded."""
    workflow = request.workflow
    name = workflow.name
    if not name or len(name) > NAME_CHARS_MAX:
        raise invalid("/workflow/name", f"a workflow's name has 1 to {NAME_CHARS_MAX} characters")
    version: str | None = workflow.version or None
    tag: str | None = None if version else workflow.tag or FIRST_TAG
    inputs = request.inputs_json
    if inputs and inputs != b"{}":
        check_object(inputs, "/inputs_json")
        check_named(house.blobs, tenant, inputs, "/inputs_json")
    priority = PRIORITIES.get(request.priority)
    if priority is None:
        raise invalid("/priority", f"{request.priority} is no priority")
    if key:
        check_key(key)
    labels: dict[str, str] | None = None
    if request.labels:
        labels = dict(request.labels)
        check_labels(labels)
    fidelity = FIDELITIES.get(request.fidelity)
    if fidelity is None:
        raise invalid("/fidelity", f"{request.fidelity} is no fidelity")
    return StartRun(tenant, name, version, tag, inputs or b"{}", key, "", priority, labels, fidelity=fidelity)


class Starts:
    """The handlers of `StartRun` and `StartRuns`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._submit = house.engine.submit
        self._put = house.outbox.put

    def start_run(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`StartRun`."""
        request = _read_start(message)
        key = request.idempotency_key or metadata.get("idempotency-key", "")
        command = command_of(self._house, tenant_of(metadata), request, key)
        self._submit(command, partial(self._started, token), len(message))

    def _started(self, token: int, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply, "/inputs_json"))
            return
        answer = _Started(run_id=reply.run_id, offset=reply.offset, existing=reply.existing)
        self._put((0, token, answer.SerializeToString()))

    def start_runs(self, token: int, metadata: Metadata) -> "Bulk":
        """`StartRuns`."""
        return Bulk(self._house, token, tenant_of(metadata))


class Bulk:
    """One open `StartRuns` stream.

    What finds the house full waits here, and the client is held back by flow control: refusing costs nearly as much as
    starting, and whoever sends for volume would only send it again. What waits is bounded by what the front door had
    read by then.
    """

    def __init__(self, house: House, token: int, tenant: str) -> None:
        self._house = house
        self._token = token
        self._tenant = tenant
        self._in_flight = 0
        self._closing = False
        self._gone = False
        self._answers: dict[int, run_pb2.StartRunsResponse] = {}
        # Messages that wait for room, with the first item that does.
        self._backlog: deque[tuple[run_pb2.StartRunsRequest, int]] = deque()
        self._wants_answers = False
        # Callback of an item that is answered at the end of its run -> the run. A client may use a batch id twice.
        self._until_ended: dict[Callable[[], None], str] = {}
        house.outbox.stream_open(token, [], [], None, 0, False)

    def message(self, message: bytes) -> None:
        """A batch of starts."""
        request = _read_starts(message)
        if len(request.items) > ITEMS_MAX:
            raise invalid("/items", f"a message has at most {ITEMS_MAX} starts")
        if not request.items:
            self._answer(request.batch_id)
        elif self._backlog:
            self._backlog.append((request, 0))
        elif (left := self._take(request, 0)) is not None:
            self._backlog.append((request, left))
            self._house.outbox.hold(self._token, True)

    def _take(self, request: run_pb2.StartRunsRequest, first: int) -> int | None:
        """Submit the items from ``first`` on. Gives the first that finds no room; `_go_on` is called when there is."""
        items = request.items
        batch = request.batch_id
        submit = self._house.engine.submit
        tenant = self._tenant
        for index in range(first, len(items)):
            item = items[index]
            if self._in_flight >= IN_FLIGHT_MAX:
                self._wants_answers = True
                return index
            try:
                submit(
                    command_of(self._house, tenant, item, item.idempotency_key),
                    partial(self._started, batch, index, request.wait),
                    len(item.inputs_json),
                )
            except Overloaded as error:
                if error.code == Overloaded.default_code:
                    self._house.engine.when_room(self._go_on)
                    return index
                # A full disk does not become empty by waiting for a turn.
                self._refused(batch, range(index, len(items)), error)
                break
            except Exception as error:
                self._refused(batch, (index,), fault_of(error))
            else:
                self._in_flight += 1
        return None

    def _go_on(self) -> None:
        """There is room: take what is left of one message."""
        if self._gone or not self._backlog:
            return
        request, first = self._backlog.popleft()
        left = self._take(request, first)
        if left is not None:
            self._backlog.appendleft((request, left))
        elif self._backlog:
            self._house.engine.when_room(self._go_on)
        else:
            self._house.outbox.hold(self._token, False)

    def _started(self, batch: int, index: int, wait: bool, reply: Reply) -> None:
        if reply.code:
            self._in_flight -= 1
            if not self._gone:
                self._refused(batch, (index,), refusal_of(reply, "/inputs_json"))
            return
        if wait and reply.state not in ENDED and not self._gone and self._house.ready:

            def ended() -> None:
                del self._until_ended[ended]
                self._ended(batch, index, reply)

            self._until_ended[ended] = reply.run_id
            self._house.engine.when_ended(reply.run_id, ended)
            return
        self._in_flight -= 1
        if not self._gone:
            self._answer(batch).results.add(
                index=index,
                run_id=reply.run_id,
                offset=reply.offset,
                existing=reply.existing,
                state=state_number(reply.state),
            )

    def _ended(self, batch: int, index: int, reply: Reply) -> None:
        """Answer with the state as it is: the run has ended, or the house is stopping."""
        self._in_flight -= 1
        if self._gone:
            return
        view = self._house.engine.run(self._tenant, reply.run_id)
        self._answer(batch).results.add(
            index=index,
            run_id=reply.run_id,
            offset=reply.offset if view is None else view.offset,
            existing=reply.existing,
            state=state_number(reply.state if view is None else view.state),
        )

    def _refused(self, batch: int, indexes: Iterable[int], error: ApexError) -> None:
        detail = common_pb2.Error(
            code=error.code,
            message=error.message,
            grpc_code=problem_of(error.code).grpc,
            retry_after_s=retry_after_s(error) or 0.0,
        )
        if isinstance(error, InvalidInput) and error.errors:
            detail.pointer = error.errors[0][0]
        add = self._answer(batch).results.add
        for index in indexes:
            add(index=index, error=detail)

    def _answer(self, batch: int) -> run_pb2.StartRunsResponse:
        """The message that collects this turn's results of a batch."""
        answer = self._answers.get(batch)
        if answer is None:
            if not self._answers:
                self._house.outbox.before_flush(self._send)
            answer = self._answers[batch] = run_pb2.StartRunsResponse(batch_id=batch)
        return answer

    def _send(self) -> None:
        answers, self._answers = self._answers, {}
        if self._gone:
            return
        outbox = self._house.outbox
        if answers:
            outbox.stream_send(self._token, [(None, answer.SerializeToString()) for answer in answers.values()])
        if self._wants_answers and self._in_flight < IN_FLIGHT_MAX:
            self._wants_answers = False
            self._go_on()
        if self._closing and not self._in_flight and not self._backlog and not self._answers:
            self._gone = True
            self._house.conversations.pop(self._token, None)
            outbox.stream_end(self._token)

    def half_closed(self) -> None:
        """The client has sent everything."""
        self._closing = True
        if not self._in_flight and not self._answers and not self._backlog:
            self._send()

    def cancelled(self) -> None:
        """The client is gone; what was accepted starts all the same."""
        self._gone = True
        self._backlog.clear()
        for ended, run_id in self._until_ended.items():
            self._house.engine.forget(run_id, ended)
        self._until_ended.clear()

    def give_up(self) -> None:
        """The house is stopping: what waits for the end of its run is answered with the state as it is."""
        stopping = Unavailable("the gateway is stopping; start it elsewhere or later")
        while self._backlog:
            request, first = self._backlog.popleft()
            self._refused(request.batch_id, range(first, len(request.items)), stopping)
        for ended, run_id in list(self._until_ended.items()):
            self._house.engine.forget(run_id, ended)
            ended()
        self.half_closed()
