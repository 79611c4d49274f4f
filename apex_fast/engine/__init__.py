"""The shell round the machine: one inbox, one loop, and what follows from a durable turn.

    inbox → step → append → (durable) → advance → jobs, cancels, replies
                                      └→ feed → whoever watches

Knows ports and the domain; never names an adapter, an executor or a wire format. Runs on one event loop.
"""

from apex_fast.engine.feed import Feed
from apex_fast.engine.partition import Engine, EngineLimits

__all__ = ["Engine", "EngineLimits", "Feed"]
