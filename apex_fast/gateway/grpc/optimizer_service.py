"""`apex.v1.OptimizerService`: what passes propose for versions."""

from apex_fast.gateway.admission import tenant_of
from apex_fast.gateway.grpc.method import Metadata, Method, unary
from apex_fast.gateway.house import House
from apex_fast.gateway.registry import check_tag
from apex_fast.gateway.suggestions import profile_of, said_of, take, version_of
from apex_fast.optimizer import Refusal
from apex_fast.optimizer.patch import Expected
from apex_fast.optimizer.savings import Saving
from apex_fast.optimizer.suggestions import Suggestion
from apex_fast.wire.apex.v1 import optimizer_pb2

SERVICE = "apex.v1.OptimizerService"


class OptimizerService:
    """The handlers; `methods` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def methods(self) -> list[Method]:
        """All methods of the service."""
        return [
            unary(SERVICE, "GetSuggestions", self.get_suggestions),
            unary(SERVICE, "TakeSuggestion", self.take_suggestion),
            unary(SERVICE, "GetProfile", self.get_profile),
        ]

    def get_suggestions(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetSuggestions`."""
        request = optimizer_pb2.GetSuggestionsRequest.FromString(message)
        tenant = tenant_of(metadata)
        view = version_of(self._house, tenant, request.name, request.version)
        said = said_of(self._house, tenant, view)
        answer = optimizer_pb2.Suggestions(
            name=view.name,
            version=view.version,
            policy=said.policy,
            state=optimizer_pb2.SuggestionsState.Value(f"SUGGESTIONS_STATE_{said.state}"),
            profile_runs=said.profile_runs,
            suggestions=[_suggestion(one) for one in said.suggestions],
            savings=[_saving(one) for one in said.savings],
        )
        self._answer(token, answer.SerializeToString())

    def take_suggestion(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`TakeSuggestion`."""
        request = optimizer_pb2.TakeSuggestionRequest.FromString(message)
        if request.tag:
            check_tag(request.tag, "/tag")
        tenant = tenant_of(metadata)
        view = version_of(self._house, tenant, request.name, request.version)

        async def work() -> None:
            patch_id = await take(self._house, tenant, view, request.pass_name, request.tag)
            self._house.outbox.grpc(token, optimizer_pb2.TakeSuggestionResponse(patch_id=patch_id).SerializeToString())

        self._house.beside_call(token, work())

    def get_profile(self, token: int, metadata: Metadata, message: bytes) -> None:
        """`GetProfile`."""
        request = optimizer_pb2.GetProfileRequest.FromString(message)
        tenant = tenant_of(metadata)
        view = version_of(self._house, tenant, request.name, request.version)
        answer = optimizer_pb2.Profile(profile_json=profile_of(self._house, tenant, view))
        self._answer(token, answer.SerializeToString())

    def _answer(self, token: int, answer: bytes) -> None:
        self._house.when_durable(token, lambda: self._house.outbox.grpc(token, answer))


def _amounts(amounts: Expected) -> optimizer_pb2.Amounts:
    return optimizer_pb2.Amounts(calls=amounts.calls, work_s=amounts.work_s, latency_s=amounts.latency_s)


def _suggestion(one: Suggestion) -> optimizer_pb2.Suggestion:
    outcome = one.outcome
    answer = optimizer_pb2.Suggestion(pass_name=one.name, hash=one.hash)
    if isinstance(outcome, Refusal):
        answer.refusal_code = outcome.code
        answer.refusal_reason = outcome.reason
        return answer
    answer.operations_json = bytes(outcome.operations)
    answer.findings.extend(optimizer_pb2.PassFinding(nodes=one.nodes, reason=one.reason) for one in outcome.findings)
    answer.expected.CopyFrom(_amounts(outcome.expected))
    answer.cacheable.extend(outcome.cacheable)
    return answer


def _saving(one: Saving) -> optimizer_pb2.Saving:
    return optimizer_pb2.Saving(
        passes=one.passes,
        runs=one.runs,
        runs_without=one.runs_without,
        expected=_amounts(one.expected),
        measured=_amounts(one.measured) if one.measured is not None else None,
    )
