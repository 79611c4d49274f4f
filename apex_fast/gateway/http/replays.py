"""`POST /runs/{id}/replay`: a run again, from a node on."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apex_fast.domain import Reply, RunView
from apex_fast.gateway.bodies import KEY_CHARS_MAX, Body, check_key
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route


class ReplayBody(Body):
    """What of a run is to run again."""

    from_node: str = msgspec.field(name="from", default="")
    """Instance path: it and what comes after it run again. Empty: everything."""
    mode: Literal["freeze", "live"] = "freeze"
    """`freeze`: what does not come after `from` keeps what it gave. `live`: everything runs, with the same inputs."""
    definition: str | None = None
    """Another version of the workflow."""
    allow_writes: bool = False
    """Nodes that write may run."""
    idempotency_key: Annotated[str, Meta(max_length=KEY_CHARS_MAX)] = ""


class RunReplayed(msgspec.Struct):
    """The new run."""

    run_id: str
    offset: int
    existing: bool


_REPLAY = msgspec.json.Decoder(ReplayBody)


class ReplayRoutes:
    """The handler; `routes` is the table."""

    def __init__(self, house: House, histories: Histories) -> None:
        self._house = house
        self._histories = histories

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("POST", "/runs/{id}/replay", "replayRun", "A new run that goes on from a node of this one", "runs",
                  self.replay, [Answer(202, "Started, durably", RunReplayed, headers={"Location": "The run."})],
                  body=ReplayBody, body_required=False,
                  headers={"Idempotency-Key": "The same key gives the same run (at most 255 characters)."},
                  problems=("RUN_NOT_FOUND", "NODE_NOT_FOUND", "WORKFLOW_NOT_FOUND", "INPUTS_INVALID",
                            "WRITES_NOT_ALLOWED", "VERSION_INCOMPATIBLE", "IDEMPOTENCY_KEY_REUSED", "HISTORY_TRIMMED",
                            "LIMIT_EXCEEDED", "OVERLOADED")),
        ]  # fmt: skip

    def replay(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/replay`."""
        body = exchange.read(_REPLAY) if exchange.body else ReplayBody()
        key = body.idempotency_key or exchange.headers.get("idempotency-key", "")
        check_key(key)
        view = self._house.run(exchange.tenant, exchange.params["id"])
        exchange.when_durable(lambda: exchange.beside(self._replay(exchange, view, body, key)))

    async def _replay(self, exchange: Exchange, view: RunView, body: ReplayBody, key: str) -> None:
        live = body.mode == "live"
        command = await self._histories.replay(view, body.from_node, live, body.definition, body.allow_writes, key)
        self._house.engine.submit(command, partial(self._replayed, exchange))

    def _replayed(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply))
            return
        started = RunReplayed(reply.run_id, reply.offset, reply.existing)
        exchange.answer(202, started, [("location", f"/runs/{reply.run_id}")])
