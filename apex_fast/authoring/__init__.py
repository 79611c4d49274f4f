"""What a user writes: functions with their policies, and workflows, in Python.

In: callables and builder calls. Out: the function table for the compiler, workflow documents (JSON), and for the
executor a `Function` that checks arguments, calls, and encodes the result. Never runs anything itself and never
reads a setting.
"""

from apex_fast.authoring.app import App
from apex_fast.authoring.breaker import Breaker
from apex_fast.authoring.function import Function, InvalidArguments, InvalidResult
from apex_fast.authoring.job_context import JobCancelled, JobContext, current_job
from apex_fast.authoring.reference import Reference
from apex_fast.authoring.retry import Retry
from apex_fast.authoring.workflow import Edge, Graph, LoopNode, MapNode, Node, Workflow

__all__ = [
    "App",
    "Breaker",
    "Edge",
    "Function",
    "Graph",
    "InvalidArguments",
    "InvalidResult",
    "JobCancelled",
    "JobContext",
    "LoopNode",
    "MapNode",
    "Node",
    "Reference",
    "Retry",
    "Workflow",
    "current_job",
]
