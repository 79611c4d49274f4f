"""The App: the functions and workflows of a program, by name."""

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from apex_fast.authoring.breaker import Breaker
from apex_fast.authoring.function import Effect, Function
from apex_fast.authoring.rate import Rate
from apex_fast.authoring.retry import Retry
from apex_fast.authoring.workflow import Workflow

C = TypeVar("C", bound=Callable[..., object])
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


class App:
    """Functions and workflows by name; `apex serve --app module:app` runs them.

    >>> app = App()
    >>> @app.function(effect="pure")
    ... async def greet(name: str) -> str:
    ...     return f"Hello {name}"
    >>> app.workflow("hello").function("greet", greet, input={"name": "${inputs.name}"})
    Node('greet')
    """

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.workflows: list[Workflow] = []

    def function(
        self,
        name: str | None = None,
        *,
        effect: Effect = "write",
        compensation: str | Callable[..., object] | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        schedule_to_close_s: float | None = None,
        heartbeat_timeout_s: float | None = None,
        breaker: Breaker | None = None,
        rate_limit: Rate | None = None,
    ) -> Callable[[C], C]:
        """Register a callable under ``name`` (its own by default); it is returned as it was.

        ``effect``: `pure` (same input, same output), `read` or `write`. ``compensation``: the function, or its name,
        that undoes it, called with ``input`` and ``output``. ``retry``, ``timeout_s`` (of an attempt),
        ``schedule_to_close_s`` (of all attempts, waits included), ``heartbeat_timeout_s`` (longest time without
        `JobContext.heartbeat`), ``breaker``, ``rate_limit`` (as ``"10/s"``): what a node does that states none.
        ``async def`` runs on a loop of its own, a plain function in a thread. Arguments and result are checked by
        their annotations. Raises TypeError where the callable cannot be called from JSON, ValueError for a bad
        name or one that is taken.
        """
        if callable(name):
            raise TypeError("write @app.function() with parentheses")
        local_names = sys._getframe(1).f_locals

        def register(original: C) -> C:
            chosen = name if name is not None else getattr(original, "__name__", "")
            self.add(
                original,
                chosen,
                effect=effect,
                compensation=compensation,
                retry=retry,
                timeout_s=timeout_s,
                schedule_to_close_s=schedule_to_close_s,
                heartbeat_timeout_s=heartbeat_timeout_s,
                breaker=breaker,
                rate_limit=rate_limit,
                local_names=local_names,
            )
            return original

        return register

    def add(
        self,
        original: Callable[..., object],
        name: str,
        *,
        effect: Effect = "write",
        compensation: str | Callable[..., object] | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        schedule_to_close_s: float | None = None,
        heartbeat_timeout_s: float | None = None,
        breaker: Breaker | None = None,
        rate_limit: Rate | None = None,
        local_names: Mapping[str, object] | None = None,
    ) -> Function:
        """`function` without the decorator."""
        if not NAME.fullmatch(name):
            raise ValueError(f"function {name!r}: a name matches {NAME.pattern}; give one with name=")
        if name in self.functions:
            raise ValueError(f"function {name}: registered already ({self.functions[name].original!r})")
        undo = self.name_of(compensation) if callable(compensation) else compensation
        registered = Function(
            original,
            name,
            effect=effect,
            compensation=undo,
            retry=retry,
            timeout_s=timeout_s,
            schedule_to_close_s=schedule_to_close_s,
            heartbeat_timeout_s=heartbeat_timeout_s,
            breaker=breaker,
            rate_limit=rate_limit,
            local_names=local_names,
        )
        self.functions[name] = registered
        return registered

    def name_of(self, original: Callable[..., object]) -> str:
        """The name a callable was registered under. Raises ValueError where it was not."""
        for name, registered in self.functions.items():
            if registered.original is original:
                return name
        raise ValueError(f"{original!r} is not registered; put @app.function() above it")

    def workflow(
        self,
        name: str,
        version: str = "1",
        *,
        inputs: Mapping[str, Any] | type | None = None,
        timeout_s: float | None = None,
    ) -> Workflow:
        """A new workflow of this app; `apex serve` registers it when it starts. See `Workflow`."""
        made = Workflow(name, version, inputs=inputs, timeout_s=timeout_s, app=self)
        self.workflows.append(made)
        return made

    def table(self) -> bytes:
        """The functions' defaults as the compiler reads them: JSON, name to effect, retry, timeout, compensation.

        Raises ValueError where a compensation names no function of this app.
        """
        for function in self.functions.values():
            if function.compensation is not None and function.compensation not in self.functions:
                raise ValueError(
                    f"function {function.name}: its compensation {function.compensation} is not registered"
                )
        return msgspec.json.encode({name: function.table_entry() for name, function in self.functions.items()})

    def definitions(self) -> list[bytes]:
        """The workflows of this app as JSON documents."""
        return [workflow.to_json() for workflow in self.workflows]
