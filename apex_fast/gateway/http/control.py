"""Steering runs over HTTP: pause, resume."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from apex_fast.domain import PauseRun, Reply, ResumeRun
from apex_fast.gateway.bodies import REASON_CHARS_MAX, Body
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.http.runs import State
from apex_fast.gateway.translate import checkpoint_of


class PauseBody(Body):
    """Why a run is paused."""

    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


class RunPaused(msgspec.Struct):
    """A run that is held, durably."""

    run_id: str
    state: State
    offset: int
    checkpoint_id: str
    """Names the state of the run when it was paused."""
    resume_url: str


class RunResumed(msgspec.Struct):
    """A run that goes on, durably."""

    run_id: str
    state: State
    offset: int


_PAUSE = msgspec.json.Decoder(PauseBody)


class ControlRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("POST", "/runs/{id}/pause", "pauseRun", "Request nothing new of a run until it is resumed", "runs",
                  self.pause, [Answer(200, "Paused, durably", RunPaused)], body=PauseBody, body_required=False,
                  problems=("RUN_NOT_FOUND", "RUN_ENDED", "WRONG_STATE")),
            Route("POST", "/runs/{id}/resume", "resumeRun", "Let a paused run go on", "runs", self.resume,
                  [Answer(200, "It goes on, durably", RunResumed)], problems=("RUN_NOT_FOUND", "RUN_ENDED")),
        ]  # fmt: skip

    def pause(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/pause`."""
        body = exchange.read(_PAUSE) if exchange.body else PauseBody()
        command = PauseRun(exchange.tenant, exchange.params["id"], body.reason)
        self._house.engine.submit(command, partial(self._paused, exchange))

    def _paused(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply))
            return
        state: State = reply.state  # type: ignore[assignment]
        url = f"/runs/{reply.run_id}/resume"
        exchange.answer(200, RunPaused(reply.run_id, state, reply.offset, checkpoint_of(reply), url))

    def resume(self, exchange: Exchange) -> None:
        """`POST /runs/{id}/resume`."""
        command = ResumeRun(exchange.tenant, exchange.params["id"])
        self._house.engine.submit(command, partial(self._resumed, exchange))

    def _resumed(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code:
            exchange.fail(refusal_of(reply))
            return
        state: State = reply.state  # type: ignore[assignment]
        exchange.answer(200, RunResumed(reply.run_id, state, reply.offset))
