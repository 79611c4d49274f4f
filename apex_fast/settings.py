"""Numbers that a user tunes: read once, frozen, passed down.

In: defaults, then `apex.toml`, then `APEX_<SECTION>_<NAME>` variables, then what the command line says; the
later one wins. Out: one `Settings`. An unknown key, a wrong type or a value out of range is a `SettingsError`
that names the file or the variable. Knows nothing else of the project, opens no other file but that of a
named secret, and never shows a secret.
"""

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

PREFIX: Final = "APEX_"
SECRET_PREFIX: Final = "APEX_SECRET_"
DEFAULT_FILE: Final = "apex.toml"
# Variables with the prefix that are not settings: the demo's own folder.
OTHER_VARIABLES: Final = frozenset({"APEX_DEMO_FOLDER"})

MIB: Final = 1024 * 1024
LIMIT_MAX: Final = 2**31 - 1

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the file or variable, the key and the reason."""


class Secret(str):
    """A string that does not show itself; `reveal` gives it."""

    __slots__ = ()

    def reveal(self) -> str:
        """The secret itself."""
        return str.__str__(self)

    def __repr__(self) -> str:
        return "'***'" if len(self) else "''"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


class ServerSettings(Section, frozen=True):
    """Where the gateway listens, and how much it takes in."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="port for gRPC, HTTP/1.1 and HTTP/2; 0 takes any free one")
    ] = 7400
    insecure: Annotated[
        bool, Meta(description="allow an address other than loopback although nobody has to authenticate")
    ] = False
    body_bytes_max: Annotated[int, Meta(ge=1024, description="largest request body or message")] = 4 * MIB
    requests_max: Annotated[int, Meta(ge=1, description="requests inside the gateway at once")] = 16_384
    grace_s: Annotated[float, Meta(ge=0, description="how long a stop waits for requests and jobs")] = 10.0
    allow_hosts: Annotated[
        tuple[str, ...],
        Meta(description="names accepted in the Host header besides loopback and the bound address"),
    ] = ()


class DataSettings(Section, frozen=True):
    """Where durable data lives."""

    dir: Annotated[str, Meta(min_length=1, description="folder of the log; one gateway per folder")] = "apex-data"


class EngineSettings(Section, frozen=True):
    """Bounds of the engine's loop."""

    partitions: Annotated[int, Meta(ge=1, le=1024, description="partitions of a new store; fixed for its life")] = 64
    starts_queued_max: Annotated[int, Meta(ge=1, description="starts that wait for a turn; more are refused")] = 20_000
    starts_per_turn_max: Annotated[int, Meta(ge=1, description="starts decided in one turn")] = 2_000
    jobs_pending_max: Annotated[
        int, Meta(ge=1, description="jobs handed out or waiting above which new starts are refused")
    ] = 50_000
    snapshot_every_records: Annotated[
        int, Meta(ge=1_000, description="records between two snapshots; fewer make recovery shorter")
    ] = 2_000_000
    snapshot_every_bytes: Annotated[
        int, Meta(ge=MIB, description="bytes of records between two snapshots, where that comes first")
    ] = 1024 * MIB
    runs_awake_max: Annotated[
        int, Meta(ge=1, description="open runs kept ready; more of them that only wait are laid to rest")
    ] = 10_000
    fidelity: Annotated[
        Literal["full", "fast"], Meta(description="what is recorded of a run whose start does not say")
    ] = "full"


