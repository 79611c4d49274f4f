"""A durable gateway for AI workflows.

    App, Retry, Breaker, current_job   write functions and workflows
    run                       run a workflow in this process, durably
    Client                    start and follow runs from another program

Each room says in its docstring what it holds; `docs/ARCHITECTURE.md` is the plan of the house.
"""

from typing import TYPE_CHECKING

from apex_fast.authoring import App, Breaker, Retry, Workflow, current_job

if TYPE_CHECKING:
    from apex_fast.app import run
    from apex_fast.client import Client

__all__ = ["App", "Breaker", "Client", "Retry", "Workflow", "current_job", "run"]


def __getattr__(name: str) -> object:
    # The client brings grpc along, which starts threads and takes 0.1 s to import: only who asks for it pays.
    if name == "Client":
        from apex_fast.client import Client

        return Client
    if name == "run":
        from apex_fast.app import run

        return run
    raise AttributeError(f"module 'apex_fast' has no attribute {name!r}")
