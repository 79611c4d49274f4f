"""Passes asked away from the engine's loop: one thread, one question at a time, each answer kept for a while.

A pass is a function of what it is told, so the answer to a question that was asked before is known.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from apex_fast.core import compile as compile_definition
from apex_fast.domain import Definition
from apex_fast.optimizer.folder import Found, PassFolder
from apex_fast.optimizer.optimize import ROUNDS_MAX, Asked, Step, ask
from apex_fast.optimizer.patch import OptimizedPatch

ANSWERS_KEPT = 512
T = TypeVar("T")


class Asking:
    """The thread of the passes, and what they said."""

    def __init__(self, folder: PassFolder, on_step: Callable[[Step], None]) -> None:
        """``on_step`` is told what each question came to, once, on the loop."""
        self._folder = folder
        self._on_step = on_step
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="optimizer")
        self._known: OrderedDict[tuple[str, str, bytes], Asked] = OrderedDict()

    async def beside(self, work: Callable[..., T], *arguments: object) -> T:
        """Work in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def passes(self) -> list[Found]:
        """The passes as they are now."""
        return await self.beside(self._folder.passes)

    async def compiled(self, canonical: bytes) -> Definition:
        """A definition, compiled. Raises CompileError."""
        return await self.beside(compile_definition, canonical)

    async def ask(self, one: Found, definition: Definition, profile: bytes) -> Asked:
        """Ask a pass once."""
        key = (one.hash, definition.hash, profile)
        known = self._known.get(key)
        if known is None:
            known = await self.beside(ask, one, definition, profile)
            if known.step is not None:
                self._on_step(known.step)
            self._known[key] = known
            if len(self._known) > ANSWERS_KEPT:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known

    async def all_of(self, one: Found, definition: Definition, profile: bytes) -> tuple[list[Step], Definition]:
        """Ask a pass until it finds nothing more, at most 16 times: what it said, and the definition after it."""
        steps: list[Step] = []
        for _ in range(ROUNDS_MAX):
            asked = await self.ask(one, definition, profile)
            if asked.step is not None:
                steps.append(asked.step)
            if asked.after is None:
                break
            definition = asked.after
        return steps, definition

    def close(self) -> None:
        """Ask nothing more. The question that is being asked comes to its end by its own limits."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def patch_in(asked: Asked) -> OptimizedPatch | None:
    """The patch that was proposed and proved, where it changes the definition."""
    if asked.after is None or asked.step is None:
        return None
    outcome = asked.step.outcome
    return outcome if isinstance(outcome, OptimizedPatch) else None
