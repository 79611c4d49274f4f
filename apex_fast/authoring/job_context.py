"""What a running function may know about its job."""

from contextvars import ContextVar
from typing import Protocol, cast

import msgspec


class RunningJob(Protocol):
    """What the executor hands over: the core's `Job`."""

    @property
    def run_id(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def compensation(self) -> bool: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def config(self) -> bytes: ...


class JobContext:
    """The job that the calling function runs for. Read only."""

    __slots__ = ("_job",)

    def __init__(self, job: RunningJob) -> None:
        self._job = job

    @property
    def run_id(self) -> str:
        """The run."""
        return self._job.run_id

    @property
    def node(self) -> str:
        """Instance path of the node, such as `m[3].fetch`."""
        return self._job.node

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return self._job.attempt

    @property
    def max_attempts(self) -> int:
        """How many there may be."""
        return self._job.max_attempts

    @property
    def function(self) -> str:
        """The name of the function."""
        return self._job.name

    @property
    def tenant(self) -> str:
        """Whose run it is."""
        return self._job.tenant

    @property
    def compensation(self) -> bool:
        """True when the function is called to undo a node."""
        return self._job.compensation

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of the job; hand it to whatever must happen once."""
        return self._job.idempotency_key

    @property
    def config(self) -> dict[str, object]:
        """`config.config` of the node; empty where it states none."""
        return cast("dict[str, object]", msgspec.json.decode(self._job.config)) if self._job.config else {}

    def __repr__(self) -> str:
        return f"JobContext(run_id={self.run_id!r}, node={self.node!r}, attempt={self.attempt})"


# Set by the executor round each call; a task or thread started by the function inherits it as any context variable.
running_job: ContextVar[RunningJob] = ContextVar("apex_fast_running_job")


def current_job() -> JobContext:
    """The job that the calling function runs for. Raises RuntimeError outside of a function run by the gateway."""
    try:
        return JobContext(running_job.get())
    except LookupError:
        raise RuntimeError("current_job() is for functions that the gateway runs; there is no job here") from None
