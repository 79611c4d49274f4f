"""The composition root: the only file that knows every adapter by name.

`serve` builds the house in the order of its arrows, opens the door, and takes it down in reverse: no new requests,
answers for what was accepted, results of what is in flight, a snapshot, the log.
"""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from apex_fast.adapters.clock import SystemClock
from apex_fast.adapters.embedded import backup, erasure, tables
from apex_fast.adapters.embedded.blobs import EmbeddedBlobs
from apex_fast.adapters.embedded.event_log import EmbeddedEventLog
from apex_fast.adapters.embedded.folder import BLOBS, LOG, PLANS
from apex_fast.adapters.embedded.plan_store import EmbeddedPlanStore
from apex_fast.adapters.script.model import ScriptedModel
from apex_fast.authoring import App
from apex_fast.core import Recognizer, compile
from apex_fast.domain import (
    CompileError,
    Front,
    FrontError,
    LogError,
    PatchRule,
    PatchRules,
    RegisterWorkflow,
    StartRun,
)
from apex_fast.engine import Engine, EngineLimits
from apex_fast.engine.recovery import recover
from apex_fast.errors import Conflict, DefinitionInvalid, InvalidInput, RunFailed, Unavailable, error_of
from apex_fast.executors.agent import AgentExecutor, PatchTerms
from apex_fast.executors.correction import CorrectionExecutor
from apex_fast.executors.function import FunctionExecutor
from apex_fast.executors.http import HttpExecutor
from apex_fast.gateway import Door, GatewayOptions
from apex_fast.optimizer import SHIPPED, Limits, Optimizer, PassFolder
from apex_fast.planner import Planner
from apex_fast.ports.executor import Executor
from apex_fast.ports.model import Model
from apex_fast.settings import PatchSettings, Settings, secret_of

log = logging.getLogger(__name__)
SCRIPT = "script:"
"""A model of this name is a file with its answers."""

TENANT = "default"
EXIT_LOG_FAILED = 70  # EX_SOFTWARE of sysexits.h: start again, recovery decides what is true
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the GIL while another waits: the engine's loop waits for the functions' one. Python's
default of 5 ms would be the latency of a step."""
GC_THRESHOLDS = (50_000, 20, 100)
"""Of the collector of cyclic garbage: what the house makes for a run has no cycles, so a collection finds nothing. With
Python's default of 700 it took 9 % of the CPU of a start on the stream, 5 % of a unary one (medians of 5, 2 cores)."""


def version() -> str:
    """Version of the installed distribution."""
    return metadata.version("apex_fast")


def check_bind(settings: Settings) -> None:
    """Raises InvalidInput for an address other than loopback while nobody has to show a credential."""
    host = settings.server.host
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not settings.server.insecure:
        raise InvalidInput(
            f"{host} is reachable from outside and nobody has to authenticate; "
            "use 127.0.0.1, or say --insecure (APEX_SERVER_INSECURE=true) if something in front of it does"
        )


def bound_name(settings: Settings) -> tuple[str, ...]:
    """The bound address as a Host header names it; none where it stands for every address of the machine."""
    host = settings.server.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (host,)
    if address.is_unspecified:
        return ()
    return (f"[{host}]" if address.version == 6 else host,)


def log_folder(settings: Settings) -> Path:
    """Where the log lives."""
    return Path(settings.data.dir) / LOG


def open_log(settings: Settings) -> EmbeddedEventLog:
    """Take the folder. Raises Unavailable naming what is in the way."""
    folder = log_folder(settings)
    try:
        event_log = EmbeddedEventLog(
            folder, settings.log.segment_bytes, settings.log.archive_after_segments, settings.log.key_file or None
        )
    except LogError as error:
        raise Unavailable(f"cannot open the log in {folder}: {error}", code=f"LOG_{error.code}") from error
    except OSError as error:
        raise Unavailable(f"cannot make {folder}: {error.strerror}", code="LOG_READ_ONLY") from error
    if event_log.cut is not None:
        log.warning("cut from the end of the log, never acknowledged", extra={"cut": event_log.cut})
    return event_log


