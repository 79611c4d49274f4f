"""The optimizer: passes in WASM that propose patches which keep what a definition means.

Passes are strangers' code: they run with nothing but memory, under limits, and what they say is checked. `guest` runs
one, `folder` finds them and notices new ones, `optimize` asks them until they find nothing more.

`Optimizer` does so beside a running gateway: for versions that are registered (`suggestions`) and, with what runs
took (`seen`, `profile`, `savings`), for runs that are under way (`patching`). What it wants done it asks for as
everybody else does, by a command to the engine (`runs`). It knows no executor, no request and no file but those of the
passes.
"""

from apex_fast.optimizer.folder import SHIPPED, Found, PassFolder
from apex_fast.optimizer.guest import Answer, Guest, Limits, Refusal
from apex_fast.optimizer.optimize import Optimized, Step, optimize
from apex_fast.optimizer.optimizer import Optimizer
from apex_fast.optimizer.patch import Expected, Finding, OptimizedPatch

__all__ = [
    "SHIPPED",
    "Answer",
    "Expected",
    "Finding",
    "Found",
    "Guest",
    "Limits",
    "Optimized",
    "OptimizedPatch",
    "Optimizer",
    "PassFolder",
    "Refusal",
    "Step",
    "optimize",
]
