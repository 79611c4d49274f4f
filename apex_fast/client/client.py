"""The client: workflows, runs, goals, approvals, schedules."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgspec

from apex_fast.authoring import Workflow
from apex_fast.client.blobs import Blob, BlobConnection
from apex_fast.client.connection import Connection
from apex_fast.client.optimizer import Suggestions
from apex_fast.client.patch_sets import Arm, TagInfo, WorkflowPatch, WorkflowPatchPage
from apex_fast.client.run import PATCHES, Run
from apex_fast.client.run import SERVICE as RUNS
from apex_fast.client.views import (
    Approval,
    BreakerInfo,
    DeadLetter,
    DeadLetterPage,
    Diagnostic,
    RunInfo,
    RunPage,
    ScheduleInfo,
    WorkflowInfo,
    value_of,
)
from apex_fast.errors import error_of
from apex_fast.wire.apex.v1 import (
    approval_pb2,
    common_pb2,
    optimizer_pb2,
    patch_pb2,
    run_pb2,
    schedule_pb2,
    workflow_pb2,
)

WORKFLOWS = "/apex.v1.WorkflowService"
OPTIMIZER = "/apex.v1.OptimizerService"
APPROVALS = "/apex.v1.ApprovalService"
SCHEDULES = "/apex.v1.ScheduleService"
START_BATCH = 256
STARTS_UNANSWERED_MAX = 4_096

Source = Workflow | Mapping[str, Any] | bytes | str


def definition_bytes(definition: Source) -> bytes:
    """The JSON bytes of a definition in any of its forms."""
    if isinstance(definition, Workflow):
        return definition.to_json()
    if isinstance(definition, str):
        return definition.encode()
    return definition if isinstance(definition, bytes) else msgspec.json.encode(definition)


def reference(name: str, version: str, tag: str) -> common_pb2.WorkflowRef:
    """A workflow and which version of it."""
    if version:
        return common_pb2.WorkflowRef(name=name, version=version)
    return common_pb2.WorkflowRef(name=name, tag=tag) if tag else common_pb2.WorkflowRef(name=name)


@dataclass(frozen=True)
class Entity:
    """Something found in a goal: ``text == goal[start:end]``."""

    type: str
    text: str
    start: int
    end: int
    slot: str


@dataclass(frozen=True)
class GoalRun:
    """The run that a goal became, and how."""

    run: Run
    entities: list[Entity]
    template: str
    source: str
    """`cache` or `model`."""
    workflow: str


class Client:
    """A connection to a gateway. Every method raises the exceptions of `apex_fast.errors`.

    >>> async with Client("127.0.0.1:7400") as client:
    ...     run = await client.start("hello", {"name": "Ada"})
    ...     print(await run.result())
    """

    def __init__(self, address: str = "127.0.0.1:7400", timeout_s: float = 30.0) -> None:
        """``timeout_s``: of a call that names no other; 0 for none."""
        self._connection = Connection(address, timeout_s)
        self._blobs = BlobConnection(address, timeout_s)

    async def close(self) -> None:
        """Give the connection back."""
        await self._blobs.close()
        await self._connection.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- workflows ------------------------------------------------------------------------------------------------

    async def register(self, definition: Source, tags: Sequence[str] = ()) -> WorkflowInfo:
        """Register a version. Raises DefinitionInvalid with every reason, Conflict where the version is taken."""
        request = workflow_pb2.RegisterWorkflowRequest(
            definition=common_pb2.Definition(definition_json=definition_bytes(definition)), tags=tags
        )
        answer = await self._connection.unary(
            f"{WORKFLOWS}/RegisterWorkflow", request, workflow_pb2.RegisterWorkflowResponse
        )
        return WorkflowInfo(answer.name, answer.version, answer.ir_hash, list(tags), None)

    async def validate(self, definition: Source) -> list[Diagnostic]:
        """Everything that is wrong with a definition; empty where it is fine."""
        request = workflow_pb2.ValidateWorkflowRequest(
            definition=common_pb2.Definition(definition_json=definition_bytes(definition))
        )
        answer = await self._connection.unary(
            f"{WORKFLOWS}/ValidateWorkflow", request, workflow_pb2.ValidateWorkflowResponse, retry=True
        )
        return [Diagnostic.of(diagnostic) for diagnostic in answer.diagnostics]

    async def workflow(self, name: str, version: str = "", tag: str = "") -> WorkflowInfo:
        """A registered version with its definition. Raises NotFound."""
        request = workflow_pb2.GetWorkflowRequest(workflow=reference(name, version, tag))
        return WorkflowInfo.of(
            await self._connection.unary(f"{WORKFLOWS}/GetWorkflow", request, workflow_pb2.Workflow, retry=True)
        )

    async def tag(self, name: str, version: str, tag: str, arms: Sequence[Arm] = ()) -> None:
        """Point a tag at a version; ``arms``: what shares of the starts by it run instead. Raises NotFound.

        Raises InvalidInput where the arms cannot be. The same arms on the same version go on as the same test, others
        begin one, none ends it.
        """
        parts = [workflow_pb2.TagArm(share=arm.share, **arm.selector()) for arm in arms]
        request = workflow_pb2.TagWorkflowRequest(name=name, version=version, tag=tag, arms=parts)
        await self._connection.unary(f"{WORKFLOWS}/TagWorkflow", request, workflow_pb2.TagWorkflowResponse)

    async def arms(self, name: str, tag: str = "main") -> TagInfo:
        """Where a tag points, its arms, and what became of their starts. Raises NotFound."""
        request = workflow_pb2.GetTagRequest(name=name, tag=tag)
        return TagInfo.of(await self._connection.unary(f"{WORKFLOWS}/GetTag", request, workflow_pb2.Tag, retry=True))

    async def patch_workflow(
        self,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        version: str = "",
        tag: str = "",
        set: str = "",
        reason: str = "",
        author: str = "",
        idempotency_key: str = "",
    ) -> str:
        """Change a workflow by JSON Patch (RFC 6902); the id of the patch, which waits for its batch, durably.

        ``version`` or ``tag``: on which version; a tag (`main` where neither is named) moves to the version with the
        patch. ``set``: the patch set; empty: `patches`, or that of the derived version. `workflow_patch` says what
        became of it. Raises NotFound, InvalidInput.
        """
        request = patch_pb2.ApplyPatchRequest(
            workflow=reference(name, version, tag),
            operations_json=msgspec.json.encode(operations),
            set=set,
            reason=reason,
            author=author,
            idempotency_key=idempotency_key,
        )
        answer = await self._connection.unary(
            f"{PATCHES}/ApplyPatch", request, patch_pb2.ApplyPatchResponse, retry=bool(idempotency_key)
        )
        return answer.patch_id

    async def workflow_patch(self, patch_id: str) -> WorkflowPatch:
        """A patch of a workflow: whether it waits, was applied or refused. Raises NotFound."""
        request = patch_pb2.GetPatchRequest(patch_id=patch_id)
        return WorkflowPatch.of(
            await self._connection.unary(f"{PATCHES}/GetPatch", request, patch_pb2.Patch, retry=True)
        )

    async def workflow_patches(self, name: str, limit: int = 100, page: str = "") -> WorkflowPatchPage:
        """The patches of a workflow, newest first. Raises NotFound."""
        request = patch_pb2.ListPatchesRequest(workflow=reference(name, "", ""), page_size=limit, page_token=page)
        answer = await self._connection.unary(
            f"{PATCHES}/ListPatches", request, patch_pb2.ListPatchesResponse, retry=True
        )
        return WorkflowPatchPage([WorkflowPatch.of(patch) for patch in answer.patches], answer.next_page_token)

    async def roll_back_workflow_patch(self, patch_id: str, reason: str = "") -> str:
        """Derive a version without a patch; that version. Raises PatchConflict, NotFound."""
        request = patch_pb2.RollbackPatchRequest(patch_id=patch_id, reason=reason)
        answer = await self._connection.unary(
            f"{PATCHES}/RollbackPatch", request, patch_pb2.RollbackPatchResponse, retry=True
        )
        return answer.patch.rolled_back_version

    async def suggestions(self, name: str, version: str) -> Suggestions:
        """What the optimizer proposes for a version, and what it saved. Raises NotFound."""
        request = optimizer_pb2.GetSuggestionsRequest(name=name, version=version)
        return Suggestions.of(
            await self._connection.unary(f"{OPTIMIZER}/GetSuggestions", request, optimizer_pb2.Suggestions, retry=True)
        )

    async def take_suggestion(self, name: str, version: str, pass_name: str, tag: str = "") -> str:
        """Have a version made with what a pass proposes; the id of the patch on the workflow. ``tag``: goes there, if
        it points at ``version``.

        Raises NotFound where the pass proposes nothing, Conflict where a later version was made of this one by passes.
        """
        request = optimizer_pb2.TakeSuggestionRequest(name=name, version=version, pass_name=pass_name, tag=tag)
        answer = await self._connection.unary(
            f"{OPTIMIZER}/TakeSuggestion", request, optimizer_pb2.TakeSuggestionResponse
        )
        return answer.patch_id

    async def profile(self, name: str, version: str) -> dict[str, Any]:
        """What was observed of the last runs of a version, as `apex optimize --profile` takes it. Raises NotFound."""
        request = optimizer_pb2.GetProfileRequest(name=name, version=version)
        answer = await self._connection.unary(f"{OPTIMIZER}/GetProfile", request, optimizer_pb2.Profile, retry=True)
        profile: dict[str, Any] = value_of(answer.profile_json)
        return profile

    # --- runs -----------------------------------------------------------------------------------------------------

    async def start(
        self,
        workflow: str,
        inputs: Any = None,
        *,
        version: str = "",
        tag: str = "",
        idempotency_key: str = "",
        labels: Mapping[str, str] | None = None,
        priority: str = "medium",
        fidelity: str = "",
    ) -> Run:
        """Start a run; it is durable when this returns. ``inputs``: anything msgspec encodes as a JSON object.

        ``fidelity``: full or fast; empty: the server's setting.
        """
        request = self._start(workflow, inputs, version, tag, idempotency_key, labels, priority, fidelity)
        answer = await self._connection.unary(
            f"{RUNS}/StartRun", request, run_pb2.StartRunResponse, retry=bool(idempotency_key)
        )
        return Run(self._connection, answer.run_id, answer.existing)

    async def start_many(
        self, workflow: str, inputs: Iterable[Any], *, version: str = "", tag: str = "", fidelity: str = ""
    ) -> list[Run]:
        """Start a run for each of ``inputs``, in order, over one stream. Raises the first refusal."""
        items = [self._start(workflow, one, version, tag, "", None, "medium", fidelity) for one in inputs]
        runs: list[Run | None] = [None] * len(items)
        # The gateway refuses what is beyond its bound for a stream: this stays below it.
        room = asyncio.Semaphore(STARTS_UNANSWERED_MAX)

        async def batches() -> AsyncIterator[run_pb2.StartRunsRequest]:
            for first in range(0, len(items), START_BATCH):
                batch = items[first : first + START_BATCH]
                for _ in batch:
                    await room.acquire()
                yield run_pb2.StartRunsRequest(batch_id=first, items=batch)

        answers = self._connection.bidi(f"{RUNS}/StartRuns", batches(), run_pb2.StartRunsResponse)
        async for answer in answers:
            for result in answer.results:
                room.release()
                if result.HasField("error"):
                    raise error_of(result.error.code, result.error.message)
                runs[answer.batch_id + result.index] = Run(self._connection, result.run_id, result.existing)
        return [run for run in runs if run is not None]

    def run(self, run_id: str) -> Run:
        """A handle for a run that was started elsewhere."""
        return Run(self._connection, run_id)

    async def runs(
        self,
        *,
        workflow: str = "",
        states: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        parent_run_id: str = "",
        limit: int = 100,
        page: str = "",
    ) -> RunPage:
        """Runs, newest first; with all of ``labels``; with ``parent_run_id`` those that its composite nodes started."""
        request = run_pb2.ListRunsRequest(
            page_size=limit,
            page_token=page,
            workflow=workflow,
            parent_run_id=parent_run_id,
            labels=labels,
            states=[common_pb2.RunState.Value(f"RUN_STATE_{state}") for state in states],
        )
        answer = await self._connection.unary(f"{RUNS}/ListRuns", request, run_pb2.ListRunsResponse, retry=True)
        return RunPage([RunInfo.of(run) for run in answer.runs], answer.next_page_token)

    async def publish(self, name: str, payload: Any = None, *, idempotency_key: str = "") -> int:
        """Tell every run that waits for a signal of this name; how many took it."""
        request = run_pb2.PublishSignalRequest(
            name=name, payload_json=msgspec.json.encode(payload), idempotency_key=idempotency_key
        )
        answer = await self._connection.unary(
            f"{RUNS}/PublishSignal", request, run_pb2.PublishSignalResponse, retry=bool(idempotency_key)
        )
        return answer.runs

    async def submit_goal(self, goal: str, *, idempotency_key: str = "") -> GoalRun:
        """Plan a goal and start it. Raises PlanNotFound."""
        request = run_pb2.SubmitGoalRequest(goal=goal, idempotency_key=idempotency_key)
        answer = await self._connection.unary(
            f"{RUNS}/SubmitGoal", request, run_pb2.SubmitGoalResponse, retry=bool(idempotency_key)
        )
        entities = [Entity(one.type, one.text, one.start, one.end, one.slot) for one in answer.entities]
        source = run_pb2.SubmitGoalResponse.Source.Name(answer.source).removeprefix("SOURCE_").lower()
        run = Run(self._connection, answer.run_id, answer.existing)
        return GoalRun(run, entities, answer.template, source, answer.workflow.name)

    @staticmethod
    def _start(
        workflow: str,
        inputs: Any,
        version: str,
        tag: str,
        idempotency_key: str,
        labels: Mapping[str, str] | None,
        priority: str,
        fidelity: str,
    ) -> run_pb2.StartRunRequest:
        return run_pb2.StartRunRequest(
            workflow=reference(workflow, version, tag),
            inputs_json=b"" if inputs is None else msgspec.json.encode(inputs),
            idempotency_key=idempotency_key,
            labels=labels,
            priority=common_pb2.Priority.Value(f"PRIORITY_{priority.upper()}"),
            fidelity=common_pb2.Fidelity.Value(f"FIDELITY_{fidelity.upper() or 'UNSPECIFIED'}"),
        )

    # --- approvals ------------------------------------------------------------------------------------------------

    async def approvals(self, run_id: str = "", limit: int = 100) -> list[Approval]:
        """Decisions that runs wait for, oldest first."""
        request = approval_pb2.ListApprovalsRequest(page_size=limit, run_id=run_id)
        answer = await self._connection.unary(
            f"{APPROVALS}/ListApprovals", request, approval_pb2.ListApprovalsResponse, retry=True
        )
        return [Approval.of(approval) for approval in answer.approvals]

    async def resolve(self, ticket: str, *, approve: bool, reason: str = "", edits: Any = None) -> None:
        """Decide. Raises NotFound, WrongState where it is decided."""
        decision = approval_pb2.APPROVAL_DECISION_APPROVE if approve else approval_pb2.APPROVAL_DECISION_REJECT
        request = approval_pb2.ResolveApprovalRequest(
            ticket=ticket,
            decision=decision,
            reason=reason,
            edits_json=b"" if edits is None else msgspec.json.encode(edits),
        )
        await self._connection.unary(f"{APPROVALS}/ResolveApproval", request, approval_pb2.ResolveApprovalResponse)

    # --- large values ---------------------------------------------------------------------------------------------

    async def put_blob(self, content: bytes, *, expected: str = "") -> Blob:
        """Store a large value; it is durable when this returns. Its `value` stands for it in inputs.

        ``expected``: the address that it must have. Raises TooLarge, LimitExceeded (QUOTA_EXCEEDED), InvalidInput.
        """
        return await self._blobs.put(content, expected)

    async def get_blob(self, address: str) -> bytes:
        """The bytes of a large value. Raises NotFound (BLOB_NOT_FOUND)."""
        return await self._blobs.get(address)

    # --- what went wrong ------------------------------------------------------------------------------------------

    async def dead_letters(
        self, *, workflow: str = "", function: str = "", run_id: str = "", limit: int = 100, page: str = ""
    ) -> DeadLetterPage:
        """What failed for good, newest first, until it is retried or dropped."""
        request = run_pb2.ListDeadLettersRequest(
            page_size=limit, page_token=page, workflow=workflow, function=function, run_id=run_id
        )
        answer = await self._connection.unary(
            f"{RUNS}/ListDeadLetters", request, run_pb2.ListDeadLettersResponse, retry=True
        )
        return DeadLetterPage([DeadLetter.of(letter) for letter in answer.dead_letters], answer.next_page_token)

    async def drop_dead_letter(self, letter_id: str) -> None:
        """Take a dead letter off the list. Raises NotFound."""
        request = run_pb2.DropDeadLetterRequest(id=letter_id)
        await self._connection.unary(f"{RUNS}/DropDeadLetter", request, run_pb2.DropDeadLetterResponse)

    async def retry_dead_letter(self, letter_id: str, *, allow_writes: bool = False) -> Run:
        """A new run that goes on from the node that failed; the letter leaves the list, where the run was started.

        Raises NotFound, InvalidInput (WRITES_NOT_ALLOWED, with each place).
        """
        request = run_pb2.RetryDeadLetterRequest(id=letter_id, allow_writes=allow_writes)
        answer = await self._connection.unary(f"{RUNS}/RetryDeadLetter", request, run_pb2.RetryDeadLetterResponse)
        return Run(self._connection, answer.run_id, answer.existing)

    async def breakers(self, limit: int = 100) -> list[BreakerInfo]:
        """Breakers of tools and hosts, by name: those that are not closed or have something to remember."""
        request = run_pb2.ListBreakersRequest(page_size=limit)
        answer = await self._connection.unary(f"{RUNS}/ListBreakers", request, run_pb2.ListBreakersResponse, retry=True)
        return [BreakerInfo.of(breaker) for breaker in answer.breakers]

    # --- schedules ------------------------------------------------------------------------------------------------

    async def put_schedule(
        self,
        name: str,
        workflow: str,
        inputs: Any = None,
        *,
        cron: str = "",
        time_zone: str = "",
        every_s: float = 0.0,
        jitter_s: float = 0.0,
        overlap: str = "skip",
        catch_up_s: float | None = None,
        version: str = "",
        tag: str = "",
        priority: str = "medium",
        labels: Mapping[str, str] | None = None,
        time_input: str = "",
    ) -> ScheduleInfo:
        """Set a schedule, by ``cron`` or ``every_s``; the same again changes nothing.

        ``overlap``: skip, buffer_one or allow. Raises InvalidInput with the place, NotFound.
        """
        spec = schedule_pb2.ScheduleSpec(
            workflow=reference(workflow, version, tag),
            inputs_json=b"" if inputs is None else msgspec.json.encode(inputs),
            cron=cron,
            time_zone=time_zone,
            every_s=every_s,
            jitter_s=jitter_s,
            overlap=schedule_pb2.ScheduleOverlap.Value(f"SCHEDULE_OVERLAP_{overlap.upper()}"),
            catch_up_s=catch_up_s,
            priority=common_pb2.Priority.Value(f"PRIORITY_{priority.upper()}"),
            labels=labels,
            time_input=time_input,
        )
        answer = await self._connection.unary(
            f"{SCHEDULES}/PutSchedule",
            schedule_pb2.PutScheduleRequest(name=name, spec=spec),
            schedule_pb2.PutScheduleResponse,
            retry=True,
        )
        return ScheduleInfo.of(answer.schedule)

    async def schedule(self, name: str) -> ScheduleInfo:
        """A schedule as it stands. Raises NotFound."""
        request = schedule_pb2.GetScheduleRequest(name=name)
        return ScheduleInfo.of(
            await self._connection.unary(f"{SCHEDULES}/GetSchedule", request, schedule_pb2.Schedule, retry=True)
        )

    async def schedules(self) -> list[ScheduleInfo]:
        """All schedules, by name."""
        found: list[ScheduleInfo] = []
        page = ""
        while True:
            request = schedule_pb2.ListSchedulesRequest(page_size=1_000, page_token=page)
            answer = await self._connection.unary(
                f"{SCHEDULES}/ListSchedules", request, schedule_pb2.ListSchedulesResponse, retry=True
            )
            found += [ScheduleInfo.of(schedule) for schedule in answer.schedules]
            page = answer.next_page_token
            if not page:
                return found

    async def delete_schedule(self, name: str) -> None:
        """Remove a schedule; its runs go on. Raises NotFound."""
        request = schedule_pb2.DeleteScheduleRequest(name=name)
        await self._connection.unary(f"{SCHEDULES}/DeleteSchedule", request, schedule_pb2.DeleteScheduleResponse)

    async def pause_schedule(self, name: str) -> ScheduleInfo:
        """Start nothing until it is resumed. Raises NotFound."""
        request = schedule_pb2.PauseScheduleRequest(name=name)
        answer = await self._connection.unary(
            f"{SCHEDULES}/PauseSchedule", request, schedule_pb2.PauseScheduleResponse, retry=True
        )
        return ScheduleInfo.of(answer.schedule)

    async def resume_schedule(self, name: str) -> ScheduleInfo:
        """Go on; what passed meanwhile is not caught up. Raises NotFound."""
        request = schedule_pb2.ResumeScheduleRequest(name=name)
        answer = await self._connection.unary(
            f"{SCHEDULES}/ResumeSchedule", request, schedule_pb2.ResumeScheduleResponse, retry=True
        )
        return ScheduleInfo.of(answer.schedule)