class LimitSettings(Section, frozen=True):
    """Bounds of what runs may come to. Over one, the request is refused or the node fails, and the error names it."""

    runs_open_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="open runs; more starts are refused")] = (
        2_000_000
    )
    runs_open_per_tenant_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="open runs of one tenant")] = (
        1_000_000
    )
    runs_ended_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="ended runs that stay listed; the oldest leave first")
    ] = 1_000_000
    depth_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="runs that stand in each other, the outermost included")
    ] = 8
    items_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="items of a map")] = 100_000
    scopes_per_run_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="items and iterations of a run, all of its maps and loops together")
    ] = 1_000_000
    workflows_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="registered versions of workflows")] = 100_000
    workflows_per_tenant_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="registered versions of one tenant")
    ] = 50_000
    schedules_per_tenant_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="schedules of one tenant")] = 10_000
    idempotency_keys_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="idempotency keys of starts that are remembered; more are refused")
    ] = 10_000_000
    idempotency_keys_per_tenant_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="those of one tenant")] = (
        5_000_000
    )
    dead_letters_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="dead letters listed; the oldest leave first")
    ] = 100_000
    breakers_max: Annotated[
        int,
        Meta(ge=1, le=LIMIT_MAX, description="breakers with something to remember; a tool beyond them goes unwatched"),
    ] = 10_000
    breaker_outputs_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="outputs that a breaker keeps for its fallback")
    ] = 64
    signals_buffered_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="signals that a run keeps until a node asks for them")
    ] = 1_000
    signal_keys_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="idempotency keys of signals that a run remembers")
    ] = 10_000
    lock_waiters_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="nodes that stand in line for one concurrency key")
    ] = 100_000
    patch_bytes_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="bytes of a patch as sent")] = 262_144
    patch_nodes_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="nodes that one patch adds")] = 1_000
    patches_per_run_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="patches of one run, dropped ones included")
    ] = 100
    patched_nodes_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="nodes that the patches of one run add together")
    ] = 10_000
    patched_bytes_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="bytes of the operations of all patches of one run")
    ] = MIB
    workflow_patches_waiting_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="patches on one workflow that wait for their batch")
    ] = 1_000
    workflow_patches_waiting_bytes_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="bytes of the patches on workflows of one tenant that wait")
    ] = 32 * MIB
    workflow_patches_refused_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="refused patches on one workflow that stay listed")
    ] = 100
    patches_per_set_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="patches of one patch set, dropped ones included")
    ] = 1_000
    patch_set_bytes_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="bytes of all patches of one patch set")
    ] = 4 * MIB
    patch_sets_per_workflow_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="patch sets of one workflow")] = (
        100
    )
    patch_batch_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="patches on a workflow that make one version together")
    ] = 100
    patch_batch_s: Annotated[
        float, Meta(gt=0, le=86_400, description="how long the first patch on a workflow waits for others")
    ] = 5.0
    arms_per_tag_max: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="arms of a tag")] = 10
    proposals_per_run_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="patches of one run that wait for a person")
    ] = 16
    agent_nodes_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="nodes that the patches of one agent node add together")
    ] = 100
    agent_depth_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="agents below each other, each added by a patch of the one above")
    ] = 3
    expression_cost_max: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="cost units of one evaluation of an expression")
    ] = 100_000
    idempotency_ttl_s: Annotated[
        float, Meta(gt=0, description="how long the idempotency key of a start is remembered after its run ended")
    ] = 604_800.0

    def table(self) -> dict[str, int]:
        """As the machine takes them."""
        limits = {name: getattr(self, name) for name in self.__struct_fields__ if name.endswith("_max")}
        times = {"idempotency_ttl_ns": self.idempotency_ttl_s, "patch_batch_ns": self.patch_batch_s}
        return {**limits, **{name: int(seconds * 1e9) for name, seconds in times.items()}}


Policy = Literal["apply", "approve", "refuse"]
_POLICY = "what becomes of patches by {}: apply, approve (they wait for a person), refuse"
_REACH = "patches by {} may do anything; else what the definition does already, and what is listed"
_LIST = "{} that patches by {} may reach beside those of the definition"


class PatchSettings(Section, frozen=True):
    """What authors of patches may, by their kind. A workflow definition cannot widen it."""

    client_policy: Annotated[Policy, Meta(description=_POLICY.format("clients"))] = "apply"
    client_reaches_any: Annotated[bool, Meta(description=_REACH.format("clients"))] = True
    client_hosts: Annotated[tuple[str, ...], Meta(description=_LIST.format("hosts", "clients"))] = ()
    client_functions: Annotated[tuple[str, ...], Meta(description=_LIST.format("functions", "clients"))] = ()
    client_workflows: Annotated[tuple[str, ...], Meta(description=_LIST.format("workflows", "clients"))] = ()
    client_models: Annotated[tuple[str, ...], Meta(description=_LIST.format("models", "clients"))] = ()
    agent_policy: Annotated[Policy, Meta(description=_POLICY.format("agent nodes"))] = "apply"
    agent_reaches_any: Annotated[bool, Meta(description=_REACH.format("agent nodes"))] = False
    agent_hosts: Annotated[tuple[str, ...], Meta(description=_LIST.format("hosts", "agent nodes"))] = ()
    agent_functions: Annotated[tuple[str, ...], Meta(description=_LIST.format("functions", "agent nodes"))] = ()
    agent_workflows: Annotated[tuple[str, ...], Meta(description=_LIST.format("workflows", "agent nodes"))] = ()
    agent_models: Annotated[tuple[str, ...], Meta(description=_LIST.format("models", "agent nodes"))] = ()
    optimizer_policy: Annotated[Policy, Meta(description=_POLICY.format("optimizer passes"))] = "apply"
    optimizer_reaches_any: Annotated[bool, Meta(description=_REACH.format("optimizer passes"))] = True
    optimizer_hosts: Annotated[tuple[str, ...], Meta(description=_LIST.format("hosts", "optimizer passes"))] = ()
    optimizer_functions: Annotated[
        tuple[str, ...], Meta(description=_LIST.format("functions", "optimizer passes"))
    ] = ()
    optimizer_workflows: Annotated[
        tuple[str, ...], Meta(description=_LIST.format("workflows", "optimizer passes"))
    ] = ()
    optimizer_models: Annotated[tuple[str, ...], Meta(description=_LIST.format("models", "optimizer passes"))] = ()