def open_blobs(settings: Settings, event_log: EmbeddedEventLog) -> EmbeddedBlobs:
    """The blobs beside the log. Raises Unavailable naming what is in the way."""
    place = Path(settings.data.dir) / BLOBS
    try:
        return event_log.open_blobs(place, settings.blobs.quota_bytes)
    except LogError as error:
        raise Unavailable(f"cannot open the blobs in {place}: {error}", code=f"LOG_{error.code}") from error


def back_up(settings: Settings, copy: Path) -> backup.Manifest:
    """Copy the data folder to ``copy``, also while it is served. Raises InvalidInput, Unavailable naming the reason."""
    with _refusals(f"cannot copy {settings.data.dir} to {copy}"):
        return backup.back_up(
            Path(settings.data.dir), copy, settings.engine.partitions, version(), settings.log.key_file or None
        )


def restore(settings: Settings, copy: Path, folder: Path) -> backup.Manifest:
    """Make a data folder of a copy. Raises InvalidInput, Unavailable naming the reason."""
    with _refusals(f"cannot restore {copy} to {folder}"):
        return backup.restore(copy, folder, version(), settings.log.key_file or None)


def erase(settings: Settings, tenant: str, run_id: str | None) -> erasure.Erased:
    """Erase a tenant, or one of its runs, in a data folder that nobody serves.

    Raises WrongState, NotFound, Unavailable naming the reason.
    """
    with _refusals(f"cannot erase in {settings.data.dir}"):
        return erasure.erase(
            Path(settings.data.dir), settings.engine.partitions, tenant, run_id, settings.log.key_file or None
        )


def sweep(settings: Settings, older_than_s: float) -> erasure.Swept:
    """Remove blobs that nothing names and data keys that nothing needs. Raises Unavailable naming the reason."""
    with _refusals(f"cannot sweep {settings.data.dir}"):
        return erasure.sweep(Path(settings.data.dir), older_than_s, settings.log.key_file or None)


def write_tables(settings: Settings, folder: Path) -> tables.Written:
    """Write the log as Parquet tables, also while it is served. Raises Unavailable naming the reason."""
    with _refusals(f"cannot write the log in {settings.data.dir} to {folder}"):
        return tables.write_tables(log_folder(settings), folder, settings.log.key_file or None)


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except LogError as error:
        raise Unavailable(f"{what}: {error}", code=f"LOG_{error.code}") from error
    except OSError as error:
        raise Unavailable(f"{what}: {error.filename}: {error.strerror}", code="DISK_REFUSED") from error


def open_front(settings: Settings, grpc_methods: list[tuple[str, str]]) -> Front:
    """Listen. Raises Unavailable naming the address."""
    options: dict[str, float] = {
        "body_bytes_max": settings.server.body_bytes_max,
        "blob_bytes_max": settings.blobs.bytes_max,
        "queue_requests_max": settings.server.requests_max,
    }
    try:
        return Front.start(settings.server.host, settings.server.port, grpc_methods, options)
    except FrontError as error:
        raise Unavailable(f"{error}; stop what holds it, or choose another with --port", code=error.code) from error


def model_of(settings: Settings) -> Model | None:
    """The model port, if a model is switched on. Raises InvalidInput where litellm is not installed."""
    if not settings.planner.model:
        return None
    if settings.planner.model.startswith(SCRIPT):
        return ScriptedModel(Path(settings.planner.model.removeprefix(SCRIPT)))
    try:
        # 2 s and 300 MB of modules: only who switches a model on pays for them.
        from apex_fast.adapters.litellm.model import LitellmModel
    except ModuleNotFoundError as error:
        raise InvalidInput("planner.model needs litellm: pip install 'apex_fast[model]'") from error
    return LitellmModel(
        settings.planner.model,
        api_key=settings.planner_key().reveal(),
        api_base=settings.planner.api_base,
        timeout_s=settings.planner.timeout_s,
        tokens_max=settings.planner.tokens_max,
    )


