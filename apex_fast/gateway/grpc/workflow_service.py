"""`apex.v1.WorkflowService`: the registry of definitions."""

from msgspec import structs

from apex_fast.domain import Definition, WorkflowView
from apex_fast.errors import NotFound, NotRunning
from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.arms import ArmOutcome, find_tag, outcomes, part_of
from apex_fast.gateway.bodies import invalid
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.house import House
from apex_fast.gateway.listing import list_workflows, page_size_of
from apex_fast.gateway.registry import (
    FIRST_TAG,
    TAGS_MAX,
    check_tag,
    diagnose,
    inputs_schema_of,
    register,
    tag_version,
)
from apex_fast.gateway.translate import diagnostic_messages, rfc3339, workflow_message
from apex_fast.wire.apex.v1 import common_pb2, workflow_pb2

SERVICE = "apex.v1.WorkflowService"


def _json_form(definition: common_pb2.Definition) -> bytes:
    form = definition.WhichOneof("form")
    if form == "definition_yaml":
        raise NotRunning("the YAML form of a definition is not read in this version: send definition_json")
    if form is None or not definition.definition_json:
        raise invalid("/definition/definition_json", "a definition is needed")
    return definition.definition_json


class WorkflowService:
    """The handlers; `methods` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def methods(self) -> list[Method]:
        """All methods of the service."""
        return [
            unary(SERVICE, "RegisterWorkflow", self.register_workflow),
            unary(SERVICE, "ValidateWorkflow", self.validate_workflow),
            unary(SERVICE, "GetWorkflow", self.get_workflow),
            unary(SERVICE, "ListWorkflows", self.list_workflows),
            unary(SERVICE, "TagWorkflow", self.tag_workflow),
            unary(SERVICE, "GetTag", self.get_tag),
        ]

    def register_workflow(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`RegisterWorkflow`. Registration is idempotent by itself; the key adds nothing."""
        request = workflow_pb2.RegisterWorkflowRequest.FromString(message)
        body = _json_form(request.definition)
        if len(request.tags) > TAGS_MAX:
            raise invalid("/tags", f"at most {TAGS_MAX} tags")
        for index, tag in enumerate(request.tags):
            check_tag(tag, f"/tags/{index}")
        tenant, tags = tenant_of(metadata), list(request.tags)

        async def work() -> None:
            done = await register(self._house, tenant, body, tags)
            found = done.definition
            answer = workflow_pb2.RegisterWorkflowResponse(
                name=found.name, version=found.version, ir_hash=found.hash, existing=done.existing
            )
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.beside_call(token, work())

    def validate_workflow(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ValidateWorkflow`."""
        tenant_of(metadata)
        body = _json_form(workflow_pb2.ValidateWorkflowRequest.FromString(message).definition)

        async def work() -> None:
            definition, found = await diagnose(self._house, body)
            answer = workflow_pb2.ValidateWorkflowResponse(valid=definition is not None)
            if definition is not None:
                answer.ir_hash = definition.hash
                answer.nodes = definition.node_count
                answer.edges = definition.edge_count
            answer.diagnostics.extend(
                diagnostic_messages((one.code, one.pointer, one.message, one.hint) for one in found)
            )
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.beside_call(token, work())

    def get_workflow(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetWorkflow`."""
        ref = workflow_pb2.GetWorkflowRequest.FromString(message).workflow
        version = ref.version or None
        tag = None if version else ref.tag or FIRST_TAG
        view = self._house.engine.workflow(tenant_of(metadata), ref.name, version, tag)
        if view is None:
            chosen = f"version {version!r}" if version else f"tag {tag!r}"
            raise NotFound(f"there is no workflow {ref.name!r} with {chosen}", code="WORKFLOW_NOT_FOUND")

        async def work() -> None:
            answer = await self._described(view)
            answer.definition_json = view.definition
            answer.inputs_schema_json = inputs_schema_of(view.definition)
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.when_durable(token, lambda: self._house.beside_call(token, work()))

    async def _described(self, view: WorkflowView) -> workflow_pb2.Workflow:
        answer = workflow_message(view)
        definition: Definition = await self._house.compiled(view)
        answer.nodes = definition.node_count
        answer.edges = definition.edge_count
        return answer

    def list_workflows(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`ListWorkflows`."""
        request = workflow_pb2.ListWorkflowsRequest.FromString(message)
        size = page_size_of(request.page_size)
        views, page = list_workflows(
            self._house.engine.workflows(tenant_of(metadata)), request.name, request.tag, size, request.page_token
        )

        async def work() -> None:
            answer = workflow_pb2.ListWorkflowsResponse(next_page_token=page)
            answer.workflows.extend([await self._described(view) for view in views])
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.when_durable(token, lambda: self._house.beside_call(token, work()))

    def tag_workflow(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`TagWorkflow`."""
        request = workflow_pb2.TagWorkflowRequest.FromString(message)
        check_tag(request.tag, "/tag")
        tenant = tenant_of(metadata)
        arms = [part_of(arm.version, arm.set, arm.share, f"/arms/{index}") for index, arm in enumerate(request.arms)]

        async def work() -> None:
            previous = await tag_version(
                self._house, tenant, request.name, request.version, request.tag, request.expected_version, arms
            )
            answer = workflow_pb2.TagWorkflowResponse(previous_version=previous)
            self._house.outbox.grpc(token, answer.SerializeToString())

        self._house.beside_call(token, work())

    def get_tag(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetTag`."""
        request = workflow_pb2.GetTagRequest.FromString(message)
        view = find_tag(self._house, tenant_of(metadata), request.name, request.tag)
        answer = workflow_pb2.Tag(
            name=request.name, tag=request.tag, version=view.version, began_time=rfc3339(view.began_ns)
        )
        answer.arms.extend(_arm_message(arm) for arm in outcomes(view.arms))
        self._house.when_durable(token, lambda: self._house.outbox.grpc(token, answer.SerializeToString()))


def _arm_message(arm: ArmOutcome) -> workflow_pb2.ArmOutcome:
    message = workflow_pb2.ArmOutcome(
        arm=arm.arm,
        version=arm.version,
        set=arm.set,
        share=arm.share,
        started=arm.started,
        running=arm.running,
        completed=arm.completed,
        failed=arm.failed,
        cancelled=arm.cancelled,
    )
    for estimate, place in (
        (arm.success_rate, message.success_rate),
        (arm.success_difference, message.success_difference),
    ):
        if estimate is not None:
            place.CopyFrom(workflow_pb2.Estimate(value=estimate.value, low=estimate.low, high=estimate.high))
    if arm.duration is not None:
        message.duration.CopyFrom(workflow_pb2.Durations(**structs.asdict(arm.duration)))
    return message