class FunctionSettings(Section, frozen=True):
    """How registered functions are run."""

    threads: Annotated[int, Meta(ge=1, le=1024, description="threads for functions that are not async")] = 16
    async_in_flight_max: Annotated[
        int,
        Meta(ge=1, description="async functions that may be suspended at once; the rest waits, fair by tenant"),
    ] = 4_096
    timeout_s: Annotated[
        float, Meta(ge=0, description="time limit of an attempt whose node states none; 0 for no limit")
    ] = 300.0
    stall_timeout_s: Annotated[
        float,
        Meta(gt=0, description="an async function that holds the loop longer fails with FunctionStalled"),
    ] = 5.0
    cancel_grace_s: Annotated[
        float,
        Meta(gt=0, description="how long a cancelled function may go on before its place is taken from it"),
    ] = 5.0
    abandoned_threads_max: Annotated[
        int, Meta(ge=1, description="stuck threads that are left behind; beyond it functions are refused")
    ] = 32
    result_bytes_max: Annotated[int, Meta(ge=1, description="largest encoded result of a function")] = 4 * MIB


class HttpSettings(Section, frozen=True):
    """What `http` nodes may reach, and how much they may take."""

    allow_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="hosts that may be reached although their address is not public: "
            '"127.0.0.1:8080", "build.internal", "*.internal"; no port means every port'
        ),
    ] = ()
    in_flight_max: Annotated[int, Meta(ge=1, description="requests at once")] = 512
    connections_max: Annotated[int, Meta(ge=1, description="pooled connections")] = 256
    connections_per_host_max: Annotated[int, Meta(ge=1, description="pooled connections to one host and port")] = 64
    connect_timeout_s: Annotated[float, Meta(gt=0, description="time limit of resolving and connecting")] = 5.0
    timeout_s: Annotated[float, Meta(gt=0, description="time limit of an attempt whose node states none")] = 30.0
    response_bytes_max: Annotated[int, Meta(ge=1, description="largest response body, decompressed")] = 4 * MIB
    redirects_max: Annotated[int, Meta(ge=0, le=20, description="redirects followed")] = 5


class PlannerSettings(Section, frozen=True):
    """How goals become plans. Without a model only goals that a template serves get one."""

    model: Annotated[
        str,
        Meta(
            description="model asked when no template serves a goal, e.g. openai/gpt-5-mini, or script:FILE; empty: off"
        ),
    ] = ""
    api_base: Annotated[str, Meta(description="base address of the model's API; empty: the provider's own")] = ""
    api_key: Annotated[
        Secret,
        Meta(description="key of the model's API; from the environment only, never from a file of settings"),
    ] = Secret("")
    api_key_file: Annotated[str, Meta(description="file that holds the key, instead of api_key")] = ""
    timeout_s: Annotated[float, Meta(gt=0, description="time limit of one answer of the model")] = 30.0
    attempts_max: Annotated[int, Meta(ge=1, le=10, description="tries of the model for one goal")] = 2
    tokens_max: Annotated[int, Meta(ge=64, description="longest answer of the model, in tokens")] = 2_048
    calls_in_flight_max: Annotated[int, Meta(ge=1, description="goals the model works on at once")] = 8


