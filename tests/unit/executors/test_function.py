"""The promises of `ports/executor.py`, kept by the function executor whatever a function does."""

import asyncio
import logging
import os
import random
import threading
import time
from contextvars import ContextVar

import pytest

from apex_fast.authoring import App, current_job
from apex_fast.settings import FunctionSettings
from tests.support.patience import PATIENCE_S

from .conftest import FakeJob, FunctionDesk, Open, until


async def test_async_and_plain_functions_return_their_result(app: App, open_desk: Open) -> None:
    @app.function()
    async def quick(a: int, b: str = "x") -> str:
        return b * a

    @app.function()
    async def waits(a: int) -> int:
        await asyncio.sleep(0.001)
        return a

    @app.function()
    def plain(a: int) -> list[int]:
        return [a, a]

    desk = open_desk()
    jobs = [
        FakeJob("quick", b'{"a":2}'),
        FakeJob("waits", b'{"a":3}'),
        FakeJob("plain", b'{"a":4}'),
        FakeJob("quick", b'{"a":1,"b":"y"}', attempt=2),
    ]
    results = await desk.run(*jobs)
    assert [result.value for result in results] == [b'"xx"', b"3", b"[4,4]", b'"y"']
    assert [result.attempt for result in results] == [1, 1, 1, 2]


async def test_functions_never_run_on_the_engines_thread(app: App, open_desk: Open) -> None:
    threads: set[int] = set()

    @app.function()
    async def one() -> None:
        threads.add(threading.get_ident())

    @app.function()
    def two() -> None:
        threads.add(threading.get_ident())

    await open_desk().run(FakeJob("one"), FakeJob("two"))
    assert threading.get_ident() not in threads
    assert len(threads) == 2


