"""The door: what the compiled core offers to Python. Batches in, batches out; nothing here calls Python.

Frozen classes are the Python types of the ideas they name; nothing is spelled a second time.
User values are UTF-8 JSON `bytes`. Times are integer nanoseconds since 1970. Run ids are `str` (UUIDv7).
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

_State: TypeAlias = Literal[
    "PENDING", "RUNNING", "WAITING", "PAUSED", "COMPENSATING", "COMPLETED", "FAILED", "CANCELLED"
]
_Priority: TypeAlias = Literal["high", "medium", "low"]

DESCRIPTOR_SET: bytes
"""Serialized `FileDescriptorSet` of `proto/apex/v1`."""

# --- ir -----------------------------------------------------------------------------------------------------------

@final
class Diagnostic:
    code: str
    pointer: str
    message: str
    hint: str

@final
class Definition:
    """A compiled definition."""

    name: str
    version: str
    hash: str
    canonical: bytes
    functions: list[str]
    node_count: int
    edge_count: int
    levels: list[int]
    facts: bytes
    def node_ids(self) -> list[str]: ...
    def check_inputs(self, inputs: bytes) -> list[Diagnostic]: ...
    def patched(self, operations: bytes) -> Definition:
        """The definition that a patch (RFC 6902, JSON) makes of this one. Raises CoreError (PATCH_INVALID) where it
        does not apply, CompileError where what it makes is no definition."""
    def overlaid(self, patches: Sequence[bytes]) -> Definition:
        """The definition that logged patches (`operations` of PatchApplied) make of this one, in order. Raises
        CoreError (PATCH_INVALID)."""
    def doubts(self, after: Definition) -> list[Diagnostic]:
        """Why it is not proved that runs of `after` do what runs of this one do; empty: it is proved."""

def compile(definition: bytes, functions: bytes | None = None) -> Definition:
    """Compile a definition (JSON). `functions`: JSON object name -> {effect, retry, timeout_s, compensation}, or None
    where functions live elsewhere. Raises CompileError."""

def check_value(value: bytes) -> None:
    """Raise CoreError where `value` is not a user value (see docs/decisions/0002)."""

def check_against(schema: bytes, value: bytes) -> list[Diagnostic]:
    """The faults of a value under a JSON Schema that stood in a definition; empty: it fits."""

# --- machine ------------------------------------------------------------------------------------------------------

@final
class RegisterWorkflow:
    def __new__(cls, tenant: str, canonical: bytes, tag: str | None = None) -> RegisterWorkflow: ...

@final
class TagWorkflow:
    """``arms``: (version, patch set, thousandths of the starts by the tag), one of the first two empty."""
    def __new__(
        cls,
        tenant: str,
        name: str,
        version: str,
        tag: str,
        expected_version: str | None = None,
        arms: list[tuple[str, str, int]] = ...,
    ) -> TagWorkflow: ...

@final
class PatchWorkflow:
    """Change a workflow: with the next batch a version is derived. ``operations``: RFC 6902 (JSON) on the definition as
    the patches before make it; neither ``version`` nor ``tag``: the tag `main`. ``rule``: what its author may,
    where `approve` is met if a person ``approved`` it, and refuses it else; ``at_once``: its batch does not wait.
    The answer's `details`: `{"patch_id"}`."""
    def __new__(
        cls,
        tenant: str,
        workflow: str,
        operations: bytes,
        rule: PatchRule,
        version: str | None = None,
        tag: str | None = None,
        set: str = "",
        reason: str = "",
        author: str = "",
        idempotency_key: str = "",
        at_once: bool = False,
        approved: bool = False,
    ) -> PatchWorkflow: ...

@final
class UnpatchWorkflow:
    """Derive a version without a patch of a workflow. ``rule``: what who asks may, of which only approvals count. The
    answer's `details`: `{"patch_id", "version"}`."""
    def __new__(
        cls, tenant: str, patch_id: str, rule: PatchRule, reason: str = "", by: str = ""
    ) -> UnpatchWorkflow: ...

@final
class StartRun:
    tenant: str
    priority: str
    def __new__(
        cls,
        tenant: str,
        workflow: str,
        version: str | None = None,
        tag: str | None = None,
        inputs: bytes | None = None,
        idempotency_key: str = "",
        correlation: str = "",
        priority: str = "medium",
        labels: dict[str, str] | None = None,
        goal: tuple[str, bytes, str, str, bytes] | None = None,
        fidelity: str = "",
    ) -> StartRun:
        """A start. The run's id is made when the machine takes it: its partition is that of (tenant, key) where there
        is a key, else the next in turn. ``goal``: (text, entities JSON, template, source, plan JSON).
        ``fidelity``: full, fast, or empty for what the machine was made with."""