class OptimizerSettings(Section, frozen=True):
    """What the optimizer may do, and what its passes may use."""

    policy: Annotated[
        Literal["off", "suggest", "apply"],
        Meta(description="of a workflow that `workflows` does not name: off, suggest (proposes), apply (applies)"),
    ] = "off"
    workflows: Annotated[
        dict[str, Literal["off", "suggest", "apply"]],
        Meta(description='policies by the name of a workflow: a table, or "orders=apply, billing=off" as a variable'),
    ] = {}
    passes_dir: Annotated[
        str, Meta(description="folder of passes (*.wasm) beside those that ship; one of the same name replaces it")
    ] = ""
    interval_s: Annotated[
        float, Meta(ge=0, description="time between two looks at what runs; 0: running workflows are left alone")
    ] = 60.0
    profile_runs: Annotated[int, Meta(ge=1, le=10_000, description="ended runs of a version that a profile spans")] = (
        200
    )
    profile_runs_min: Annotated[
        int, Meta(ge=1, description="ended runs of a version before its profile is believed")
    ] = 20
    gain_s_min: Annotated[
        float,
        Meta(ge=0, description="seconds that a patch must be expected to save, all open runs together, to be applied"),
    ] = 10.0
    runs_per_look_max: Annotated[int, Meta(ge=1, le=100_000, description="open runs looked at in one look")] = 1_000
    fuel: Annotated[int, Meta(ge=1, description="instructions of one call of a pass")] = 2_000_000_000
    memory_bytes: Annotated[int, Meta(ge=65_536, le=4_096 * MIB, description="memory of one call of a pass")] = 64 * MIB
    time_s: Annotated[float, Meta(gt=0, le=60, description="time limit of one call of a pass")] = 2.0
    output_bytes: Annotated[int, Meta(ge=1, description="largest answer of a pass")] = 4 * MIB

    def policy_of(self, workflow: str) -> Literal["off", "suggest", "apply"]:
        """The policy of a workflow."""
        return self.workflows.get(workflow, self.policy)

    @property
    def is_on(self) -> bool:
        """Whether any workflow may have another policy than off."""
        return self.names("suggest") or self.names("apply")

    def names(self, policy: Literal["suggest", "apply"]) -> bool:
        """Whether any workflow may have this policy."""
        return policy in {self.policy, *self.workflows.values()}


class LogSettings(Section, frozen=True):
    """The log on disk."""

    segment_bytes: Annotated[int, Meta(ge=MIB, description="size of a segment file, preallocated")] = 64 * MIB
    archive_after_segments: Annotated[
        int,
        Meta(ge=0, description="segments behind the older snapshot that are left as they are; older ones are archived"),
    ] = 4
    key_file: Annotated[
        str,
        Meta(
            description="file of the keys that encrypt the log and its snapshots: "
            "32 bytes as hex or base64, one a line, the first for what is new; empty: not encrypted"
        ),
    ] = ""
    retention_s: Annotated[
        float, Meta(ge=0, description="how long the history of an ended run is kept at least; 0 for ever")
    ] = 0.0


class BlobSettings(Section, frozen=True):
    """Values that are too large for a request, kept in the folder beside the log."""

    bytes_max: Annotated[
        int, Meta(ge=1024, le=128 * MIB, description="largest blob; it is held in memory while it is taken in")
    ] = 64 * MIB
    quota_bytes: Annotated[int, Meta(ge=0, description="bytes that the blobs of a tenant may have together")] = (
        10_240 * MIB
    )


class TelemetrySettings(Section, frozen=True):
    """What the gateway says about itself."""

    log_level: Annotated[
        str,
        Meta(
            pattern="^(debug|info|warning|error|critical)$",
            description="least level that is logged: debug, info, warning, error, critical",
        ),
    ] = "info"


class Described(msgspec.Struct, frozen=True):
    """One setting as `apex doctor` prints it; a secret is masked."""

    key: str
    value: str
    origin: str
    """`default`, the name of the file, of the variable, or `command line`."""
    description: str