async def test_results_come_in_batches(app: App, open_desk: Open) -> None:
    @app.function()
    async def noop() -> None: ...

    desk = open_desk()
    await desk.run(*[FakeJob("noop") for _ in range(5_000)])
    assert len(desk.batches) < 500


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"), KeyError("k"), SystemExit(3), KeyboardInterrupt(), MemoryError(), BaseException("base"),
        RecursionError(), StopIteration(), GeneratorExit(), asyncio.CancelledError("mine"), TimeoutError("late"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_what_a_function_raises_fails_its_attempt_and_nothing_else(
    app: App, open_desk: Open, kind: str, error: BaseException
) -> None:
    @app.function()
    async def raises() -> None:
        raise error

    @app.function()
    def raises_plainly() -> None:
        raise error

    @app.function()
    async def fine() -> int:
        return 1

    @app.function()
    def fine_plainly() -> int:
        return 1

    desk = open_desk()
    name, other = ("raises", "fine") if kind == "async" else ("raises_plainly", "fine_plainly")
    first, second = await desk.run(FakeJob(name), FakeJob(other))
    # PEP 479: a coroutine turns StopIteration into RuntimeError.
    named = "RuntimeError" if kind == "async" and isinstance(error, StopIteration) else type(error).__name__
    assert (first.status, first.type) == ("failed", named)
    assert first.retryable is None
    assert second.value == b"1"
    [again] = await desk.run(FakeJob(other))
    assert again.value == b"1"


class Hostile(Exception):
    @property
    def retryable(self) -> bool:
        raise SystemExit(1)

    def __str__(self) -> str:
        raise KeyboardInterrupt


Hostile.__name__ = "x" * 1_000


@pytest.mark.parametrize("plain", [False, True])
async def test_an_exception_that_raises_when_it_is_looked_at(app: App, open_desk: Open, plain: bool) -> None:
    @app.function()
    async def raises() -> None:
        raise Hostile

    @app.function()
    def raises_plainly() -> None:
        raise Hostile

    [result] = await open_desk().run(FakeJob("raises_plainly" if plain else "raises"))
    assert (result.status, result.type, result.retryable) == ("failed", "x" * 128, None)
    assert "KeyboardInterrupt" in result.message


async def test_an_exception_may_say_that_a_retry_does_not_help(app: App, open_desk: Open) -> None:
    class Final(Exception):
        retryable = False

    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @app.function()
    async def final() -> None:
        raise Final("\ud800" + "x" * 10_000)

    @app.function()
    async def hostile() -> None:
        raise Hostile

    first, second = await open_desk().run(FakeJob("final"), FakeJob("hostile"))
    assert first.retryable is False
    assert len(first.message.encode()) <= 4_096
    assert "RuntimeError" in second.message


async def test_the_traceback_is_logged_and_not_in_the_result(
    app: App, open_desk: Open, caplog: pytest.LogCaptureFixture
) -> None:
    @app.function()
    async def raises() -> None:
        raise ValueError("the reason")

    with caplog.at_level(logging.WARNING):
        [result] = await open_desk().run(FakeJob("raises"))
    assert result.message == "the reason"
    assert "Traceback" in caplog.text
    assert "in raises" in caplog.text


@pytest.mark.parametrize("plain", [False, True])
async def test_bad_arguments_and_results_are_named(app: App, open_desk: Open, plain: bool) -> None:
    async def typed(order: dict[str, int], count: int = 1) -> int:
        return count + len(order)

    def typed_plain(order: dict[str, int], count: int = 1) -> int:
        return count + len(order)

    def what() -> object:
        return {
            "nan": float("nan"), "object": object(), "big": 2**63, "surrogate": "\ud800", "large": "x" * 5_000_000,
        }[current_job().node]  # fmt: skip

    async def what_async() -> object:
        return what()

    app.add(typed_plain if plain else typed, "typed")
    app.add(what if plain else what_async, "what")
    desk = open_desk()
    for text, says in [
        (b'{"order":{"a":"x"}}', "`order[...]`"),
        (b'{"count":1}', "missing argument `order`"),
        (b'{"order":{},"more":1}', "unknown argument `more`"),
        (b"[]", "object"),
    ]:
        [result] = await desk.run(FakeJob("typed", text))
        assert (result.type, result.retryable) == ("InvalidArguments", False), text
        assert says in result.message
    for node in ["nan", "object", "big", "surrogate", "large"]:
        [result] = await desk.run(FakeJob("what", node=node))
        assert (result.type, result.retryable) == ("InvalidResult", False), node
        assert result.message


async def test_an_unknown_function_is_answered(app: App, open_desk: Open) -> None:
    app.add(lambda: None, "known")
    [result] = await open_desk().run(FakeJob("unknown"))
    assert (result.type, result.retryable) == ("UnknownFunction", False)
    assert "known" in result.message


async def test_current_job_is_the_functions_own(app: App, open_desk: Open) -> None:
    seen: ContextVar[str] = ContextVar("seen", default="nothing")

    @app.function()
    async def quick() -> list[str]:
        found = [current_job().node, seen.get()]
        seen.set(current_job().node)
        return found

    @app.function()
    async def waits() -> list[str]:
        before = seen.get()
        seen.set(current_job().node)
        await asyncio.sleep(random.random() / 100)
        return [current_job().node, before]

    @app.function()
    def plain() -> list[str]:
        found = [current_job().node, seen.get()]
        seen.set(current_job().node)
        return found

    @app.function()
    async def child() -> list[str]:
        return [await asyncio.create_task(coroutine()), seen.get()]

    async def coroutine() -> str:
        await asyncio.sleep(0)
        return current_job().node

    jobs = [FakeJob(("quick", "waits", "plain", "child")[n % 4], node=f"n{n}") for n in range(400)]
    results = await open_desk().run(*jobs)
    assert [result.value for result in results] == [f'["{job.node}","nothing"]'.encode() for job in jobs]
    with pytest.raises(RuntimeError, match="no job here"):
        current_job()


async def test_a_job_that_waits_has_a_task_of_its_own(app: App, open_desk: Open) -> None:
    @app.function()
    async def bounded(seconds: float, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await asyncio.sleep(seconds)
        except TimeoutError:
            return False
        return True

    given = [b'{"seconds":60,"within_s":0.02}', b'{"seconds":0,"within_s":60}', b'{"seconds":0,"within_s":60}']
    jobs = [FakeJob("bounded", given[n % 3]) for n in range(300)]
    results = await open_desk().run(*jobs)
    assert [result.value for result in results] == [b"true" if n % 3 else b"false" for n in range(300)]


async def test_async_jobs_in_flight_are_bounded(app: App, open_desk: Open) -> None:
    now = most = 0

    @app.function()
    async def waits() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    await open_desk(async_in_flight_max=7).run(*[FakeJob("waits") for _ in range(100)])
    assert 2 <= most <= 7


async def test_threads_are_bounded_and_all_used(app: App, open_desk: Open) -> None:
    together = threading.Barrier(4)

    @app.function()
    def meets() -> str:
        together.wait(PATIENCE_S)
        return threading.current_thread().name

    results = await open_desk(threads=4).run(*[FakeJob("meets") for _ in range(12)])
    assert len({result.value for result in results}) == 4


async def test_a_quick_function_that_turns_slow_does_not_hold_up_the_rest(app: App, open_desk: Open) -> None:
    gate = threading.Event()

    @app.function()
    def task(slow: bool) -> None:
        if slow:
            gate.wait(PATIENCE_S)

    desk = open_desk(threads=2)
    await desk.run(*[FakeJob("task", b'{"slow":false}') for _ in range(200)])
    slow = FakeJob("task", b'{"slow":true}')
    quick = [FakeJob("task", b'{"slow":false}') for _ in range(20)]
    desk.start(slow, *quick)
    await desk.all_of(quick)
    gate.set()
    await desk.all_of([slow])


async def test_a_small_tenant_goes_between(app: App, open_desk: Open) -> None:
    order: list[str] = []

    @app.function()
    async def waits() -> None:
        order.append(current_job().tenant)
        await asyncio.sleep(0)

    big = [FakeJob("waits", tenant="big") for _ in range(1_000)]
    small = [FakeJob("waits", tenant="small") for _ in range(10)]
    await open_desk(async_in_flight_max=4).run(*big, *small)
    assert max(at for at, tenant in enumerate(order) if tenant == "small") < 150


async def test_cancel_reaches_a_waiting_coroutine(app: App, open_desk: Open) -> None:
    cleaned: list[str] = []
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    @app.function()
    async def waits() -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(current_job().node)

    desk = open_desk()
    job = FakeJob("waits", node="n")
    desk.start(job)
    await begun.wait()
    desk.executor.cancel([job.id, 999_999_999])
    [result] = await desk.all_of([job])
    assert result.status == "cancelled"
    assert cleaned == ["n"]


async def test_cancel_of_what_waits_in_the_queue(app: App, open_desk: Open) -> None:
    ran: list[str] = []
    gate = threading.Event()

    @app.function()
    async def waits() -> None:
        ran.append(current_job().node)
        while not gate.is_set():  # noqa: ASYNC110 (it is set in another thread)
            await asyncio.sleep(0.002)

    @app.function()
    def sleeps() -> None:
        ran.append(current_job().node)
        gate.wait(PATIENCE_S)

    desk = open_desk(async_in_flight_max=1, threads=1)
    jobs = [FakeJob(name, node=f"{name}{n}") for name in ("waits", "sleeps") for n in range(3)]
    desk.start(*jobs)
    desk.executor.cancel([jobs[2].id, jobs[5].id])
    await desk.all_of([jobs[2], jobs[5]])
    gate.set()
    results = await desk.all_of(jobs)
    assert [result.status for result in results] == ["ok", "ok", "cancelled"] * 2
    assert sorted(ran) == ["sleeps0", "sleeps1", "waits0", "waits1"]


async def test_a_coroutine_that_refuses_to_be_cancelled_is_answered_for(app: App, open_desk: Open) -> None:
    gate = threading.Event()

    @app.function()
    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    @app.function()
    async def fine() -> int:
        return 1

    desk = open_desk(cancel_grace_s=0.1)
    job = FakeJob("stubborn")
    desk.start(job)
    await desk.run(FakeJob("fine"))
    desk.executor.cancel([job.id])
    [result] = await desk.all_of([job])
    assert result.status == "cancelled"
    gate.set()
    assert (await desk.run(FakeJob("fine")))[0].value == b"1"


async def test_stubborn_coroutines_do_not_fill_the_house(app: App, open_desk: Open) -> None:
    gate = threading.Event()

    @app.function()
    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    @app.function()
    async def fine() -> int:
        return 1

    desk = open_desk(cancel_grace_s=0.1, async_in_flight_max=4)
    stubborn_jobs = [FakeJob("stubborn") for _ in range(4)]
    other = FakeJob("fine")
    desk.start(*stubborn_jobs, other)
    desk.executor.cancel([job.id for job in stubborn_jobs])
    assert [result.status for result in await desk.all_of(stubborn_jobs)] == ["cancelled"] * 4
    assert (await desk.all_of([other]))[0].value == b"1"
    gate.set()


async def test_a_plain_function_that_never_returns_is_answered_and_its_thread_replaced(
    app: App, open_desk: Open
) -> None:
    gate = threading.Event()

    @app.function()
    def never() -> None:
        gate.wait(60)

    @app.function()
    def fine() -> int:
        return 1

    desk = open_desk(threads=1, cancel_grace_s=0.1)
    stuck = FakeJob("never")
    desk.start(stuck)
    await until(lambda: desk.executor.stats()["sync_in_flight"] == 1)
    desk.executor.cancel([stuck.id])
    assert (await desk.all_of([stuck]))[0].status == "cancelled"
    assert (await desk.run(FakeJob("fine")))[0].value == b"1"
    assert desk.executor.stats()["threads_left_behind"] == 1
    gate.set()


async def test_a_plain_busy_loop_is_ended(app: App, open_desk: Open) -> None:
    ended = threading.Event()

    @app.function()
    def busy() -> None:
        try:
            while True:
                pass
        finally:
            ended.set()

    desk = open_desk(threads=1, cancel_grace_s=0.1)
    job = FakeJob("busy")
    desk.start(job)
    await until(lambda: desk.executor.stats()["sync_in_flight"] == 1)
    desk.executor.cancel([job.id])
    assert (await desk.all_of([job]))[0].status == "cancelled"
    assert await asyncio.to_thread(ended.wait, PATIENCE_S)


@pytest.mark.parametrize("name", ["waits", "sleeps"])
async def test_the_default_time_limit(app: App, open_desk: Open, name: str) -> None:
    gate = threading.Event()

    @app.function()
    async def waits() -> None:
        await asyncio.sleep(60)

    @app.function()
    def sleeps() -> None:
        gate.wait(60)

    desk = open_desk(timeout_s=0.1, cancel_grace_s=0.1)
    [result] = await desk.run(FakeJob(name))
    assert result.status == "timed_out"
    assert "functions.timeout_s" in result.message
    bounded_by_the_machine = FakeJob(name, timeout_s=60)
    desk.start(bounded_by_the_machine)
    await asyncio.sleep(0.3)
    assert bounded_by_the_machine.id not in desk.results
    desk.executor.cancel([bounded_by_the_machine.id])
    assert (await desk.all_of([bounded_by_the_machine]))[0].status == "cancelled"
    gate.set()


@pytest.mark.parametrize("how", ["busy", "busy after waiting", "sleeps", "busy and swallows"])
async def test_a_stall_is_named_and_the_neighbours_run_again(app: App, open_desk: Open, how: str) -> None:
    gate = threading.Event()
    calls: dict[str, int] = {}

    @app.function()
    async def stalls() -> None:
        if how == "busy after waiting":
            await asyncio.sleep(0.01)
        while not gate.is_set():
            if how == "sleeps":
                time.sleep(0.05)  # noqa: ASYNC251 (the fault under test)
            try:
                sum(range(1_000))
            except BaseException:
                if how != "busy and swallows":
                    raise

    @app.function()
    async def neighbour() -> str:
        node = current_job().node
        calls[node] = calls.get(node, 0) + 1
        await asyncio.sleep(0.05)
        return node

    desk = open_desk(stall_timeout_s=0.3)
    before = [FakeJob("neighbour", node=f"b{n}") for n in range(5)]
    culprit = FakeJob("stalls", node="culprit")
    after = [FakeJob("neighbour", node=f"a{n}") for n in range(5)]
    results = await desk.run(*before, culprit, *after)
    assert (results[5].status, results[5].type, results[5].retryable) == ("failed", "FunctionStalled", None)
    assert "stalls" in results[5].message
    assert [result.value for result in results[:5] + results[6:]] == [
        f'"{job.node}"'.encode() for job in [*before, *after]
    ]
    assert all(1 <= count <= 2 for count in calls.values())
    assert desk.executor.stats()["stalls"] == 1
    gate.set()


async def test_a_process_that_stood_still_blames_no_function(app: App, open_desk: Open) -> None:
    begun, still = threading.Event(), threading.Event()

    @app.function()
    async def stands_still() -> str:
        begun.set()
        still.wait(PATIENCE_S)  # as long as the engine's thread does
        return "went on"

    desk = open_desk(stall_timeout_s=1.0)
    job = FakeJob("stands_still")
    desk.start(job)
    await until(begun.is_set)
    await asyncio.sleep(0.3)  # the ping is out
    time.sleep(1.2)  # noqa: ASYNC251 (no thread of the process runs)
    still.set()
    [result] = await desk.all_of([job])
    assert (result.status, result.value) == ("ok", b'"went on"')
    assert desk.executor.stats()["stalls"] == 0


async def test_a_stall_in_a_task_of_its_own_making_is_found_by_running_alone(app: App, open_desk: Open) -> None:
    gate = threading.Event()

    @app.function()
    async def hides() -> None:
        async def busy() -> None:
            while not gate.is_set():
                pass

        await asyncio.create_task(busy())

    @app.function()
    async def neighbour() -> int:
        await asyncio.sleep(0.05)
        return 1

    desk = open_desk(stall_timeout_s=0.3)
    jobs = [FakeJob("neighbour"), FakeJob("hides"), FakeJob("neighbour")]
    results = await desk.run(*jobs)
    assert [result.type for result in results] == ["", "FunctionStalled", ""]
    assert [result.type for result in await desk.run(*[FakeJob("neighbour") for _ in range(50)])] == [""] * 50
    gate.set()


async def test_stuck_threads_are_bounded(app: App, open_desk: Open) -> None:
    gate = threading.Event()

    @app.function()
    async def stalls() -> None:
        gate.wait(60)

    desk = open_desk(stall_timeout_s=0.2, abandoned_threads_max=2)
    for expected in ["FunctionStalled", "FunctionStalled", "TooManyStuckThreads"]:
        [result] = await desk.run(FakeJob("stalls"))
        assert result.type == expected
    gate.set()
    await until(lambda: desk.executor.stats()["threads_stuck"] == 0)
    assert (await desk.run(FakeJob("stalls")))[0].status == "ok"


async def test_a_background_task_that_exits_ends_itself_only(app: App, open_desk: Open) -> None:
    @app.function()
    async def leaves() -> None:
        async def exits() -> None:
            raise SystemExit(1)

        task = asyncio.create_task(exits())
        await asyncio.sleep(0.01)
        assert task.done()
        task.exception() if not task.cancelled() else None

    @app.function()
    async def fine() -> int:
        return 1

    desk = open_desk()
    await desk.run(FakeJob("leaves"))
    assert (await desk.run(FakeJob("fine")))[0].value == b"1"


async def test_close_waits_for_what_is_in_flight(app: App) -> None:
    @app.function()
    async def waits() -> int:
        await asyncio.sleep(0.1)
        return 1

    desk = FunctionDesk(app.functions, FunctionSettings())
    job = FakeJob("waits")
    desk.start(job)
    await desk.executor.close(PATIENCE_S)
    assert desk.results[job.id].value == b"1"
    # What comes after is the next owner's to do.
    desk.start(FakeJob("waits"))
    assert desk.executor.stats()["here"] == 0


async def test_close_does_not_wait_for_ever(app: App) -> None:
    gate = threading.Event()

    @app.function()
    async def waits() -> None:
        await asyncio.Event().wait()

    @app.function()
    def stuck() -> None:
        gate.wait()

    before = set(threading.enumerate())
    desk = FunctionDesk(app.functions, FunctionSettings())
    desk.start(FakeJob("waits"), FakeJob("stuck"))
    async with asyncio.timeout(PATIENCE_S):
        await desk.executor.close(0.1)
    # A coroutine that is cancelled with its loop, and a call that returns too late, are the next owner's to do.
    gate.set()
    await until(lambda: not any(thread.is_alive() for thread in set(threading.enumerate()) - before))
    await asyncio.sleep(0.01)
    assert desk.results == {}


async def test_a_storm_of_cancels_answers_every_job_once(app: App, open_desk: Open) -> None:
    seed = int(os.environ.get("TEST_SEED", random.randrange(2**32)))
    print("seed", seed)
    chance = random.Random(seed)

    @app.function()
    async def quick() -> int:
        return 1

    @app.function()
    async def waits(s: float) -> int:
        await asyncio.sleep(s)
        return 1

    @app.function()
    def plain(s: float) -> int:
        time.sleep(s)
        return 1

    desk = open_desk(async_in_flight_max=50, threads=4, cancel_grace_s=0.2)
    jobs: list[FakeJob] = []
    for _ in range(60):
        batch = []
        for _ in range(chance.randrange(1, 40)):
            name = chance.choice(["quick", "waits", "waits", "plain"])
            text = b"{}" if name == "quick" else f'{{"s":{chance.random() / 300}}}'.encode()
            batch.append(FakeJob(name, text, tenant=chance.choice("abc")))
        jobs += batch
        desk.start(*batch)
        desk.executor.cancel([job.id for job in chance.sample(jobs, min(len(jobs), 20))])
        await asyncio.sleep(chance.random() / 200)
    results = await desk.all_of(jobs)
    assert {result.status for result in results} <= {"ok", "cancelled"}
    stats = desk.executor.stats()
    assert stats["here"] == stats["async_queued"] == stats["sync_queued"] == 0