@final
class ReplayRun:
    """A start from what another run did. `history`: all records of the origin, each after its length (u32-LE)."""

    tenant: str
    priority: str
    """Among starts; the run has the priority of its origin."""
    def __new__(
        cls,
        tenant: str,
        origin: str,
        history: bytes,
        from_node: str = "",
        live: bool = False,
        version: str | None = None,
        allow_writes: bool = False,
        idempotency_key: str = "",
    ) -> ReplayRun: ...

@final
class SupplyHistory:
    """The records that a replayed run needs after a crash; empty: they are gone."""

    def __new__(cls, run_id: str, history: bytes) -> SupplyHistory: ...

@final
class PutSchedule:
    """Sets a schedule; the same again changes nothing."""

    def __new__(
        cls,
        tenant: str,
        name: str,
        workflow: str,
        version: str | None = None,
        tag: str | None = None,
        inputs: bytes | None = None,
        cron: str = "",
        time_zone: str = "",
        every_ns: int = 0,
        jitter_ns: int = 0,
        overlap: str = "skip",
        catch_up_ns: int = 0,
        priority: str = "medium",
        labels: dict[str, str] | None = None,
        time_input: str = "",
    ) -> PutSchedule: ...

@final
class ChangeSchedule:
    def __new__(cls, tenant: str, name: str, change: str) -> ChangeSchedule:
        """``change``: pause, resume or remove."""

@final
class CancelRun:
    def __new__(
        cls, tenant: str, run_id: str, reason: str = "", compensate: bool = True, by: str = ""
    ) -> CancelRun: ...

@final
class PauseRun:
    """Hold a run. The answer's `details`: `{"checkpoint_id"}`."""
    def __new__(cls, tenant: str, run_id: str, reason: str = "", by: str = "") -> PauseRun: ...

@final
class ResumeRun:
    """Let a held run go on."""
    def __new__(cls, tenant: str, run_id: str, by: str = "") -> ResumeRun: ...

@final
class MigrateRun:
    """Move a run to another version of its workflow. The answer's `details`: `{"version", "epoch"}`."""
    def __new__(
        cls, tenant: str, run_id: str, version: str | None = None, tag: str | None = None, by: str = ""
    ) -> MigrateRun: ...

@final
class PatchRule:
    """What one kind of author of patches may. ``policy``: its patches take effect at once (`apply`), wait for a person
    (`approve`), or are refused. ``reaches_any``: they may do anything; else only what the definition does already, and
    reach these hosts, functions, workflows and models. Raises CoreError (BAD_VALUE)."""

    policy: str
    def __new__(
        cls,
        policy: str = "apply",
        reaches_any: bool = False,
        hosts: Sequence[str] = ...,
        functions: Sequence[str] = ...,
        workflows: Sequence[str] = ...,
        models: Sequence[str] = ...,
    ) -> PatchRule: ...

@final
class PatchRules:
    """What authors may, by their kind. ``functions``: the table for the compiler (JSON)."""

    client: PatchRule
    optimizer: PatchRule
    def __new__(
        cls, client: PatchRule, agent: PatchRule, optimizer: PatchRule, functions: bytes | None = None
    ) -> PatchRules: ...

@final
class ApplyPatch:
    """Change the definition of a run. ``operations``: RFC 6902 (JSON) on the definition at ``base_epoch`` (None: now);
    ``author``: `client`, `agent:<instance path>` or `optimizer:<pass>@<version>`; ``rules``: what they may;
    ``exact``: refused where the run is in another epoch than ``base_epoch``.
    The answer's `details`: `{"patch_id", "state", "epoch"}`."""
    def __new__(
        cls,
        tenant: str,
        run_id: str,
        operations: bytes,
        rules: PatchRules,
        reason: str = "",
        author: str = "client",
        base_epoch: int | None = None,
        idempotency_key: str = "",
        exact: bool = False,
    ) -> ApplyPatch: ...

@final
class ApprovePatch:
    """Decide about a patch that waits for a person. The answer's `details`: `{"patch_id", "state", "epoch"}`."""
    def __new__(
        cls, tenant: str, patch_id: str, approve: bool, rules: PatchRules, reason: str = "", by: str = ""
    ) -> ApprovePatch: ...

