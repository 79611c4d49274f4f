"""The optimizer: passes in WASM that propose patches which keep what a definition means.

Passes are strangers' code: they run with nothing but memory, under limits, and what they say is checked. `guest` runs
one, `folder` finds them and notices new ones, `optimize` asks them until they find nothing more. Nothing here changes
a run or a registered workflow.
"""

from apex_fast.optimizer.folder import SHIPPED, Found, PassFolder
from apex_fast.optimizer.guest import Answer, Guest, Limits, Refusal
from apex_fast.optimizer.optimize import Optimized, Step, optimize
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
    "PassFolder",
    "Refusal",
    "Step",
    "optimize",
]
