"""`/dead-letters` and `/breakers`: what failed for good, and what is left alone for a while."""

from functools import partial
from typing import Literal

import msgspec

from apex_fast.domain import BreakerView, DeadLetterView, DropDeadLetter, Reply
from apex_fast.gateway.bodies import Body
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.replays import RunReplayed
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.letters import retry
from apex_fast.gateway.listing import page_size_of
from apex_fast.gateway.translate import rfc3339


class DeadLettersQuery(Body):
    """What a page of dead letters selects."""

    workflow: str = ""
    function: str = ""
    """The function of the node; the type of a node that calls none."""
    run: str = ""
    page_size: int = 0
    page_token: str = ""


class BreakersQuery(Body):
    """Which page of the breakers."""

    page_size: int = 0
    page_token: str = ""


class LetterError(msgspec.Struct):
    """Why it failed."""

    type: str
    message: str


class DeadLetterShown(msgspec.Struct):
    """A node that failed for good."""

    id: str
    run_id: str
    node: str
    attempt: int
    function: str
    error: LetterError
    workflow: str
    version: str
    time: str


class DeadLetterPage(msgspec.Struct):
    """Dead letters, newest first."""

    dead_letters: list[DeadLetterShown]
    next_page_token: str


class Dropped(msgspec.Struct):
    """A dead letter that is listed no more, durably."""

    id: str
    run_id: str


class RetryBody(Body):
    """How a dead letter is tried again."""

    allow_writes: bool = False
    """Nodes that write may run."""


class BreakerShown(msgspec.Struct, omit_defaults=True):
    """The breaker of a tool or host."""

    name: str
    state: Literal["closed", "open", "half_open"]
    failures: int
    """In a row, since it changed."""
    until: str = ""
    """When more is let through."""
    changed_time: str = ""


class BreakerPage(msgspec.Struct):
    """Breakers, by name: those that are not closed or have something to remember."""

    breakers: list[BreakerShown]
    next_page_token: str


_RETRY = msgspec.json.Decoder(RetryBody)


def letter_shown(view: DeadLetterView) -> DeadLetterShown:
    """A dead letter for HTTP."""
    return DeadLetterShown(
        view.id,
        view.run_id,
        view.node,
        view.attempt,
        view.function,
        LetterError(view.error_type, view.error_message),
        view.workflow,
        view.version,
        rfc3339(view.time_ns),
    )


def breaker_shown(view: BreakerView) -> BreakerShown:
    """A breaker for HTTP."""
    return BreakerShown(view.name, view.state, view.failures, rfc3339(view.due_ns), rfc3339(view.changed_ns))


class TroubleRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._histories = histories

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("GET", "/dead-letters", "listDeadLetters", "What failed for good, newest first", "troubles",
                  self.dead_letters, [Answer(200, "A page of dead letters", DeadLetterPage)], query=DeadLettersQuery),
            Route("DELETE", "/dead-letters/{id}", "dropDeadLetter", "Take a dead letter off the list", "troubles",
                  self.drop, [Answer(200, "Dropped, durably", Dropped)], problems=("DEAD_LETTER_NOT_FOUND",)),
            Route("POST", "/dead-letters/{id}/retry", "retryDeadLetter", "Replay its run from its node on", "troubles",
                  self.retry, [Answer(202, "Started, durably; it is listed no more", RunReplayed,
                                      headers={"Location": "The run."})],
                  body=RetryBody, body_required=False,
                  problems=("DEAD_LETTER_NOT_FOUND", "RUN_NOT_FOUND", "WRITES_NOT_ALLOWED", "WRONG_STATE",
                            "IDEMPOTENCY_KEY_REUSED", "HISTORY_TRIMMED", "LIMIT_EXCEEDED", "OVERLOADED")),
            Route("GET", "/breakers", "listBreakers", "Breakers of tools and hosts", "troubles", self.breakers,
                  [Answer(200, "A page of breakers", BreakerPage)], query=BreakersQuery),
        ]  # fmt: skip

    def dead_letters(self, exchange: Exchange) -> None:
        """`GET /dead-letters`."""
        query = exchange.select(DeadLettersQuery)
        views, page = self._house.engine.dead_letters(
            exchange.tenant, page_size_of(query.page_size), query.page_token, query.workflow, query.function, query.run
        )
        exchange.when_durable(
            lambda: exchange.answer(200, DeadLetterPage([letter_shown(view) for view in views], page))
        )

    def drop(self, exchange: Exchange) -> None:
        """`DELETE /dead-letters/{id}`."""
        found = exchange.params["id"]
        command = DropDeadLetter(exchange.tenant, found)
        self._house.engine.submit(command, partial(self._dropped, exchange, found))

    def _dropped(self, exchange: Exchange, found: str, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply))
        else:
            exchange.answer(200, Dropped(found, reply.run_id))

    def retry(self, exchange: Exchange) -> None:
        """`POST /dead-letters/{id}/retry`."""
        body = exchange.read(_RETRY) if exchange.body else RetryBody()
        exchange.beside(self._retry(exchange, body.allow_writes))

    async def _retry(self, exchange: Exchange, allow_writes: bool) -> None:
        new = await retry(self._house, self._histories, exchange.tenant, exchange.params["id"], allow_writes)
        started = RunReplayed(new.run_id, new.offset, new.existing)
        exchange.answer(202, started, [("location", f"/runs/{new.run_id}")])

    def breakers(self, exchange: Exchange) -> None:
        """`GET /breakers`."""
        query = exchange.select(BreakersQuery)
        views, page = self._house.engine.breakers(exchange.tenant, page_size_of(query.page_size), query.page_token)
        exchange.when_durable(lambda: exchange.answer(200, BreakerPage([breaker_shown(view) for view in views], page)))
