"""`/definitions/{name}/{version}/…`: what the optimizer proposes for a version, and what it knows of its runs."""

from typing import Literal

import msgspec

from apex_fast.domain import WorkflowView
from apex_fast.errors import NotFound
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.optimizer import Refusal
from apex_fast.optimizer.patch import Expected, Finding
from apex_fast.optimizer.savings import Saving
from apex_fast.optimizer.suggestions import Suggestion


class PassRefused(msgspec.Struct):
    """Why nothing of what a pass said was taken."""

    code: str
    reason: str


class SuggestionShown(msgspec.Struct, omit_defaults=True):
    """What a pass proposes for a version by itself."""

    pass_name: str = msgspec.field(name="pass")
    hash: str
    """Of the module."""
    state: Literal["PROVED", "REFUSED"]
    operations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """RFC 6902, on the version."""
    findings: list[Finding] = []
    expected: Expected | None = None
    """That a run saves, on average."""
    cacheable: list[str] = []
    refusal: PassRefused | None = None


class SavingShown(msgspec.Struct, omit_defaults=True):
    """Runs that patches of passes were applied to, against runs that they were not; per run, on average."""

    passes: list[str]
    runs: int
    runs_without: int
    expected: Expected
    measured: Expected | None = None


class Suggestions(msgspec.Struct):
    """What the optimizer says of a version."""

    name: str
    version: str
    policy: Literal["off", "suggest", "apply"]
    state: Literal["OFF", "ASKING", "READY"]
    """ASKING: the passes have not answered yet; ask again."""
    profile_runs: int
    """Runs that the passes were told of."""
    suggestions: list[SuggestionShown]
    savings: list[SavingShown]


class ObservedShown(msgspec.Struct):
    """What was observed of a node."""

    starts_per_run: float
    mean_s: float
    """Of a start, all of its attempts together."""
    failures_per_run: float
    skips_per_run: float
    output_bytes: float


class ProfileShown(msgspec.Struct):
    """What was observed of the last runs of a version; `apex optimize --profile` takes it."""

    runs: int
    nodes: dict[str, ObservedShown]
    a_run: Expected | None = None


_NOTHING = msgspec.json.encode(ProfileShown(0, {}))


class SuggestionRoutes:
    """The handlers; `routes` is the table."""

    def __init__(self, house: House) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """All routes of the group."""
        unknown = ("WORKFLOW_NOT_FOUND",)
        return [
            Route("GET", "/definitions/{name}/{version}/suggestions", "getSuggestions",
                  "What the optimizer proposes for a version, and what it saved", "definitions", self.suggestions,
                  [Answer(200, "What the passes said", Suggestions)], problems=unknown),
            Route("GET", "/definitions/{name}/{version}/profile", "getProfile",
                  "What was observed of the runs of a version", "definitions", self.profile,
                  [Answer(200, "The profile", ProfileShown)], problems=unknown),
        ]  # fmt: skip

    def _view(self, exchange: Exchange) -> WorkflowView:
        name, version = exchange.params["name"], exchange.params["version"]
        view = self._house.engine.workflow(exchange.tenant, name, version)
        if view is None:
            raise NotFound(f"there is no workflow {name!r} with version {version!r}", code="WORKFLOW_NOT_FOUND")
        return view

    def suggestions(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/{version}/suggestions`."""
        view, optimizer = self._view(exchange), self._house.optimizer
        policy = optimizer.policy_of(view.name) if optimizer is not None else "off"
        answer = Suggestions(view.name, view.version, policy, "OFF", 0, [], [])
        if optimizer is not None and policy != "off":
            found = optimizer.suggested(exchange.tenant, view.name, view.version)
            answer.state = "ASKING" if found is None else "READY"
            if found is not None:
                answer.profile_runs = found.profile_runs
                answer.suggestions = [_shown(one) for one in found.suggestions]
            answer.savings = [_saved(one) for one in optimizer.savings(exchange.tenant, view.name, view.version)]
        exchange.when_durable(lambda: exchange.answer(200, answer))

    def profile(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/{version}/profile`."""
        view, optimizer = self._view(exchange), self._house.optimizer
        found = optimizer.profile(exchange.tenant, view.name, view.version) if optimizer is not None else None
        document = found.document() if found is not None else _NOTHING
        exchange.when_durable(lambda: exchange.answer(200, msgspec.Raw(document)))


def _shown(one: Suggestion) -> SuggestionShown:
    outcome = one.outcome
    if isinstance(outcome, Refusal):
        refused = PassRefused(outcome.code, outcome.reason)
        return SuggestionShown(pass_name=one.name, hash=one.hash, state="REFUSED", refusal=refused)
    return SuggestionShown(
        pass_name=one.name,
        hash=one.hash,
        state="PROVED",
        operations=outcome.operations,
        findings=outcome.findings,
        expected=outcome.expected,
        cacheable=outcome.cacheable,
    )


def _saved(one: Saving) -> SavingShown:
    return SavingShown(list(one.passes), one.runs, one.runs_without, one.expected, one.measured)