@final
class RollbackPatch:
    """Drop a patch of a run. The answer's `details`: `{"patch_id", "state", "epoch"}`."""
    def __new__(
        cls, tenant: str, patch_id: str, rules: PatchRules, reason: str = "", by: str = ""
    ) -> RollbackPatch: ...

@final
class SignalRun:
    """Tell a run something. `payload`: JSON, None is null."""
    def __new__(
        cls,
        tenant: str,
        run_id: str,
        name: str,
        payload: bytes | None = None,
        idempotency_key: str = "",
        by: str = "",
    ) -> SignalRun: ...

@final
class PublishSignal:
    """Tell every run of the tenant that waits for it. The answer's `details`: `{"runs"}`."""
    def __new__(
        cls, tenant: str, name: str, payload: bytes | None = None, idempotency_key: str = "", by: str = ""
    ) -> PublishSignal: ...

@final
class ResolveApproval:
    def __new__(
        cls,
        tenant: str,
        ticket: str,
        approve: bool,
        reason: str = "",
        edits: bytes | None = None,
        by: str = "",
    ) -> ResolveApproval: ...

@final
class JobResult:
    """The outcome of one attempt of a job."""

    job: int
    @staticmethod
    def ok(job: int, attempt: int, value: bytes) -> JobResult: ...
    @staticmethod
    def patched(
        job: int, attempt: int, value: bytes, operations: bytes, reason: str, base_epoch: int, rules: PatchRules
    ) -> JobResult:
        """A value, and a patch of the run (RFC 6902, JSON) that is decided before the value is routed."""
    @staticmethod
    def failed(job: int, attempt: int, type: str, message: str, retryable: bool | None = None) -> JobResult: ...
    @staticmethod
    def timed_out(job: int, attempt: int, message: str = "") -> JobResult: ...
    @staticmethod
    def cancelled(job: int, attempt: int, message: str = "") -> JobResult: ...

@final
class Heartbeat:
    """A sign of life of one attempt of a job; ``progress`` (JSON) is given back to the next attempt."""

    job: int
    def __new__(cls, job: int, attempt: int, progress: bytes | None = None) -> Heartbeat: ...

@final
class DropDeadLetter:
    """Take a dead letter off the list; ``retried_as``: the run that tries again."""

    def __new__(cls, tenant: str, id: str, by: str = "", retried_as: str = "") -> DropDeadLetter: ...

@final
class Erase:
    """Forget a tenant of which no run is open, or one ended run with those that ran for it."""

    def __new__(cls, tenant: str, run_id: str | None = None, by: str = "") -> Erase: ...

@final
class Tick:
    """Fire what is due."""
    def __new__(cls) -> Tick: ...

_Command: TypeAlias = (
    RegisterWorkflow
    | TagWorkflow
    | StartRun
    | ReplayRun
    | SupplyHistory
    | PutSchedule
    | ChangeSchedule
    | CancelRun
    | PauseRun
    | ResumeRun
    | MigrateRun
    | ApplyPatch
    | ApprovePatch
    | RollbackPatch
    | PatchWorkflow
    | UnpatchWorkflow
    | SignalRun
    | PublishSignal
    | ResolveApproval
    | JobResult
    | Heartbeat
    | DropDeadLetter
    | Erase
    | Tick
)

@final
class Job:
    """One node handed to an executor: one attempt of it."""

    id: int
    run_id: str
    node: str
    attempt: int
    kind: str
    """`function`, `http`, `agent` or `correction`."""
    name: str
    """The function's name; the model of a correction, empty for that of the settings; empty for http.
    Of an agent the model likewise."""
    input: bytes
    """Keyword arguments of a function (JSON object); the rendered request of http, config of an agent; of a correction
    an object with ``function``, ``input``, ``error`` (``type``, ``message``) and ``instructions``."""
    config: bytes
    idempotency_key: str
    timeout_s: float | None
    heartbeat_timeout_s: float | None
    progress: bytes
    """What the last heartbeat said, in this attempt or one before (JSON); empty: nothing."""
    compensation: bool
    patching: tuple[bytes, int, bytes] | None
    """Of an agent that may patch its run: the definition that the run goes on under, its epoch, and the last patches of
    agents that the run refused (a JSON list)."""
    tenant: str
    priority: _Priority
    max_attempts: int