class Settings(Section, frozen=True):
    """All settings in force."""

    server: ServerSettings = ServerSettings()
    data: DataSettings = DataSettings()
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()
    patches: PatchSettings = PatchSettings()
    functions: FunctionSettings = FunctionSettings()
    http: HttpSettings = HttpSettings()
    planner: PlannerSettings = PlannerSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    log: LogSettings = LogSettings()
    blobs: BlobSettings = BlobSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    origins: dict[str, str] = {}
    """Where a value that is not the default came from, by key (`server.port`)."""

    @staticmethod
    def load(
        path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
    ) -> "Settings":
        """Read the settings.

        ``path``: a TOML file that must exist; None: `apex.toml` in the working directory where there is one.
        ``overrides``: key (`server.port`) to value, from the command line. Raises SettingsError.
        """
        values: dict[str, dict[str, object]] = {name: {} for name in SECTIONS}
        origins: dict[str, str] = {}
        for key, value, origin in (
            *_from_file(path),
            *_from_environment(environ),
            *((key, value, "command line") for key, value in (overrides or {}).items()),
        ):
            section, name = _split(key, origin)
            values[section][name] = _checked(section, name, value, origin)
            origins[key] = origin
        return Settings(
            **{name: kind(**values[name]) for name, kind in SECTIONS.items()},  # type: ignore[arg-type]
            origins=origins,
        )

    def describe(self) -> list[Described]:
        """Every setting with its value and origin, in the order of this file; secrets are masked."""
        lines = []
        for section, name, hint in _fields():
            key = f"{section}.{name}"
            value = getattr(getattr(self, section), name)
            lines.append(Described(key, _shown(value), self.origins.get(key, "default"), _description(hint)))
        return lines

    def planner_key(self) -> Secret:
        """The key of the model's API, from its file where one is named. Raises SettingsError."""
        if not self.planner.api_key_file:
            return self.planner.api_key
        try:
            return Secret(Path(self.planner.api_key_file).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(f"planner.api_key_file: cannot read {self.planner.api_key_file}: {reason}") from None


SECTIONS: Final[dict[str, type[Section]]] = {
    name: kind
    for name, kind in get_type_hints(Settings).items()
    if isinstance(kind, type) and issubclass(kind, Section)
}


def secret_of(environ: Mapping[str, str], name: str) -> Secret | None:
    """The secret named by ``{"secret": name}``: the variable `APEX_SECRET_<NAME>`, dashes and dots as `_`."""
    found = environ.get(SECRET_PREFIX + name.upper().replace("-", "_").replace(".", "_"))
    return None if found is None else Secret(found)


def _fields() -> Iterator[tuple[str, str, Any]]:
    for section, kind in SECTIONS.items():
        for name, hint in get_type_hints(kind, include_extras=True).items():
            yield section, name, hint


def _description(hint: Any) -> str:
    return next((part.description or "" for part in get_args(hint)[1:] if isinstance(part, Meta)), "")


def _shown(value: object) -> str:
    if isinstance(value, Secret):
        return "***" if len(value) else ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and "@" in value and "//" in value:
        parts = urlsplit(value)
        return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
    return str(value)


def _from_file(path: Path | None) -> Iterator[tuple[str, object, str]]:
    named = path is not None
    path = path or Path(DEFAULT_FILE)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise SettingsError(f"{path}: no such file") from None
        return
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    for section, table in document.items():
        if section not in SECTIONS:
            raise SettingsError(f"{path}: unknown section [{section}]{_nearest(section, SECTIONS)}")
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: {section} is a section: write [{section}] and its keys below")
        for name, value in table.items():
            if SECTIONS[section].__annotations__.get(name) is not None and _is_secret(section, name):
                variable = f"{PREFIX}{section}_{name}".upper()
                raise SettingsError(
                    f"{path}: {section}.{name} is a secret and does not belong in this file: "
                    f"set {variable}, or name a file with {section}.{name}_file"
                )
            yield f"{section}.{name}", value, str(path)


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    known = {f"{PREFIX}{section}_{name}".upper(): f"{section}.{name}" for section, name, _ in _fields()}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable.startswith(SECRET_PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in known:
            raise SettingsError(f"{variable}: no such setting{_nearest(variable, known)}")
        yield known[variable], environ[variable], variable


def _split(key: str, origin: str) -> tuple[str, str]:
    section, _, name = key.partition(".")
    if section not in SECTIONS:
        raise SettingsError(f"{origin}: unknown section {section}{_nearest(section, SECTIONS)}")
    names = SECTIONS[section].__struct_fields__
    if name not in names:
        raise SettingsError(f"{origin}: unknown key {key}{_nearest(name, names)}")
    return section, name


def _is_secret(section: str, name: str) -> bool:
    hint = get_type_hints(SECTIONS[section], include_extras=True)[name]
    return get_args(hint)[0] is Secret


def _checked(section: str, name: str, value: object, origin: str) -> object:
    hint = get_type_hints(SECTIONS[section], include_extras=True)[name]
    from_text = isinstance(value, str) and origin.startswith(PREFIX)
    try:
        if from_text and get_origin(get_args(hint)[0]) is tuple:
            value = _list(str(value))
        if from_text and get_origin(get_args(hint)[0]) is dict:
            value = _table(str(value))
        if _is_secret(section, name):
            return Secret(value if isinstance(value, str) else "")
        found = msgspec.convert(value, hint, strict=not from_text)
        if isinstance(found, float) and not isfinite(found):
            raise msgspec.ValidationError("Expected a finite number")
        return found
    except msgspec.ValidationError as error:
        place = origin if from_text else f"{origin}: {section}.{name}"
        raise SettingsError(f"{place}: {error}") from None


def _list(text: str) -> list[str]:
    """A list in a variable: comma-separated."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _table(text: str) -> dict[str, str]:
    """A table in a variable: comma-separated, each NAME=VALUE."""
    parts = [part.partition("=") for part in _list(text)]
    return {name.strip(): value.strip() for name, _, value in parts}


def _nearest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else f"; there are: {', '.join(sorted(known))}"
