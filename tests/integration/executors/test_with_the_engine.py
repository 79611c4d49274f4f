"""Real jobs of a real machine, done by the executors, with what the history says of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from apex_fast import App, Retry, Workflow, current_job
from apex_fast.adapters.clock import SystemClock
from apex_fast.adapters.memory.event_log import MemoryEventLog
from apex_fast.core import compile
from apex_fast.domain import Machine, RegisterWorkflow, StartRun
from apex_fast.engine import Engine
from apex_fast.executors.function import FunctionExecutor
from apex_fast.executors.http import HttpExecutor
from apex_fast.ports.executor import Executor
from apex_fast.settings import FunctionSettings, HttpSettings
from tests.support.patience import PATIENCE_S

TENANT = "default"


class House:
    """An engine in memory with both executors."""

    def __init__(self, app: App) -> None:
        self.app = app
        log = MemoryEventLog()
        self.engine = Engine(Machine(4, log.term), log, SystemClock())
        functions = FunctionSettings(stall_timeout_s=1.0, cancel_grace_s=0.2, threads=4)
        http = HttpSettings(allow_hosts=("127.0.0.1",))
        self.executors: dict[str, Executor] = {
            "function": FunctionExecutor(app.functions, self.engine.deliver, functions),
            "http": HttpExecutor(self.engine.deliver, http, lambda _, name: f"secret of {name}"),
        }
        self.engine.start(self.executors)

    async def register(self, workflow: Workflow) -> None:
        compiled = compile(workflow.to_json(), self.app.table())
        reply = await self.engine.call(RegisterWorkflow(TENANT, compiled.canonical))
        assert reply.code == "", reply.message

    async def run(self, name: str, inputs: object = None) -> "Story":
        reply = await self.engine.call(StartRun(TENANT, name, inputs=msgspec.json.encode(inputs or {})))
        assert reply.code == "", reply.message
        view = await self.engine.read_run(TENANT, reply.run_id)
        if view is not None and view.ended_ns is None:
            ended = asyncio.Event()
            self.engine.when_ended(reply.run_id, ended.set)
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
        events = await self.engine.read_timeline(TENANT, reply.run_id, 0, 1_000)
        assert events is not None
        return Story([(event.type, msgspec.json.decode(event.json())) for event in events])


class Story:
    """The events of a run."""

    def __init__(self, events: list[tuple[str, Any]]) -> None:
        self.events = events

    @property
    def end(self) -> str:
        return self.events[-1][0]

    def of(self, kind: str) -> list[Any]:
        return [event.get("payload", event) for name, event in self.events if name == kind]

    @property
    def output(self) -> Any:
        assert self.end == "WorkflowCompleted", self.events[-1]
        return self.of("WorkflowCompleted")[0]["output"]

    @property
    def error(self) -> Any:
        assert self.end == "WorkflowFailed", self.events[-1]
        return self.of("WorkflowFailed")[0]["error"]


@pytest.fixture
def app() -> App:
    return App()


@pytest_asyncio.fixture
async def house(app: App) -> AsyncIterator[House]:
    made = House(app)
    yield made
    for executor in made.executors.values():
        await executor.close(0)
    await made.engine.drain()


async def test_values_go_from_node_to_node(app: App, house: House) -> None:
    @app.function(effect="pure")
    async def split(text: str) -> list[str]:
        return text.split()

    @app.function(effect="pure")
    def shout(word: str, at: int) -> dict[str, object]:
        return {"word": word.upper(), "at": at}

    wf = app.workflow("words")
    words = wf.function("split", split, input={"text": wf.inputs.text})
    each = wf.map("each", words.output)
    each.body.function("shout", shout, input={"word": each.item, "at": each.index})
    each.body.output("${nodes.shout.output}")
    wf.output({"words": each.output})
    await house.register(wf)
    story = await house.run("words", {"text": "a ${b} ü"})
    assert story.output == {"words": [{"word": "A", "at": 0}, {"word": "${B}", "at": 1}, {"word": "Ü", "at": 2}]}


async def test_retries_and_the_key_that_stays(app: App, house: House) -> None:
    seen: list[tuple[int, str]] = []

    @app.function(retry=Retry(max_attempts=3, initial_s=0.01))
    async def flaky() -> int:
        job = current_job()
        seen.append((job.attempt, job.idempotency_key))
        if job.attempt < 3:
            raise ConnectionError("not yet")
        return job.attempt

    wf = app.workflow("flaky")
    wf.output({"n": wf.function("flaky", flaky).output})
    await house.register(wf)
    assert (await house.run("flaky")).output == {"n": 3}
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1


async def test_a_failure_undoes_what_was_done(app: App, house: House) -> None:
    undone: list[Any] = []

    @app.function()
    def undo(input: Any, output: Any) -> None:
        assert current_job().compensation
        undone.append((input, output))

    @app.function(compensation=undo)
    async def book(n: int) -> dict[str, int]:
        return {"booked": n}

    @app.function(retry=Retry(max_attempts=5, initial_s=0.01, non_retryable=[KeyError]))
    async def breaks() -> None:
        raise KeyError("gone")

    wf = app.workflow("saga")
    first = wf.function("first", book, input={"n": 1})
    second = wf.function("second", book, input={"n": 2}, after=first)
    wf.function("third", breaks, after=second)
    await house.register(wf)
    story = await house.run("saga")
    assert (story.error["type"], story.error["node"]) == ("KeyError", "third")
    assert undone == [({"n": 2}, {"booked": 2}), ({"n": 1}, {"booked": 1})]
    assert len(story.of("ToolResultReceived")) == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [("raises", "ValueError"), ("exits", "SystemExit"), ("busy", "FunctionStalled"), ("never", "Timeout"),
     ("never_plain", "Timeout"), ("not_json", "InvalidResult"), ("typed", "InvalidArguments")],
)  # fmt: skip
async def test_bad_functions_fail_their_run_and_the_house_goes_on(app: App, house: House, name: str, kind: str) -> None:
    gate = threading.Event()

    @app.function()
    async def raises() -> None:
        raise ValueError("why")

    @app.function()
    def exits() -> None:
        raise SystemExit

    @app.function()
    async def busy() -> None:
        while not gate.is_set():
            pass

    @app.function(timeout_s=0.2)
    async def never() -> None:
        await asyncio.Event().wait()

    @app.function(timeout_s=0.2)
    def never_plain() -> None:
        gate.wait()

    @app.function()
    async def not_json() -> object:
        return object()

    @app.function()
    async def typed(n: int) -> int:
        return n

    @app.function()
    async def fine() -> int:
        return 1

    for function in (name, "fine"):
        wf = app.workflow(f"w-{function}")
        wf.function("node", function, input={})
        await house.register(wf)
    story = await house.run(f"w-{name}")
    assert (story.error["type"], story.error["node"]) == (kind, "node")
    assert (await house.run("w-fine")).output == {"node": 1}
    gate.set()


async def test_http_nodes(app: App, house: House) -> None:
    asked: list[tuple[str, str | None, str | None, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        key, auth = request.headers.get("Idempotency-Key"), request.headers.get("Authorization")
        asked.append((request.path_qs, key, auth, await request.json()))
        if len(asked) == 1:
            return web.Response(status=503)
        return web.json_response({"id": 7})

    server = web.Application()
    server.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    wf = app.workflow("http")
    call = wf.http(
        "call",
        "POST",
        f"http://127.0.0.1:{port}/orders/{wf.inputs.id}",
        headers={"Authorization": {"secret": "orders"}},
        body={"note": wf.inputs.note},
        retry=Retry(max_attempts=3, initial_s=0.01),
    )
    wf.output({"id": call.output.body.id, "status": call.output.status})
    await house.register(wf)
    story = await house.run("http", {"id": "a/../b?c", "note": "x\r\ny"})
    assert story.output == {"id": 7, "status": 200}
    assert [path for path, *_ in asked] == ["/orders/a%2F..%2Fb%3Fc"] * 2
    assert asked[0][1:] == asked[1][1:]
    assert asked[1][2] == "secret of orders"
    assert asked[1][3] == {"note": "x\r\ny"}
    assert "secret of orders" not in str(story.events)
    await runner.cleanup()

    wf = app.workflow("blocked")
    wf.http("call", "GET", "http://169.254.169.254/latest/meta-data/", retry=Retry(max_attempts=3, initial_s=0.01))
    await house.register(wf)
    story = await house.run("blocked")
    assert story.error["type"] == "BlockedAddress"
    assert len(story.of("ToolResultReceived")) == 1


async def test_many_runs_of_both_kinds(app: App, house: House) -> None:
    @app.function(effect="pure")
    async def add(n: int) -> int:
        if n % 3 == 0:
            await asyncio.sleep(0)
        return n + 1

    @app.function(effect="pure")
    def double(n: int) -> int:
        return n * 2

    wf = app.workflow("sum")
    first = wf.function("add", add, input={"n": wf.inputs.n})
    second = wf.function("double", double, input={"n": first.output})
    wf.output({"n": second.output})
    await house.register(wf)
    stories = await asyncio.gather(*(house.run("sum", {"n": n}) for n in range(500)))
    assert [story.output for story in stories] == [{"n": (n + 1) * 2} for n in range(500)]