@final
class Reply:
    """The answer to a command; what it says is durable."""

    token: int
    code: str
    """Empty where the command was taken, else the code of the error."""
    message: str
    run_id: str
    offset: int
    existing: bool
    state: str
    """State of the run, where the answer is about one."""
    details: bytes
    """JSON: more about an error (`errors: [{pointer, detail}]`) or an answer (registered version, hash, …)."""

@final
class Ended:
    """A run that ended, durably."""

    run_id: str
    tenant: str
    workflow: str
    state: _State
    started_ns: int
    ended_ns: int

@final
class RunView:
    run_id: str
    tenant: str
    workflow: str
    version: str
    ir_hash: str
    state: _State
    started_ns: int
    ended_ns: int | None
    offset: int
    """Offset of the last event."""
    head: int
    """Log position of the last event."""
    nodes_done: int
    nodes_total: int
    phase: list[str]
    error: bytes | None
    correlation: str
    labels: dict[str, str]
    priority: _Priority
    epoch: int
    patches: int
    """Patches that it was given: applied, dropped, waiting, rejected."""
    patch_records: list[tuple[int, int, int]]
    """Of each record about a patch: number of the patch, offset, log position. Of those that were refused in results
    the last ones only."""
    fidelity: Literal["full", "fast"]
    goal: str
    parent_run_id: str
    """The run whose composite node it runs for; empty: of none."""
    parent_node: str
    """Instance path of that node."""
    tag: str
    """It was started by a tag with arms; empty: by none."""
    arm: str
    quarantined: bool

@final
class ApprovalView:
    ticket: str
    run_id: str
    node: str
    prompt: str
    requested_ns: int
    due_ns: int | None
    escalated_to: list[str]
    tenant: str
    workflow: str
    version: str

@final
class DeadLetterView:
    """A node that failed for good."""

    id: str
    run_id: str
    node: str
    attempt: int
    error_type: str
    error_message: str
    workflow: str
    version: str
    function: str
    """The function, or the type of the node."""
    time_ns: int

@final
class BreakerView:
    """The breaker of a tool or host."""

    name: str
    state: Literal["closed", "open", "half_open"]
    failures: int
    """In a row, since it changed."""
    due_ns: int | None
    """When more is let through."""
    changed_ns: int | None

@final
class WorkflowView:
    name: str
    version: str
    hash: str
    tags: list[str]
    registered_ns: int
    definition: bytes
    """Canonical JSON."""
    base_version: str
    """What it was derived from; empty: it was not."""
    set: str
    generation: int
    patches: list[str]
    """Ids of the patches in it; empty in lists."""

@final
class WorkflowPatchView:
    """A patch on a workflow."""

    patch_id: str
    workflow: str
    base_version: str
    set: str
    tag: str
    """Moves to the version with it; empty: none."""
    operations: bytes
    """RFC 6902, as sent (canonical JSON)."""
    author: str
    reason: str
    proposed_ns: int
    due_ns: int
    """When its batch begins, at the latest."""
    status: Literal["PENDING", "APPLIED", "REJECTED", "ROLLED_BACK"]
    version: str
    """The first with it; empty: there is none."""
    decided_ns: int | None
    gate: str
    """That refused it: shape, meaning, security or limit."""
    code: str
    message: str
    details: bytes
    """Of the refusal: JSON `{"errors": [{"pointer", "detail", "code"}]}`, or empty."""
    rolled_back_in: str
    """The first version without it; empty: there is none."""
    rolled_back_reason: str

@final
class ArmView:
    """A part of the starts by a tag, and what became of them."""

    arm: str
    """`control`, a version, or `<base version>+<set>`."""
    version: str
    """What it runs now."""
    set: str
    """Empty: it runs a version."""
    share: int
    """Of a thousand starts."""
    started: int
    completed: int
    failed: int
    cancelled: int
    duration_sum_ns: int
    """Of those that completed."""
    duration_quantiles_ns: tuple[int | None, int | None, int | None]
    """50 %, 90 % and 99 % of them, within 6.25 %."""

@final
class TagView:
    """A tag and its arms, the control first; no arms where all starts run its version."""

    tag: str
    version: str
    began_ns: int | None
    """When the test of these arms began."""
    arms: list[ArmView]

