"""The port for questions to a model: each job answered once, in a bounded time."""

import asyncio
import logging
from typing import Final

import msgspec

from apex_fast.domain import JobResult
from apex_fast.executors.agent.patching import PatchTerms, told
from apex_fast.executors.agent.question import OutputInvalid, Question
from apex_fast.executors.assignment import Assignment
from apex_fast.executors.on_loop import LoopExecutor
from apex_fast.ports.executor import Deliver
from apex_fast.ports.model import Model, ModelError, ModelFault

log = logging.getLogger(__name__)

_TYPES: Final[dict[ModelFault, str]] = {
    "RATE_LIMITED": "ModelRateLimited",
    "TIMEOUT": "Timeout",
    "UNAVAILABLE": "ModelUnavailable",
    "REFUSED": "ModelRefused",
    "BAD_ANSWER": "OutputInvalid",
}
_QUESTION = msgspec.json.Decoder(Question)


class AgentExecutor(LoopExecutor[Model | None]):
    """Asks for `agent` nodes. Made on the engine's loop; see `ports/executor.py` for the promises.

    ``model``: None where none is switched on; then every node fails and says so. ``terms``: of nodes that may patch.
    """

    kind = "agent"

    def __init__(self, deliver: Deliver, model: Model | None, in_flight_max: int, terms: PatchTerms) -> None:
        super().__init__(deliver, in_flight_max)
        self._model = model
        self._terms = terms

    def _open(self) -> Model | None:
        return self._model

    async def _attempt(self, assignment: Assignment, shared: Model | None) -> JobResult:
        job, attempt = assignment.job, assignment.attempt

        def failed(kind: str, message: str, retryable: bool) -> JobResult:
            return JobResult.failed(assignment.id, attempt, kind, message, retryable)

        if shared is None:
            return failed("ModelNotConfigured", "no model is switched on: planner.model is empty", retryable=False)
        try:
            question, patching = _QUESTION.decode(job.input), job.patching
            shown = told(job.node, *patching, self._terms) if patching else ""
            async with asyncio.timeout(job.timeout_s):
                answer = await shared.answer(question.request(shown))
            if patching is None:
                return JobResult.ok(assignment.id, attempt, question.output(answer, shared.name))
            output, patch = question.parts(answer, shared.name)
            if patch is None:
                return JobResult.ok(assignment.id, attempt, output)
            operations, epoch = bytes(patch.operations), patching[1]
            return JobResult.patched(assignment.id, attempt, output, operations, patch.reason, epoch, self._terms.rules)
        except OutputInvalid as error:
            return failed("OutputInvalid", str(error), retryable=True)
        except ModelError as error:
            if error.fault == "TIMEOUT":
                return JobResult.timed_out(assignment.id, attempt, error.message)
            return failed(_TYPES[error.fault], error.message, error.retryable)
        except TimeoutError:
            return JobResult.timed_out(assignment.id, attempt, f"no answer within {job.timeout_s:g} s")
        except asyncio.CancelledError:
            return JobResult.cancelled(assignment.id, attempt, "cancelled")
        except Exception as error:
            log.exception("agent node %s failed in a way that it should not", job.node)
            return failed(type(error).__name__, "see the log of the gateway", retryable=False)
