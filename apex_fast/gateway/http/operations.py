"""`/health`, `/ready`, `/metrics`, `/openapi.json`: what those ask who run the house."""

from collections.abc import Callable
from typing import Literal

import msgspec

from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import JSON, Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.telemetry.metrics import CONTENT_TYPE


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"]


class Ready(msgspec.Struct):
    """Whether new work is taken, and by which dependency not."""

    status: Literal["ready", "stopping", "not_ready"]
    dependencies: dict[str, str]


class OperationRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House, document: Callable[[], bytes]) -> None:
        self._house = house
        self._document = document

    def routes(self) -> list[Route]:
        """All routes of the group."""
        return [
            Route("GET", "/health", "health", "Liveness", "operations", self.health,
                  [Answer(200, "The process answers", Alive)]),
            Route("GET", "/ready", "ready", "Readiness, with each dependency", "operations", self.ready,
                  [Answer(200, "New work is taken", Ready), Answer(503, "It is not", Ready)]),
            Route("GET", "/metrics", "metrics", "Prometheus text format", "operations", self.metrics,
                  [Answer(200, "Metrics", None, "text/plain")]),
            Route("GET", "/openapi.json", "openapi", "This description", "operations", self.openapi,
                  [Answer(200, "OpenAPI 3.1", None)]),
        ]  # fmt: skip

    def health(self, exchange: Exchange) -> None:
        """`GET /health`."""
        exchange.answer(200, Alive("ok"))

    def ready(self, exchange: Exchange) -> None:
        """`GET /ready`."""
        house = self._house
        log_state = "failed" if house.failed else "ok"
        planner = "off" if house.planner is None else "ok"
        status: Literal["ready", "stopping", "not_ready"] = "ready"
        if log_state != "ok":
            status = "not_ready"
        elif not house.ready:
            status = "stopping"
        answer = Ready(status, {"log": log_state, "engine": log_state, "planner": planner})
        exchange.answer(200 if status == "ready" else 503, answer)

    def metrics(self, exchange: Exchange) -> None:
        """`GET /metrics`."""
        exchange.answer_bytes(200, [("content-type", CONTENT_TYPE)], self._house.metrics.text())

    def openapi(self, exchange: Exchange) -> None:
        """`GET /openapi.json`."""
        exchange.answer_bytes(200, JSON, self._document())
