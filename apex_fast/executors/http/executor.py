"""The port for requests: each job answered once, in a bounded time."""

import asyncio
import logging

from aiohttp.abc import AbstractResolver

from apex_fast.domain import JobResult
from apex_fast.executors.assignment import Assignment
from apex_fast.executors.http.exchange import Exchange, within
from apex_fast.executors.http.failure import HttpFailure, StatusFailure
from apex_fast.executors.http.guard import Guard
from apex_fast.executors.http.request import Secrets, read_request
from apex_fast.executors.on_loop import LoopExecutor
from apex_fast.ports.executor import Deliver
from apex_fast.settings import HttpSettings

log = logging.getLogger(__name__)


class HttpExecutor(LoopExecutor[Exchange]):
    """Makes the requests of `http` nodes. Made on the engine's loop; see `ports/executor.py` for the promises.

    ``secrets``: (tenant, name) to the secret of a header. ``resolver``: who turns names into addresses, aiohttp's
    default where None. Raises ValueError where `http.allow_hosts` cannot be read.
    """

    kind = "http"

    def __init__(
        self,
        deliver: Deliver,
        settings: HttpSettings,
        secrets: Secrets,
        resolver: AbstractResolver | None = None,
    ) -> None:
        super().__init__(deliver, settings.in_flight_max)
        self._settings = settings
        self._secrets = secrets
        self._resolver = resolver
        self._guard = Guard(settings.allow_hosts)

    def _open(self) -> Exchange:
        return Exchange(self._settings, self._guard, self._resolver)

    async def _shut(self, shared: Exchange) -> None:
        await shared.close()

    async def _attempt(self, assignment: Assignment, shared: Exchange) -> JobResult:
        job, attempt = assignment.job, assignment.attempt
        seconds = job.timeout_s or self._settings.timeout_s
        try:
            request = read_request(job.input, job.tenant, job.idempotency_key, self._secrets)
            return JobResult.ok(assignment.id, attempt, await within(seconds, shared, request))
        except TimeoutError:
            return JobResult.timed_out(assignment.id, attempt, f"no complete answer within {seconds:g} s")
        except asyncio.CancelledError:
            return JobResult.cancelled(assignment.id, attempt, "cancelled")
        except StatusFailure as failure:
            return JobResult.failed(assignment.id, attempt, failure.type, str(failure), failure.retry_helps)
        except HttpFailure as failure:
            return JobResult.failed(assignment.id, attempt, failure.type, str(failure), failure.retryable)
        except Exception as error:
            log.exception("http node %s failed in a way that it should not", job.node)
            return JobResult.failed(assignment.id, attempt, type(error).__name__, "see the log of the gateway")