@final
class ScheduleView:
    name: str
    workflow: str
    version: str
    tag: str
    inputs: bytes
    cron: str
    """Empty: `every_ns` counts."""
    time_zone: str
    every_ns: int
    jitter_ns: int
    overlap: Literal["skip", "buffer_one", "allow"]
    catch_up_ns: int
    priority: _Priority
    labels: dict[str, str]
    time_input: str
    changed_ns: int
    paused: bool
    next_ns: int | None
    buffered_ns: int | None
    upcoming_ns: list[int]
    """At most 5; only in the view of one schedule."""
    runs_open: int
    last: ScheduleFiring | None

@final
class ScheduleFiring:
    """What a time of a schedule came to."""

    time_ns: int
    decided_ns: int
    action: Literal["started", "skipped", "buffered", "missed", "failed"]
    run_id: str
    error_code: str
    error_message: str

@final
class Turn:
    count: int
    position: int
    more: bool
    size: int
    """Bytes of its records."""
    def records(self) -> bytes:
        """u32-LE length-prefixed record bodies (docs/decisions/0001)."""

@final
class Capture:
    """The state at one moment, to be written without the machine."""

    position: int
    def bytes(self) -> bytes:
        """A snapshot; the GIL is released. Raises CoreError the second time: it gives what it holds away."""

@final
class Machine:
    def __new__(
        cls, partitions: int = 64, term: int = 1, limits: dict[str, int] | None = None, fidelity: str = "full"
    ) -> Machine: ...
    def step(self, now_ns: int, commands: list[tuple[int, _Command]]) -> Turn:
        """Decide a batch of (token, command); token 0 wants no reply. The GIL is released for a large batch."""
    def advance(self, position: int) -> tuple[list[Job], list[int], list[Reply], list[Ended]]:
        """Jobs to hand out, ids of jobs to cancel, replies, runs that ended: all that the position releases."""
    def apply(self, position: int, records: bytes) -> int:
        """Recovery: fold records (length-prefixed bodies) from `position` on; the position after them."""
    def recovered(self) -> list[Job]:
        """After the last apply: the jobs in flight, handed out again with the same attempt and key."""
    def history_needed_from(self, ended_ns: int) -> int:
        """No record from before this time is of a run that is open, or ended at `ended_ns` or later."""
    def histories_wanted(self) -> list[tuple[str, str, str]]:
        """(tenant, run, origin): runs that begin nothing before they have the records of the run they replay."""
    def next_due(self) -> int | None: ...
    def snapshot(self) -> bytes: ...
    def capture(self) -> Capture:
        """What `snapshot` would give, taken quickly."""
    @staticmethod
    def restore(
        snapshot: bytes, term: int, partitions: int = 64, limits: dict[str, int] | None = None, fidelity: str = "full"
    ) -> Machine: ...
    def run(self, tenant: str, run_id: str) -> RunView | None: ...
    def runs(
        self,
        tenant: str,
        limit: int,
        page: str = "",
        states: Sequence[str] | None = None,
        workflow: str = "",
        version: str = "",
        labels: dict[str, str] | None = None,
        started_after_ns: int | None = None,
        started_before_ns: int | None = None,
        parent_run_id: str = "",
    ) -> tuple[list[RunView], str]:
        """Newest first; the page token of the next page, empty at the end."""
    def approvals(
        self, tenant: str, limit: int, page: str = "", run_id: str = ""
    ) -> tuple[list[ApprovalView], str]: ...
    def dead_letters(
        self, tenant: str, limit: int, page: str = "", workflow: str = "", function: str = "", run_id: str = ""
    ) -> tuple[list[DeadLetterView], str]:
        """Newest first, and the token of the next page."""
    def dead_letter(self, tenant: str, id: str) -> DeadLetterView | None: ...
    def breakers(self, tenant: str, limit: int, page: str = "") -> tuple[list[BreakerView], str]:
        """By name: those that are not closed, count failures, or keep outputs."""
    def query(self, tenant: str, run_id: str, expression: str) -> tuple[bytes, int, int]:
        """JSON, offset and epoch of the run. Raises CoreError."""
    def definition_of(self, tenant: str, run_id: str) -> tuple[bytes, int]:
        """The definition that an open run goes on under (canonical JSON), and its epoch. Raises CoreError."""
    def workflows(self, tenant: str) -> list[WorkflowView]: ...
    def workflow(
        self, tenant: str, name: str, version: str | None = None, tag: str | None = None
    ) -> WorkflowView | None: ...
    def schedule(self, tenant: str, name: str) -> ScheduleView | None: ...
    def schedules(self, tenant: str, limit: int, page: str = "") -> tuple[list[ScheduleView], str]:
        """By name; the page token of the next page, empty at the end."""
    def know_functions(self, functions: bytes | None = None) -> None:
        """The table of this process's functions for the compiler (JSON): patches on workflows are judged by it. None:
        functions are taken as named. Raises CoreError."""
    def workflow_patches(
        self, tenant: str, workflow: str, set: str = "", limit: int = 100, page: str = ""
    ) -> tuple[list[WorkflowPatchView], str]:
        """Patches on a workflow, newest first; ``set``: those of `<base version>+<set>`."""
    def workflow_patch(self, tenant: str, patch_id: str) -> WorkflowPatchView | None: ...
    def arms(self, tenant: str, workflow: str, tag: str) -> TagView | None:
        """A tag and its arms; None where there is no such tag."""
    def patch_counts(self) -> list[tuple[tuple[str, str, str], int]]:
        """Patches since the process began: ((kind of author, outcome, gate), how many)."""
    def counts(self) -> dict[str, int]:
        """Gauges: runs open, jobs in flight, timers, approvals, events, …"""