async def register(engine: Engine, app: App) -> None:
    """Register the workflows that the app brings.

    Raises DefinitionInvalid with every reason, Conflict where a version was registered with other content.
    """
    table = app.table()
    for workflow in app.workflows:
        try:
            compiled = compile(workflow.to_json(), table)
        except CompileError as error:
            reasons = "".join(f"\n  {found.pointer}: {found.message} [{found.code}]" for found in error.diagnostics)
            raise DefinitionInvalid(f"the workflow {workflow.name} of the app cannot run:{reasons}") from error
        reply = await engine.call(RegisterWorkflow(TENANT, compiled.canonical, "main"))
        if reply.code:
            raise Conflict(f"{compiled.name} {compiled.version}: {reply.message}", code=reply.code)


def secret(tenant: str, name: str) -> str | None:
    """The secret of this name, from the environment; the one tenant that there is has them all."""
    found = secret_of(os.environ, name) if tenant == TENANT else None
    return None if found is None else found.reveal()


def notify(state: str) -> None:
    """Tell whoever started us (sd_notify(3)), if they listen."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
            sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def make_optimizer(engine: Engine, settings: Settings, rules: PatchRules) -> Optimizer:
    """The optimizer with the passes that ship and those of the settings' folder. Raises InvalidInput."""
    said = settings.optimizer
    folders = [SHIPPED, *([Path(said.passes_dir)] if said.passes_dir else [])]
    if not folders[-1].is_dir():
        raise InvalidInput(f"optimizer.passes_dir: {said.passes_dir} is no folder")
    limits = Limits(memory_bytes=said.memory_bytes, fuel=said.fuel, time_s=said.time_s, output_bytes=said.output_bytes)
    return Optimizer(engine, PassFolder(folders, limits), said, (TENANT,), rules)


class House:
    """A gateway in this process, on the running loop."""

    def __init__(self, settings: Settings, app: App) -> None:
        """Take the log and recover; nothing listens yet. Raises Unavailable, InvalidInput, CoreError."""
        check_bind(settings)
        self._settings = settings
        self._app = app
        self._model = model_of(settings)
        self._log = open_log(settings)
        limits = settings.engine
        bounds = {**settings.limits.table(), "runs_awake_max": limits.runs_awake_max}
        machine = recover(self._log, limits.partitions, bounds, limits.fidelity)
        machine.know_functions(app.table())
        self.engine = Engine(
            machine,
            self._log,
            SystemClock(),
            EngineLimits(
                starts_queued_max=limits.starts_queued_max,
                starts_per_turn_max=limits.starts_per_turn_max,
                jobs_pending_max=limits.jobs_pending_max,
                snapshot_every_records=limits.snapshot_every_records,
                snapshot_every_bytes=limits.snapshot_every_bytes,
                retention_s=settings.log.retention_s,
            ),
        )
        self._rules = _patch_rules(settings.patches, app.table())
        try:
            http = HttpExecutor(self.engine.deliver, settings.http, secret)
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        self._executors: dict[str, Executor] = {
            "function": FunctionExecutor(app.functions, self.engine.deliver, settings.functions, self.engine.beat),
            "correction": CorrectionExecutor(self._model, self.engine.deliver, settings.planner.calls_in_flight_max),
            "http": http,
            "agent": AgentExecutor(
                self.engine.deliver,
                self._model,
                settings.planner.calls_in_flight_max,
                PatchTerms(self._rules, settings.limits.patch_nodes_max, settings.limits.agent_nodes_max),
            ),
        }
        self.optimizer = make_optimizer(self.engine, settings, self._rules)
        self._door: Door | None = None
        self.address = ""

    async def prepare(self) -> int:
        """Hand out what was in flight, and register the app's workflows; the number of jobs handed out again."""
        again = self.engine.start(self._executors)
        await register(self.engine, self._app)
        if self.optimizer.observes:
            self.engine.on_ended(self.optimizer.ended)
        self.optimizer.start()
        return again

    async def open(self) -> None:
        """Prepare, then listen."""
        again = await self.prepare()
        planner = Planner(
            Recognizer(),
            EmbeddedPlanStore(Path(self._settings.data.dir) / PLANS),
            self._model,
            self._app.functions,
            attempts_max=self._settings.planner.attempts_max,
            calls_in_flight_max=self._settings.planner.calls_in_flight_max,
        )
        server = self._settings.server
        options = GatewayOptions(allow_hosts=(*bound_name(self._settings), *server.allow_hosts))
        blobs = open_blobs(self._settings, self._log)
        self._door = Door(
            self.engine,
            planner,
            self._app.table(),
            options,
            version=version(),
            blobs=blobs,
            optimizer=self.optimizer,
            rules=self._rules,
        )
        for kind, executor in self._executors.items():
            self._door.metrics.watch(f"{kind}_", executor.stats)
        front = open_front(self._settings, self._door.grpc_methods())
        self._door.open(front)
        self.address = f"{self._settings.server.host}:{front.port}"
        log.info(
            "serving", extra={"address": self.address, "data": self._settings.data.dir, "jobs_handed_out_again": again}
        )

    async def close(self) -> None:
        """Answer what was accepted, take the results that come within the grace, then give the log up.

        Where the log has failed nobody can be answered and nothing be kept: no grace.
        """
        grace_s = 0.0 if self.engine.has_failed else self._settings.server.grace_s
        await self.optimizer.close()
        if self._door is not None:
            await self._door.stop(grace_s)
        await asyncio.gather(*(executor.close(grace_s) for executor in self._executors.values()))
        await self.engine.drain(max(grace_s, 1.0))
        with contextlib.suppress(LogError):  # a failed log was reported when it failed
            await self._log.close()


