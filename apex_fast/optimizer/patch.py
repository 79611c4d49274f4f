"""What a pass answers with, as `docs/formats/optimizer.md` says."""

import msgspec


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the patch is as it is: the nodes it is about, and one sentence."""

    nodes: list[str]
    reason: str


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run saves (or takes) on average: calls, seconds of work, seconds of waiting."""

    calls: float = 0.0
    work_s: float = 0.0
    latency_s: float = 0.0

    def __add__(self, other: "Expected") -> "Expected":
        return Expected(self.calls + other.calls, self.work_s + other.work_s, self.latency_s + other.latency_s)

    def __sub__(self, other: "Expected") -> "Expected":
        return Expected(self.calls - other.calls, self.work_s - other.work_s, self.latency_s - other.latency_s)

    @property
    def gain_s(self) -> float:
        """Seconds, of work or of waiting, whichever is more."""
        return max(self.work_s, self.latency_s)


class OptimizedPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proposal. `operations` is a JSON Patch (RFC 6902) as it was written; `cacheable` names nodes whose result may
    be kept for an equal input, which changes no operation."""

    operations: msgspec.Raw
    findings: list[Finding]
    expected: Expected
    cacheable: list[str] = []


class Output(msgspec.Struct, frozen=True):
    """The output document: a patch, nothing, or why the input was not understood."""

    patch: OptimizedPatch | None = None
    error: str | None = None
