"""`apex.v1.ApprovalService`: decisions that runs wait for."""

from functools import partial

from apex_fast.domain import ApprovalView, Reply, ResolveApproval
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.bodies import REASON_CHARS_MAX, check_object, check_text, invalid
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.house import House
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.translate import approval_message
from apex_fast.wire.apex.v1 import approval_pb2

SERVICE = "apex.v1.ApprovalService"
_OPEN = frozenset({approval_pb2.APPROVAL_STATE_PENDING, approval_pb2.APPROVAL_STATE_ESCALATED})


class ApprovalService:
    """The handlers; `methods` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def methods(self) -> list[Method]:
        """All methods of the service."""
        return [
            unary(SERVICE, "ListApprovals", self.list_approvals),
            unary(SERVICE, "ResolveApproval", self.resolve_approval),
        ]

    def list_approvals(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ListApprovals`: those that are open; the decided ones are in the timelines of their runs."""
        request = approval_pb2.ListApprovalsRequest.FromString(message)
        size = page_size_of(request.page_size)
        states = set(request.states) or _OPEN
        for index, state in enumerate(request.states):
            if state not in approval_pb2.ApprovalState.values() or not state:
                raise invalid(f"/states/{index}", f"{state} is no state")
        views: list[ApprovalView] = []
        page = ""
        if states & _OPEN:
            views, page = self._house.engine.approvals(tenant_of(metadata), size, request.page_token, request.run_id)

        def show() -> None:
            answer = approval_pb2.ListApprovalsResponse(next_page_token=page)
            approvals = [approval_message(view) for view in views]
            answer.approvals.extend([approval for approval in approvals if approval.state in states])
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.when_durable(token, show)

    def resolve_approval(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ResolveApproval`."""
        request = approval_pb2.ResolveApprovalRequest.FromString(message)
        approve = request.decision == approval_pb2.APPROVAL_DECISION_APPROVE
        if not approve and request.decision != approval_pb2.APPROVAL_DECISION_REJECT:
            raise invalid("/decision", "approve or reject")
        check_text(request.reason, "/reason", REASON_CHARS_MAX)
        edits = request.edits_json or None
        if edits is not None:
            check_object(edits, "/edits_json")
        tenant = tenant_of(metadata)
        command = ResolveApproval(tenant, request.ticket, approve, request.reason, edits)
        answer = approval_pb2.Approval(
            ticket=request.ticket,
            run_id=request.ticket.partition("~")[0],
            node=request.ticket.partition("~")[2],
            state=approval_pb2.APPROVAL_STATE_APPROVED if approve else approval_pb2.APPROVAL_STATE_REJECTED,
            reason=request.reason,
        )
        self._house.engine.submit(command, partial(self._resolved, token, answer))

    def _resolved(self, token: int, approval: approval_pb2.Approval, reply: Reply) -> None:
        if reply.code:
            self._house.outbox.grpc_error(token, refusal_of(reply, "/edits_json"))
            return
        answer = approval_pb2.ResolveApprovalResponse(approval=approval, offset=reply.offset)
        self._house.outbox.grpc(token, answer.SerializeToString())