def _patch_rules(patches: PatchSettings, functions: bytes | None) -> PatchRules:
    parts = ("policy", "reaches_any", "hosts", "functions", "workflows", "models")

    def rule(kind: str) -> PatchRule:
        return PatchRule(*(getattr(patches, f"{kind}_{part}") for part in parts))

    return PatchRules(rule("client"), rule("agent"), rule("optimizer"), functions)


async def _run(settings: Settings, app: App, workflow: str, inputs: Any) -> Any:
    house = House(settings, app)
    try:
        await house.prepare()
        start = StartRun(TENANT, workflow, inputs=msgspec.json.encode({} if inputs is None else inputs))
        reply = await house.engine.call(start)
        if reply.code:
            raise error_of(reply.code, reply.message)
        ended = asyncio.Event()
        # No wait between the look and the waiter: the end may be the next thing that becomes durable.
        view = house.engine.run(TENANT, reply.run_id)
        if view is not None and view.ended_ns is None:
            house.engine.when_ended(reply.run_id, ended.set)
            waits = {asyncio.create_task(ended.wait()), asyncio.create_task(house.engine.failed())}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if house.engine.has_failed:
                raise Unavailable(f"the log failed; run {reply.run_id} goes on when the folder is opened again")
        view = await house.engine.read_run(TENANT, reply.run_id)
        if view is None:
            raise Unavailable(f"run {reply.run_id} is gone")
        if view.state != "COMPLETED":
            error = msgspec.json.decode(view.error or b"{}")
            raise RunFailed(
                f"run {view.run_id} ended as {view.state}: {error.get('message', '')}",
                run_id=view.run_id,
                node=error.get("node", ""),
                error_type=error.get("type", ""),
            )
        last = house.engine.timeline(view, view.offset, 1)[-1]
        return msgspec.json.decode(last.payload)["output"]
    finally:
        await house.close()


def run(app: App, workflow: str, inputs: Any = None, *, data: str = "apex-data") -> Any:
    """Run a workflow of ``app`` in this process, durable in the folder ``data``, and return its output.

    What an earlier call left unfinished in the folder goes on beside it. ``inputs``: anything msgspec encodes as a JSON
    object. Raises RunFailed; NotFound, InvalidInput; Unavailable where another process holds the folder.
    """
    settings = Settings.load(None, os.environ, {"data.dir": data})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, app, workflow, inputs))


async def serve(settings: Settings, app: App) -> int:
    """Serve until SIGTERM or SIGINT; the exit code: 0, or 70 where the log failed."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
    house = House(settings, app)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await house.open()
        gc.freeze()  # what is there now stays; no collection looks at it again
        notify(f"READY=1\nSTATUS={house.address}")
        failed = asyncio.create_task(house.engine.failed())
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            notify("STATUS=the log failed")
            return EXIT_LOG_FAILED
        notify("STOPPING=1")
        log.info("stopping")
        return 0
    finally:
        await house.close()