# --- events -------------------------------------------------------------------------------------------------------

@final
class Event:
    """A durable event, read from a record body."""

    run_id: str
    offset: int
    type: str
    time_ns: int
    epoch: int
    position: int
    previous: int | None
    """Log position of the run's previous event."""
    tenant: str
    partition: int
    sequence: int
    """Number of the record in its partition."""
    term: int
    causation: int | None
    """Offset of the event of the run that led here; None: something from outside."""
    correlation: str
    """Empty: the run id."""
    ends_run: bool
    body: bytes
    """The bytes of its record."""
    payload: bytes
    def json(self) -> bytes:
        """The event as JSON for HTTP."""
    def sse(self) -> bytes:
        """The event as one SSE frame, `id:` the offset."""
    def proto(self) -> bytes:
        """The event as `apex.v1.Event`."""

# --- histories ----------------------------------------------------------------------------------------------------

@final
class HistoryChecked:
    """A history that this engine reads and decides as it was decided."""

    run_id: str
    records: int
    decided: int
    """How many of them this engine decided anew; the others came from outside."""

def view_at(events: Sequence[Event]) -> RunView:
    """The run as it stood after its first events. Raises CoreError (HISTORY_INVALID)."""

def node_states(events: Sequence[Event]) -> dict[str, Literal["skipped", "done", "waiting", "running", "failed"]]:
    """Where the nodes of a run stood after its first events, by id; of one in a body, the instance that says most (the
    later of these words). Nodes to which nothing happened are not there. Raises CoreError (HISTORY_INVALID)."""

def query_history(file: bytes, expression: str) -> tuple[bytes, int, int]:
    """JSON, offset and epoch of a question about the run of a history, after its last record. Raises CoreError
    (HISTORY_INVALID, EXPRESSION_INVALID, EXPRESSION_FAILED, RUN_ENDED)."""

def history_header(engine: str, run_id: str, tenant: str, definitions: Sequence[WorkflowView]) -> bytes:
    """What stands before the records in a history file (docs/formats/history.md)."""

def check_history(file: bytes) -> HistoryChecked:
    """Read a history and decide it anew.

    Raises CoreError: HISTORY_INVALID (no history, or one that was changed), HISTORY_DIFFERS (decided otherwise).
    """

@final
class Followed:
    """The runs whose events someone watches."""

    def __new__(cls) -> Followed: ...
    def add(self, run_id: str) -> None: ...
    def discard(self, run_id: str) -> None: ...
    def __len__(self) -> int: ...
    def events(self, turn: Turn) -> list[Event]:
        """The turn's events of these runs, in order."""

def read_event(position: int, body: bytes) -> Event:
    """Raises CoreError(BAD_RECORD)."""

def split_records(records: bytes) -> list[bytes]: ...

# --- log ----------------------------------------------------------------------------------------------------------

