"""`/definitions/{name}/{version}/…`: what the optimizer proposes for a version, and what it knows of its runs."""

from typing import Literal

import msgspec

from apex_fast.domain import WorkflowView
from apex_fast.gateway.bodies import Body
from apex_fast.gateway.house import House
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Answer, Route
from apex_fast.gateway.registry import check_tag
from apex_fast.gateway.suggestions import profile_of, said_of, take, version_of
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


class TakeBody(Body):
    """How a suggestion is taken."""

    tag: str = ""
    """Points at the version that is made, if it points at the one before; empty: no tag moves."""


class SuggestionTaken(msgspec.Struct):
    """A patch on the workflow that makes a version, durably."""

    patch_id: str
    status_url: str


_TAKE = msgspec.json.Decoder(TakeBody)


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
            Route("POST", "/definitions/{name}/{version}/suggestions/{pass}", "takeSuggestion",
                  "Make a version with what a pass proposes", "definitions", self.take,
                  [Answer(202, "The workflow is patched, durably", SuggestionTaken,
                          headers={"Location": "The patch on the workflow."})],
                  body=TakeBody, body_required=False,
                  problems=(*unknown, "PASS_NOT_FOUND", "CONFLICT", "LIMIT_EXCEEDED")),
        ]  # fmt: skip

    def _view(self, exchange: Exchange) -> WorkflowView:
        return version_of(self._house, exchange.tenant, exchange.params["name"], exchange.params["version"])

    def suggestions(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/{version}/suggestions`."""
        view = self._view(exchange)
        said = said_of(self._house, exchange.tenant, view)
        found, saved = [_shown(one) for one in said.suggestions], [_saved(one) for one in said.savings]
        answer = Suggestions(view.name, view.version, said.policy, said.state, said.profile_runs, found, saved)
        exchange.when_durable(lambda: exchange.answer(200, answer))

    def profile(self, exchange: Exchange) -> None:
        """`GET /definitions/{name}/{version}/profile`."""
        document = profile_of(self._house, exchange.tenant, self._view(exchange))
        exchange.when_durable(lambda: exchange.answer(200, msgspec.Raw(document)))

    def take(self, exchange: Exchange) -> None:
        """`POST /definitions/{name}/{version}/suggestions/{pass}`."""
        body = exchange.read(_TAKE) if exchange.body else TakeBody()
        if body.tag:
            check_tag(body.tag, "/tag")
        exchange.beside(self._take(exchange, self._view(exchange), exchange.params["pass"], body.tag))

    async def _take(self, exchange: Exchange, view: WorkflowView, name: str, tag: str) -> None:
        patch_id = await take(self._house, exchange.tenant, view, name, tag)
        url = f"/definitions/{view.name}/patches/{patch_id}"
        exchange.answer(202, SuggestionTaken(patch_id, url), [("location", url)])


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
