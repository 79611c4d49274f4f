"""Jobs and results that a test can make and read: the core's own come only out of, and go only into, a machine."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import pytest_asyncio

from apex_fast.authoring import App, Function
from apex_fast.domain import Job
from apex_fast.executors import on_loop
from apex_fast.executors.function import FunctionExecutor, executor, outcome
from apex_fast.executors.http import executor as http_executor
from apex_fast.settings import FunctionSettings
from tests.support.patience import PATIENCE_S

NUMBERS = itertools.count(1)


@dataclass
class FakeJob:
    """The attributes of `_core.Job`."""

    name: str = ""
    input: bytes = b"{}"
    id: int = field(default_factory=lambda: next(NUMBERS))
    run_id: str = "0193-run"
    node: str = "node"
    attempt: int = 1
    kind: str = "function"
    config: bytes = b""
    idempotency_key: str = "0193-run/node"
    timeout_s: float | None = None
    compensation: bool = False
    tenant: str = "default"
    priority: str = "medium"
    max_attempts: int = 3


@dataclass(frozen=True)
class Result:
    """What `_core.JobResult` is made of."""

    job: int
    attempt: int
    status: str
    value: bytes = b""
    type: str = ""
    message: str = ""
    retryable: bool | None = None

    @staticmethod
    def ok(job: int, attempt: int, value: bytes) -> "Result":
        return Result(job, attempt, "ok", value)

    @staticmethod
    def failed(job: int, attempt: int, type: str, message: str, retryable: bool | None = None) -> "Result":
        return Result(job, attempt, "failed", b"", type, message, retryable)

    @staticmethod
    def timed_out(job: int, attempt: int, message: str = "") -> "Result":
        return Result(job, attempt, "timed_out", message=message)

    @staticmethod
    def cancelled(job: int, attempt: int, message: str = "") -> "Result":
        return Result(job, attempt, "cancelled", message=message)


@pytest.fixture(autouse=True)
def results_that_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (executor, outcome, on_loop, http_executor):
        monkeypatch.setattr(module, "JobResult", Result)


async def until(is_so: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Wait for what no event tells of: something that happens in another thread."""
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Desk:
    """Takes results, as the engine does; fails the test where a job is answered twice."""

    def __init__(self) -> None:
        self.results: dict[int, Result] = {}
        self.batches: list[int] = []
        self._waiting: list[tuple[set[int], asyncio.Future[None]]] = []

    def deliver(self, results: Sequence[object]) -> None:
        self.batches.append(len(results))
        for result in cast("Sequence[Result]", results):
            assert result.job not in self.results, f"job {result.job} was answered twice"
            self.results[result.job] = result
        for wanted, future in self._waiting:
            if wanted <= self.results.keys() and not future.done():
                future.set_result(None)

    async def all_of(self, jobs: Sequence[FakeJob], timeout_s: float = PATIENCE_S) -> list[Result]:
        wanted = {job.id for job in jobs}
        future = asyncio.get_running_loop().create_future()
        if wanted <= self.results.keys():
            future.set_result(None)
        self._waiting.append((wanted, future))
        await asyncio.wait_for(future, timeout_s)
        return [self.results[job.id] for job in jobs]


class FunctionDesk(Desk):
    """A function executor with its desk."""

    def __init__(self, functions: Mapping[str, Function], settings: FunctionSettings) -> None:
        super().__init__()
        self.executor = FunctionExecutor(functions, self.deliver, settings)

    def start(self, *jobs: FakeJob) -> None:
        self.executor.start(cast("Sequence[Job]", jobs))

    async def run(self, *jobs: FakeJob, timeout_s: float = PATIENCE_S) -> list[Result]:
        self.start(*jobs)
        return await self.all_of(jobs, timeout_s)


@pytest.fixture
def app() -> App:
    return App()


Open = Callable[..., FunctionDesk]


@pytest_asyncio.fixture
async def open_desk(app: App) -> AsyncIterator[Open]:
    desks: list[FunctionDesk] = []

    def make(**settings: Any) -> FunctionDesk:
        desk = FunctionDesk(app.functions, FunctionSettings(**settings))
        desks.append(desk)
        return desk

    yield make
    for desk in desks:
        await desk.executor.close(0)
