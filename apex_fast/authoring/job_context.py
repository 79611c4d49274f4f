"""What a running function may know about its job."""

from contextvars import ContextVar
from typing import Any, Final, Protocol, cast

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
    @property
    def progress(self) -> bytes: ...


class Running(Protocol):
    """A job in the hands of an executor."""

    @property
    def job(self) -> RunningJob: ...
    @property
    def is_cancelled(self) -> bool: ...
    def beat(self, progress: bytes) -> None: ...


PROGRESS_BYTES_MAX: Final = 64 * 1024


class InvalidProgress(ValueError):
    """What a heartbeat says is no JSON, or too long; trying again does not help."""

    retryable = False


class JobCancelled(Exception):
    """The end of the job was asked for: nobody waits for its result any more. Let it pass."""

    retryable = False


class JobContext:
    """The job that the calling function runs for."""

    __slots__ = ("_job", "_running")

    def __init__(self, running: Running) -> None:
        self._running = running
        self._job = running.job

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
    def is_cancelled(self) -> bool:
        """True once the end of the job was asked for: its run was cancelled, or its time is over. An async function is
        cancelled besides, a plain one has to look."""
        return self._running.is_cancelled

    @property
    def progress(self) -> Any:
        """What the last heartbeat said, of this attempt when it began: of an attempt before it. None: nothing."""
        return msgspec.json.decode(self._job.progress) if self._job.progress else None

    def heartbeat(self, progress: object = None) -> None:
        """Say that the job goes on, and how far it is: the next attempt gets ``progress`` back. May be called as
        often as one likes, from any thread; at most one a second is recorded, the newest wins, and each moves the
        deadline of ``heartbeat_timeout_s``. None: no news of the progress. Raises JobCancelled where the end of the job
        was asked for, InvalidProgress where ``progress`` is no JSON or has more than 64 KiB.
        """
        if self._running.is_cancelled:
            raise JobCancelled("the end of the job was asked for")
        try:
            said = b"" if progress is None else msgspec.json.encode(progress)
        except (TypeError, msgspec.MsgspecError, RecursionError) as error:
            raise InvalidProgress(f"the progress of a heartbeat is JSON: {error}") from None
        if len(said) > PROGRESS_BYTES_MAX:
            raise InvalidProgress(f"the progress has {len(said)} bytes of JSON; at most {PROGRESS_BYTES_MAX}")
        self._running.beat(said)

    @property
    def config(self) -> dict[str, object]:
        """`config.config` of the node; empty where it states none."""
        return cast("dict[str, object]", msgspec.json.decode(self._job.config)) if self._job.config else {}

    def __repr__(self) -> str:
        return f"JobContext(run_id={self.run_id!r}, node={self.node!r}, attempt={self.attempt})"


# Set by the executor round each call; a task or thread started by the function inherits it as any context variable.
running_job: ContextVar[Running] = ContextVar("apex_fast_running_job")


def current_job() -> JobContext:
    """The job that the calling function runs for. Raises RuntimeError outside of a function run by the gateway."""
    try:
        return JobContext(running_job.get())
    except LookupError:
        raise RuntimeError("current_job() is for functions that the gateway runs; there is no job here") from None
