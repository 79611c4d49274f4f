"""Asks a model for `agent` nodes.

    executor   promises of the port: takes jobs, answers each once, on a loop in a thread of its own
    question   what a node asks, and what of the answer is its output
    patching   what a node that may patch its run is told, and what of the answer is the patch

Knows no provider: the model is a port.
"""

from apex_fast.executors.agent.executor import AgentExecutor
from apex_fast.executors.agent.patching import PatchTerms

__all__ = ["AgentExecutor", "PatchTerms"]