@final
class Log:
    """The embedded log: group commit in its own thread (crates/log)."""

    @staticmethod
    def open(
        path: str,
        segment_bytes: int | None = None,
        archive_after_segments: int | None = None,
        key_file: str | None = None,
    ) -> Log: ...
    position: int
    """Number of records found at opening."""
    term: int
    cut: str | None
    """What recovery cut from the tail, in words."""
    snapshot: tuple[int, bytes] | None
    damaged_snapshots: list[str]
    """Snapshots that were passed over because they do not verify."""
    def fileno(self) -> int: ...
    def rearm(self) -> int:
        """Drain the wake-up and return the durable position. Raises LogError once the log is poisoned."""
    def append(self, turn: Turn) -> int: ...
    def durable(self) -> int: ...
    def space(self) -> str:
        """`ample`; `low`: take no new work; `out`: append raises FULL until there is room again."""
    def wait_durable(self, position: int, timeout_s: float) -> int: ...
    def read(self, position: int) -> bytes | None: ...
    def scan(self, start: int, bytes_max: int) -> tuple[bytes, int]:
        """Length-prefixed bodies from `start`, and their count."""
    def timeline(self, head: int, from_offset: int, limit: int) -> list[Event]:
        """Events of the run whose last event is at `head`, ascending, offset >= from_offset."""
    def save_snapshot(self, position: int, snapshot: bytes) -> None: ...
    def trim(self, before_ns: int) -> int:
        """Forget whole segments whose records were all decided before a time, below the older snapshot; the first
        position that is kept."""
    def open_blobs(self, path: str, quota_bytes: int) -> Blobs:
        """The blobs in a folder that goes with this log; close the log last. Raises LogError."""
    def wait_archived(self, timeout_s: float) -> bool:
        """Wait until what the last snapshot let go is archived, or could not be."""
    def stats(self) -> dict[str, int]: ...
    def close(self) -> None: ...

@final
class Blobs:
    """Large values beside the log, by the SHA-256 of their content (crates/log)."""

    def put(self, tenant: str, content: bytes, expected: str | None = None) -> tuple[str, int, bool]:
        """Address, bytes, and whether it was there; durable on return. Raises LogError (QUOTA, INVALID, FULL, IO)."""
    def get(self, tenant: str, address: str) -> bytes | None:
        """The whole content. Raises LogError (DAMAGED, IO)."""
    def size(self, tenant: str, address: str) -> int | None: ...
    def used(self, tenant: str) -> int: ...
    def stats(self) -> dict[str, int]: ...

@final
class LogView:
    """A log as it is at this moment, to read, whoever serves it: nothing is locked, written or removed."""

    @staticmethod
    def open(path: str, key_file: str | None = None) -> LogView:
        """Raises LogError (DAMAGED, KEY, IO)."""
    position: int
    """Number of records."""
    start: int
    """The first position that can be read."""
    term: int
    unfinished: str | None
    """Bytes behind the last whole group, in words: being written, or torn."""
    snapshot: tuple[int, bytes] | None
    chain: str
    """Hash of the last group, hex."""
    def files(self) -> list[tuple[str, int, bool]]:
        """(name, bytes from its beginning that count, whether it never changes any more), oldest first."""
    def scan(self, start: int, bytes_max: int) -> tuple[bytes, int]:
        """Length-prefixed bodies from `start`, and their count."""

@final
class LogVerdict:
    """What a look at every byte of a log came to."""

    position: int
    start: int
    term: int
    chain: str
    """Hash of the last group, hex."""
    files: int
    bytes: int
    unfinished: str | None
    damaged_snapshots: list[str]
    damage: tuple[str, int, int, str] | None
    """(file, byte offset, position, reason) of the first record that cannot be trusted."""

def verify_log(path: str, key_file: str | None = None) -> LogVerdict:
    """Walk every group, link and run of a log that may be served meanwhile. Raises LogError (KEY, IO)."""

def machine_limits() -> dict[str, int]:
    """The bounds of the machine where nobody changed them, by name."""

def count_erasable(path: str, tenant: str, run_id: str | None = None, key_file: str | None = None) -> int:
    """How many records `erase_log` would erase. Changes nothing; raises what it would raise."""

def erase_log(
    path: str, blobs: str, below: int, tenant: str, run_id: str | None = None, key_file: str | None = None
) -> tuple[int, int, int]:
    """Destroy the keys of records before position ``below``, and of blobs: those of a tenant, or the records of one of
    its runs and of those that ran for it. A snapshot must stand at ``below`` or later. (records, archives made anew,
    blobs). Raises LogError (LOCKED, KEY, INVALID, DAMAGED, IO): begun again, it goes on."""

def sweep_log(path: str, blobs: str, old: set[str], key_file: str | None = None) -> tuple[int, int, int]:
    """Remove blobs that no record names and whose file is named in ``old``, and data keys that no file needs. (blobs,
    their bytes, keys). Raises LogError (LOCKED, KEY, DAMAGED, IO)."""

