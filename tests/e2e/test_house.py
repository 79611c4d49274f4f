"""The house itself under bad conditions: full and read-only disks, what is taken already, wrong words, and the stop."""

import asyncio
import json
import resource
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from apex_fast.cli.main import main
from apex_fast.cli.process import GatewayProcess
from apex_fast.client import Client
from apex_fast.errors import Overloaded, Unavailable
from tests.support.gateway import FUNCTIONS, Served, environment_of, process_in, run_serve, served
from tests.support.ledger import Ledger
from tests.support.mounts import fill, make_read_only, may_mount, run_where_it_may_mount, tmpfs
from tests.support.patience import PATIENCE_S

MIB = 1 << 20
SMALL_LOG = {"APEX_LOG_SEGMENT_BYTES": str(4 * MIB)}


def step(node_id: str, **inputs: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "function", "config": {"name": "work"}, "input": inputs}


def chain(name: str, length: int, **inputs: Any) -> dict[str, Any]:
    nodes = [step(f"s{i}", **inputs) for i in range(length)]
    edges = [{"from": f"s{i}", "to": f"s{i + 1}"} for i in range(length - 1)]
    return {"name": name, "version": "1", "nodes": nodes, "edges": edges, "output": {"length": length}}


def said(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """It ended with 1 and one clear sentence, not with a traceback."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"


# --- disks ----------------------------------------------------------------------------------------------------------


async def test_full_disk_under_load(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """New runs are refused with 507 while there is no room; what was accepted goes on once there is."""
    if not may_mount():
        run_where_it_may_mount(request.node.nodeid)
        return
    with tmpfs(tmp_path / "disk", 48 * MIB) as disk:
        process = GatewayProcess(disk / "data", FUNCTIONS, environment_of(tmp_path, SMALL_LOG))
        process.log_file = tmp_path / "gateway.log"
        await process.start()
        house = Served(process, Ledger(tmp_path / "ledger.jsonl"))
        try:
            await house.client.register(chain("heavy", 6, pause_s=0.1, give="x" * 100_000))
            runs = [(await house.client.start("heavy")).id for _ in range(5)]
            filler = fill(disk)
            refusal = await until_refused(house.client, runs)
            assert refusal.code == "DISK_FULL"
            status, problem = await house.post("/runs", {"workflow": "heavy"})
            assert (status, problem["code"], problem["status"]) == (507, "DISK_FULL", 507)
            status, shown = await house.get(f"/runs/{runs[0]}")
            assert (status, shown["run_id"]) == (200, runs[0]), "reads go on"
            filler.unlink()
            accepted = await until_accepted(house.client)
            for run_id in [*runs, accepted]:
                assert await house.client.run(run_id).result(PATIENCE_S) == {"length": 6}
            await house.close()
            process.kill()
            await process.start()
            house = Served(process, house.ledger)
            for run_id in [*runs, accepted]:
                assert (await house.client.run(run_id).info()).state == "COMPLETED"
        finally:
            print(process.log_tail())
            await house.close()
            await process.stop()
    assert len(house.ledger.started()) == 6 * (len(runs) + 1), "nothing was done twice"


async def until_refused(client: Client, runs: list[str]) -> Overloaded:
    """Start runs until one is refused, and note the others."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                runs.append((await client.start("heavy")).id)
            except Overloaded as error:
                return error
            await asyncio.sleep(0.02)


async def until_accepted(client: Client) -> str:
    """Start a run, as often as the answer is to try again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(Overloaded):
                return (await client.start("heavy")).id
            await asyncio.sleep(0.1)


def test_start_on_a_full_disk(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not may_mount():
        run_where_it_may_mount(request.node.nodeid)
        return
    with tmpfs(tmp_path / "disk", 1 * MIB) as disk:
        fill(disk)
        done = run_serve("--data", str(disk / "data"), "--port", "0", folder=tmp_path)
        said(done, str(disk / "data"), "space")


async def test_read_only_folder(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not may_mount():
        run_where_it_may_mount(request.node.nodeid)
        return
    with tmpfs(tmp_path / "disk", 48 * MIB) as disk:
        async with GatewayProcess(disk / "data", FUNCTIONS, environment_of(tmp_path, SMALL_LOG)) as process:
            assert process.address
        make_read_only(disk)
        said(run_serve("--data", str(disk / "data"), "--port", "0", folder=tmp_path), str(disk), "ead-only")
        said(run_serve("--data", str(disk / "new"), "--port", "0", folder=tmp_path), str(disk), "ead-only")


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    said(run_serve("--data", "data", "--port", "0", folder=tmp_path), "data")


async def test_log_that_fails(tmp_path: Path) -> None:
    """A write that fails for good ends the process with 70; what was acknowledged is there when it starts again."""
    process = process_in(tmp_path, {"APEX_SERVER_GRACE_S": "3600"})
    await process.start()
    pid = process.pid
    acknowledged = []
    async with Client(process.address, PATIENCE_S) as client:
        await client.register(chain("heavy", 2, give="x" * 100_000))
        # From here on every write behind the first MiB of a file fails (setrlimit(2), RLIMIT_FSIZE).
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        async with asyncio.timeout(PATIENCE_S):  # less than the grace: nobody waits for what cannot come any more
            registering = [asyncio.create_task(register_until_it_fails(client, f"client-{i}")) for i in range(4)]
            with suppress(Unavailable):
                while True:
                    acknowledged.append((await client.start("heavy")).id)
            await asyncio.gather(*registering)
            while Path(f"/proc/{pid}").exists():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.02)
    assert await process.stop() == 70, process.log_tail()
    assert "the log failed" in process.log_file.read_text()
    await process.start()
    try:
        async with Client(process.address) as client:
            for run_id in acknowledged:
                assert await client.run(run_id).result(PATIENCE_S) == {"length": 2}
    finally:
        await process.stop()
    assert len(acknowledged) > 1


async def register_until_it_fails(client: Client, name: str) -> None:
    """Registrations are worked on beside the loop: none of them may keep the process from ending."""
    with suppress(Unavailable):
        for count in range(1_000_000):
            await client.register(chain(f"{name}-{count}", 1))


# --- what is taken already ------------------------------------------------------------------------------------------


async def test_second_gateway_on_the_same_folder(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        done = await asyncio.to_thread(
            lambda: run_serve("--data", str(house.process.data), "--port", "0", folder=tmp_path)
        )
        said(done, str(house.process.data), f"process {house.process.pid}")
        await house.goes_on()


async def test_port_in_use(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        port = house.process.address.rpartition(":")[2]
        other = tmp_path / "other"
        done = await asyncio.to_thread(lambda: run_serve("--data", str(other), "--port", port, folder=tmp_path))
        said(done, port, "--port")
        await house.goes_on()
        async with process_in(tmp_path, data=other) as second:
            assert second.address != house.process.address


def test_port_held_by_something_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said(run_serve("--data", "data", "--port", str(port), folder=tmp_path), str(port))


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the test as the working directory: what is refused before anything starts needs no process."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_address_that_others_reach(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        said(run_serve("--host", host, "--data", "data", "--port", "0", folder=tmp_path), host, "--insecure")
    assert not (tmp_path / "data").exists(), "refused before anything is touched"


async def test_address_that_others_reach_where_it_is_wanted(tmp_path: Path) -> None:
    words = ("--host", "0.0.0.0", "--insecure")
    async with GatewayProcess(tmp_path / "data", FUNCTIONS, environment_of(tmp_path), words) as process:
        assert process.address.startswith("0.0.0.0:")
        port = process.address.rpartition(":")[2]
        async with Client(f"127.0.0.1:{port}") as client:
            assert (await client.runs()).runs == []


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[server]\nprot = 1\n", ("apex.toml", "server.prot", "port")),
        ("[serve]\nport = 1\n", ("apex.toml", "serve", "server")),
        ('[server]\nport = "many"\n', ("apex.toml", "server.port")),
        ("[server]\nport = 70000\n", ("apex.toml", "server.port", "65535")),
        ("[server\n", ("apex.toml", "TOML")),
        ('[planner]\napi_key = "hush-hush"\n', ("planner.api_key", "APEX_PLANNER_API_KEY")),
    ],
)
def test_settings_that_cannot_be_used(
    here: Path, capsys: pytest.CaptureFixture[str], toml: str, words: tuple[str, ...]
) -> None:
    (here / "apex.toml").write_text(toml)
    assert main(["serve", "--data", "data"]) == 1
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert "hush" not in error


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("APEX_SERVER_PROT", "1", ("APEX_SERVER_PROT", "APEX_SERVER_PORT")),
        ("APEX_SERVER_PORT", "many", ("APEX_SERVER_PORT",)),
        ("APEX_LOG_SEGMENT_BYTES", "12", ("APEX_LOG_SEGMENT_BYTES",)),
    ],
)
@pytest.mark.usefixtures("here")
def test_variables_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["serve"]) == 1
    error = capsys.readouterr().err
    assert all(word in error for word in words), error


@pytest.mark.usefixtures("here")
def test_settings_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config", "nowhere.toml"]) == 1
    assert "nowhere.toml: no such file" in capsys.readouterr().err


APPS = {
    "no_app": ("app = 7\n", "no_app:app", ("no_app.app", "App")),
    "other_name": ("from apex_fast import App\napplication = App()\n", "other_name:app", ("other_name.app",)),
    "needs": ("import a_module_that_is_missing\n", "needs:app", ("a_module_that_is_missing",)),
    "breaks": ("def broken(:\n", "breaks:app", ("breaks.py", "line 1")),
    "raises": ("raise RuntimeError('no database')\n", "raises:app", ("no database", "raises")),
    "wrong": (
        "from apex_fast import App\napp = App()\n"
        "app.workflow('shop').node('a', type='function', config={'name': 'nobody'})\n",
        "wrong:app",
        ("shop", "nobody", "/nodes/0/config/name"),
    ),
    "compensates": (
        "from apex_fast import App\napp = App()\n@app.function(compensation='nobody')\nasync def a(): ...\n",
        "compensates:app",
        ("nobody", "compensation"),
    ),
}


@pytest.mark.parametrize("name", APPS)
def test_apps_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    source, reference, words = APPS[name]
    (tmp_path / f"{name}.py").write_text(source)
    said(run_serve("--app", reference, "--data", "data", "--port", "0", folder=tmp_path), *words)


def test_app_that_is_not_there(tmp_path: Path) -> None:
    done = run_serve("--app", "nowhere:app", "--data", "data", "--port", "0", folder=tmp_path)
    said(done, "nowhere", str(tmp_path), "MODULE:NAME")


async def test_changed_workflow_with_the_same_version(tmp_path: Path) -> None:
    source = "from apex_fast import App\napp = App()\n@app.function()\nasync def a(): ...\n"
    for node in ("first", "second"):
        (tmp_path / "shop.py").write_text(f"{source}app.workflow('w').function('{node}', a)\n")
        environment = {"PYTHONPATH": f"{tmp_path}:{environment_of(tmp_path)['PYTHONPATH']}"}
        process = GatewayProcess(tmp_path / "data", "shop:app", environment)
        if node == "first":
            async with process:
                assert process.address
        else:
            with pytest.raises(Unavailable) as refused:
                await process.start()
            assert "w 1" in str(refused.value)
            assert "Traceback" not in str(refused.value)


# --- the stop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_stop_under_load_loses_nothing_accepted(tmp_path: Path, number: signal.Signals) -> None:
    """Each start that was answered exists afterwards; each one that was not answered is not half there."""
    process = process_in(tmp_path)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    acknowledged: dict[str, str] = {}
    asked: set[str] = set()
    stopping = asyncio.Event()

    async def starter(client: Client, name: str) -> None:
        for count in range(1_000_000):
            key = f"{name}-{count}"
            asked.add(key)
            workflow = ("short", "row")[count % 2]
            try:
                run = await client.start(workflow, labels={"key": key}, idempotency_key="" if count % 3 else key)
            except Unavailable:
                assert stopping.is_set(), "refused before it was told to stop"
                return
            acknowledged[key] = run.id

    await process.start()
    async with Client(process.address, PATIENCE_S) as client:
        await client.register(chain("short", 1, pause_s=0.3))
        await client.register(chain("row", 4, pause_s=0.05))
        starters = [asyncio.create_task(starter(client, f"client-{i}")) for i in range(8)]
        await asyncio.sleep(1.0)
        async with asyncio.timeout(PATIENCE_S):
            while len(acknowledged) <= 50 and not any(one.done() for one in starters):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stopping.set()
        (await asyncio.to_thread(subprocess.run, ["kill", f"-{number.name}", str(process.pid)])).check_returncode()
        assert await process.stop() == 0, process.log_tail()
        # With a key the client waits for a gateway to come back, as long as it may.
        ended, waiting = await asyncio.wait(starters, timeout=3)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*ended)
        await asyncio.gather(*waiting, return_exceptions=True)
    begun = Counter(entry.job for entry in ledger.started())
    done = {entry.job for entry in ledger.entries() if entry.what == "done"}
    assert set(begun) == done, "what was at work was waited for"
    await process.start()
    try:
        async with Client(process.address) as client:
            for run_id in acknowledged.values():
                assert (await client.run(run_id).ended(PATIENCE_S)).state == "COMPLETED"
            held: dict[str, str] = {}
            page = ""
            while True:
                found = await client.runs(limit=500, page=page)
                held.update({run.labels["key"]: run.run_id for run in found.runs})
                page = found.next_page
                if not page:
                    break
    finally:
        await process.stop()
    assert acknowledged.items() <= held.items()
    assert held.keys() <= asked
    assert len(acknowledged) > 50
    assert set(Counter(entry.job for entry in ledger.started()).values()) == {1}, "nothing was done twice"
    print(f"{len(acknowledged)} acknowledged, {len(held) - len(acknowledged)} more were made durable unanswered")


async def test_stop_ends_streams_and_waiting_calls(tmp_path: Path) -> None:
    """Who waits is told to go on elsewhere; nobody keeps the gateway from stopping."""
    async with served(tmp_path, {"APEX_SERVER_GRACE_S": "3600"}) as house:
        gate = {"id": "gate", "type": "approval", "config": {"prompt": "?"}}
        await house.client.register({"name": "gated", "version": "1", "nodes": [gate]})
        run = await house.client.start("gated")
        waiting = asyncio.create_task(run.ended(PATIENCE_S))
        lines: list[str] = []
        watching = asyncio.create_task(read_lines(house, run.id, lines))
        async with asyncio.timeout(PATIENCE_S):
            while not lines:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)  # the other one waits as well, or comes too late
            address = house.process.address
            assert await house.process.stop() == 0
            await watching
        assert any(line.startswith("id: 0") or line.startswith("id:0") for line in lines), lines
        with pytest.raises(Unavailable):
            await waiting
        with socket.socket() as closed:
            host, _, port = address.partition(":")
            assert closed.connect_ex((host, int(port))) != 0


async def read_lines(house: Served, run_id: str, lines: list[str]) -> None:
    """All lines of a stream of events until it ends."""
    async with house.http.get(f"/runs/{run_id}/events") as answer:
        async for line in answer.content:
            lines.append(line.decode())  # noqa: PERF401 (seen while they come)


async def test_doctor_says_what_is_in_force(tmp_path: Path) -> None:
    """`apex doctor --json` beside a running gateway."""
    async with served(tmp_path) as house:
        environment = {**environment_of(tmp_path), "APEX_DATA_DIR": str(house.process.data)}
        done = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "apex_fast.cli.main",
            "doctor",
            "--json",
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            cwd=tmp_path,
        )
        out, _ = await done.communicate()
        found = json.loads(out)
        log = next(check for check in found["checks"] if check["name"] == "log")
        assert log["ok"]
        assert "records, term 1" in log["found"]
