"""`/approvals`: decisions that runs wait for."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apex_fast.domain import ApprovalView, Reply, ResolveApproval
from apex_fast.gateway.bodies import REASON_CHARS_MAX, Body, invalid
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.translate import rfc3339


class ApprovalsQuery(Body):
    """What a page of approvals selects."""

    run: str = ""
    """Id of a run; empty: all runs."""
    page_size: int = 0
    page_token: str = ""


class DecisionBody(Body):
    """A decision."""

    decision: Literal["approve", "reject"]
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""
    edits: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    """An object that becomes `edits` in the node's output."""


class ApprovalShown(msgspec.Struct, omit_defaults=True):
    """An approval that waits."""

    ticket: str
    run_id: str
    node: str
    prompt: str
    requested_time: str
    workflow: str
    version: str
    expires_time: str = ""
    escalated_to: list[str] = []
    """Who else was asked after a while."""


class ApprovalPage(msgspec.Struct):
    """Open approvals, oldest first."""

    approvals: list[ApprovalShown]
    next_page_token: str


class Decided(msgspec.Struct):
    """A decision that was taken, durably."""

    ticket: str
    run_id: str
    decision: Literal["approve", "reject"]
    offset: int


_DECISION = msgspec.json.Decoder(DecisionBody)


def shown(view: ApprovalView) -> ApprovalShown:
    """An approval for HTTP."""
    return ApprovalShown(
        view.ticket,
        view.run_id,
        view.node,
        view.prompt,
        rfc3339(view.requested_ns),
        view.workflow,
        view.version,
        rfc3339(view.due_ns),
        view.escalated_to,
    )


class ApprovalRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("GET", "/approvals", "listApprovals", "Approvals that wait, oldest first", "approvals", self.list,
                  [Answer(200, "A page of approvals", ApprovalPage)], query=ApprovalsQuery),
            Route("POST", "/approvals/{ticket}", "resolveApproval", "Approve or reject", "approvals", self.resolve,
                  [Answer(200, "Decided, durably", Decided)], body=DecisionBody,
                  problems=("TICKET_NOT_FOUND", "TICKET_RESOLVED")),
        ]  # fmt: skip

    def list(self, exchange: Exchange) -> None:
        """`GET /approvals`."""
        query = exchange.select(ApprovalsQuery)
        views, page = self._house.engine.approvals(
            exchange.tenant, page_size_of(query.page_size), query.page_token, query.run
        )
        exchange.when_durable(lambda: exchange.answer(200, ApprovalPage([shown(view) for view in views], page)))

    def resolve(self, exchange: Exchange) -> None:
        """`POST /approvals/{ticket}`."""
        body = exchange.read(_DECISION)
        edits: bytes | None = bytes(body.edits)
        if edits == b"null":
            edits = None
        elif edits[:1] != b"{":  # type: ignore[index]
            raise invalid("/edits", "a JSON object is expected")
        ticket = exchange.params["ticket"]
        command = ResolveApproval(exchange.tenant, ticket, body.decision == "approve", body.reason, edits)
        self._house.engine.submit(command, partial(self._resolved, exchange, ticket, body.decision))

    def _resolved(self, exchange: Exchange, ticket: str, decision: Literal["approve", "reject"], reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply, "/edits"))
        else:
            exchange.answer(200, Decided(ticket, ticket.partition("~")[0], decision, reply.offset))