# --- front --------------------------------------------------------------------------------------------------------

@final
class Front:
    """The front door (crates/front): listeners and framing on threads of its own."""

    @staticmethod
    def start(
        host: str,
        port: int,
        grpc_methods: Sequence[tuple[str, str]],
        options: dict[str, float] | None = None,
    ) -> Front:
        """`grpc_methods`: (path, "unary" | "server_stream" | "bidi"); a request names its method by index."""
    port: int
    def fileno(self) -> int: ...
    def drain(self, limit: int) -> list[tuple[Any, ...]]:
        """Requests, each a tuple whose first item is its kind:

        ``(0, token, method, metadata, message)``           gRPC request of a unary or server-streaming method
        ``(1, token, message)``                             a message of a bidi stream
        ``(2, token)``                                      the client of a bidi stream sends no more
        ``(3, token, method, path, query, headers, body)``  HTTP
        ``(4, token)``                                      the client went away, or its deadline passed
        ``(5, token, method, metadata)``                    a bidi stream opens
        ``(6, token)``                                      a stream asks for more (``tell_when_drained``)

        ``method`` of gRPC is the index into the table given to `start`; ``metadata`` and ``headers`` are dicts with
        names in lower case.
        """
    def reply(self, replies: list[tuple[Any, ...]]) -> None:
        """Replies, each a tuple whose first item is its kind:

        ``(0, token, message)``                              gRPC answer
        ``(1, token, code, message, details)``               gRPC error; details: serialized google.rpc.Status or b""
        ``(2, token, status, headers, body)``                HTTP answer; headers: list of (name, value)
        ``(3, token, topic, backlog, next_offset, headers, tell_when_drained)``  a stream (gRPC or SSE) begins
        ``(4, token, frames, topic, next_offset, tell_when_drained)``            more of a stream
        ``(5, token, code, message, details)``               a stream ends; code 0: well

        ``topic``: run id that the stream follows from ``next_offset`` on, or None. ``backlog`` and ``frames``: list of
        (offset or None, bytes): a serialized gRPC message, or a ready SSE frame.
        """
    def publish(self, events: Sequence[tuple[str, int, bytes, bytes]]) -> int:
        """(topic, offset, serialized gRPC message, SSE frame) of each event, in order; the number of deliveries."""
    def hold(self, token: int, held: bool) -> None:
        """Read no more of a bidirectional call (flow control slows its client), or go on. What was read still comes."""
    def subscribers(self, topic: str) -> tuple[int, int]:
        """How many follow the topic: (gRPC, SSE). Give `publish` ``b""`` for an encoding that nobody reads."""
    def end_topic(self, topic: str) -> None: ...
    def stop_accepting(self) -> None: ...
    def shutdown(self, grace_s: float) -> bool:
        """Stop accepting, wait for the connections to end; True if nothing was cut off. Blocks: not on the loop."""
    def stats(self) -> dict[str, int]: ...

# --- recall -------------------------------------------------------------------------------------------------------

@final
class Entity:
    """An entity of a text: ``text == goal[start:end]``, offsets in characters."""

    kind: str
    """LOCATION, DATE, TIME, EMAIL, PERSON, MONEY, NUMBER, URL, PHONE or QUOTED."""
    text: str
    start: int
    end: int

@final
class Recognizer:
    """The vocabulary and lists of names; built once (about 15 ms), shared."""

    def __new__(cls) -> Recognizer: ...
    def extract(self, text: str) -> list[Entity]: ...
    def template(self, text: str) -> str:
        """The text with its entities as typed slots, normalized."""

@final
class PlanMatch:
    """The phrasing that a goal fits."""

    template: int
    tier: str
    """`template`: the recognized template is the phrasing; `words`: its literal words frame the slots."""
    slots: list[tuple[str, str]]
    entities: list[Entity]

@final
class Catalogue:
    """The phrasings of all plan templates. `add` and `find` may be called from any thread."""

    def __new__(cls, recognizer: Recognizer) -> Catalogue: ...
    def add(self, template: int, phrasings: list[str]) -> int:
        """All or none; the number of those that are new to the template. Raises CoreError (PHRASING_INVALID)."""
    def find(self, goal: str) -> PlanMatch | None: ...
    def __len__(self) -> int: ...

# --- ids ----------------------------------------------------------------------------------------------------------

def new_run_id(partition: int) -> str: ...
def partition_of(run_id: str) -> int: ...
