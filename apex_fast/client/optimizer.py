"""What the server says of the optimizer, as Python values."""

from dataclasses import dataclass
from typing import Any

from apex_fast.client.views import value_of
from apex_fast.wire.apex.v1 import optimizer_pb2


@dataclass(frozen=True)
class Amounts:
    """Of a run, on average."""

    calls: float
    work_s: float
    latency_s: float
    """Seconds in which a call was in flight."""

    @staticmethod
    def of(amounts: optimizer_pb2.Amounts) -> "Amounts":
        """From the wire."""
        return Amounts(amounts.calls, amounts.work_s, amounts.latency_s)


@dataclass(frozen=True)
class Suggestion:
    """What a pass proposes for a version by itself."""

    pass_name: str
    hash: str
    """Of the module."""
    operations: list[dict[str, Any]]
    """JSON Patch on the version, proved to keep what it means; empty where the pass was refused."""
    reasons: list[str]
    expected: Amounts
    """That a run saves."""
    cacheable: list[str]
    refusal_code: str
    """Why nothing was taken; empty: something was."""
    refusal_reason: str

    @staticmethod
    def of(one: optimizer_pb2.Suggestion) -> "Suggestion":
        """From the wire."""
        return Suggestion(
            pass_name=one.pass_name,
            hash=one.hash,
            operations=value_of(one.operations_json) or [],
            reasons=[finding.reason for finding in one.findings],
            expected=Amounts.of(one.expected),
            cacheable=list(one.cacheable),
            refusal_code=one.refusal_code,
            refusal_reason=one.refusal_reason,
        )


@dataclass(frozen=True)
class Saving:
    """Runs that ended under patches of passes, against runs of the same version that ended under none."""

    passes: list[str]
    runs: int
    runs_without: int
    expected: Amounts
    measured: Amounts | None
    """None: there are no runs without."""

    @staticmethod
    def of(one: optimizer_pb2.Saving) -> "Saving":
        """From the wire."""
        measured = Amounts.of(one.measured) if one.HasField("measured") else None
        return Saving(list(one.passes), one.runs, one.runs_without, Amounts.of(one.expected), measured)


@dataclass(frozen=True)
class Suggestions:
    """What the optimizer says of a version."""

    policy: str
    """off, suggest or apply."""
    state: str
    """OFF, ASKING (the passes have not answered yet) or READY."""
    profile_runs: int
    """Runs that the passes were told of."""
    suggestions: list[Suggestion]
    savings: list[Saving]

    @staticmethod
    def of(said: optimizer_pb2.Suggestions) -> "Suggestions":
        """From the wire."""
        return Suggestions(
            policy=said.policy,
            state=optimizer_pb2.SuggestionsState.Name(said.state).removeprefix("SUGGESTIONS_STATE_"),
            profile_runs=said.profile_runs,
            suggestions=[Suggestion.of(one) for one in said.suggestions],
            savings=[Saving.of(one) for one in said.savings],
        )
