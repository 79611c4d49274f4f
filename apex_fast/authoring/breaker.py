"""When a tool that fails is left alone for a while."""

from collections.abc import Mapping
from typing import Any


class Breaker:
    """The breaker of a function or node, as `breaker` in a definition.

    ``failure_threshold`` failures in a row, of all runs of a tenant, open it; for ``timeout_s`` nothing calls the tool
    then, and a node fails at once with type `CircuitOpen`. After that ``probes`` calls are let through: when all of
    them end well it closes, one failure opens it again. ``fallback``: what a node gives meanwhile instead of failing:
    ``{"value": …}`` (with expressions as in a definition) or ``{"cached": True}``, what the tool gave last for the same
    input. Raises ValueError where a number makes no sense.
    """

    __slots__ = ("failure_threshold", "fallback", "probes", "timeout_s")

    def __init__(
        self,
        failure_threshold: int = 5,
        *,
        timeout_s: float = 30.0,
        probes: int = 1,
        fallback: Mapping[str, Any] | None = None,
    ) -> None:
        if failure_threshold < 1 or probes < 1:
            raise ValueError(f"Breaker(failure_threshold={failure_threshold}, probes={probes}): both at least 1")
        if not 0 < timeout_s < float("inf"):
            raise ValueError(f"Breaker(timeout_s={timeout_s}): positive and finite")
        if fallback is not None and (set(fallback) not in ({"value"}, {"cached"}) or fallback.get("cached") is False):
            raise ValueError(f'Breaker(fallback={fallback!r}): {{"value": …}} or {{"cached": True}}')
        self.failure_threshold = failure_threshold
        self.timeout_s = timeout_s
        self.probes = probes
        self.fallback = None if fallback is None else dict(fallback)

    def document(self) -> dict[str, object]:
        """The breaker as it stands in a definition."""
        stated: dict[str, object] = {
            "failure_threshold": self.failure_threshold,
            "timeout_s": self.timeout_s,
            "probes": self.probes,
        }
        if self.fallback is not None:
            stated["fallback"] = self.fallback
        return stated

    def __repr__(self) -> str:
        return f"Breaker({', '.join(f'{name}={value!r}' for name, value in self.document().items())})"
