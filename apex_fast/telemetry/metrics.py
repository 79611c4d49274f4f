"""Metrics in the Prometheus text format.

The hot path adds to plain integers; what Prometheus wants is made of them when it asks. Gauges come from functions
that are named once (`watch`).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Names of workflows that get a label of their own; the rest is counted as "other" (a label is memory for life).
WORKFLOWS_MAX = 200
OTHER = "other"
_DURATION_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3_600, 86_400)
_PLANNING_BOUNDS_S = (0.00001, 0.000025, 0.00005, 0.0001, 0.001, 0.01, 0.1, 1, 5, 30)

Numbers = Callable[[], Mapping[str, int]]
PatchNumbers = Callable[[], list[tuple[tuple[str, str, str], int]]]

# What the rooms count up, by the names they use; everything else of theirs is a gauge.
_COUNTERS = frozenset(
    {
        "front_connections", "front_requests", "front_drains", "front_wakes", "front_refused", "front_cancelled",
        "front_deliveries", "front_slow_closed", "engine_position", "engine_durable", "engine_runs_ended",
        "engine_log_groups", "engine_log_records", "engine_log_syncs", "function_done", "function_stalls", "http_done",
        "correction_done", "engine_dead_letters_pushed_out",
    }
)  # fmt: skip

# What the machine counts under the names that users know it by.
_NAMED = {
    "engine_starts": ("workflow_started", "Runs started: asked for, by a schedule, or by another run."),
    "engine_retries": ("activity_retry_count", "Retries that were scheduled, of nodes and of compensations."),
    "engine_compensations": ("saga_compensations", "Nodes whose undoing began."),
    "engine_migrations": ("runs_migrated", "Runs that moved to another version of their workflow."),
    "engine_patches": ("patches_applied", "Patches of runs that were applied."),
    "engine_rollbacks": ("patches_rolled_back", "Patches of runs that were dropped."),
    "engine_workflow_patches_accepted": ("workflow_patches_accepted", "Patches on workflows that passed their gates."),
    "engine_workflow_patches_rejected": ("workflow_patches_rejected", "Patches on workflows that were refused."),
    "engine_versions_derived": ("versions_derived", "Versions that patches on workflows made."),
    "engine_breaker_changes": ("circuit_breaker_state_changes", "Breakers that opened, half-opened or closed."),
}

_NAMED_GAUGES = {
    "engine_workflow_patches_pending": ("workflow_patches_pending", "Patches on workflows that wait for their batch."),
}

# A line per histogram that says when the process began to count: the process's own start time says that.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Buckets:
    """A histogram of durations in plain integers: 0.3 µs an observation where the library's takes 1.2
    (2-core machine, Python 3.11)."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_DURATION_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one."""
        self._counts[bisect_left(_DURATION_BOUNDS_S, duration_s)] += 1
        self.sum_s += duration_s

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, how many up to it), the last one `+Inf`."""
        bounds = [*(str(float(bound)) for bound in _DURATION_BOUNDS_S), "+Inf"]
        return list(zip(bounds, accumulate(map(float, self._counts)), strict=True))


class Metrics(Collector):
    """Counters of this process. Called on the engine's loop only."""

    def __init__(self) -> None:
        self.goals = 0
        """Goals asked for: lookups in the plan cache."""
        self.plan_hits = 0
        """Goals whose plan was in the cache."""
        self.failures: dict[tuple[str, str], int] = {}
        """(transport, code) -> refused requests."""
        self._ended: dict[tuple[str, str], int] = {}
        self._watched: list[tuple[str, Numbers]] = []
        self._others: list[Callable[[], Iterable[Metric]]] = []
        self._patches: PatchNumbers = list
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        self._durations: dict[str, Buckets] = {}
        self.planning_time = Histogram(
            "planning_time_seconds",
            "From a goal to its plan.",
            registry=self.registry,
            buckets=_PLANNING_BOUNDS_S,
        )

    def watch(self, prefix: str, numbers: Numbers) -> None:
        """Show what ``numbers`` gives as gauges or counters whose names begin with ``prefix``."""
        self._watched.append((prefix, numbers))

    def add(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Show what somebody else counts with labels."""
        self._others.append(families)

    def watch_patches(self, numbers: PatchNumbers) -> None:
        """Show what became of patches: ((kind of author, outcome, gate), how many)."""
        self._patches = numbers

    def ended(self, workflow: str, state: str, duration_s: float) -> None:
        """Count a run that ended."""
        durations = self._durations.get(workflow)
        if durations is None:
            workflow = workflow if len(self._durations) < WORKFLOWS_MAX else OTHER
            durations = self._durations.setdefault(workflow, Buckets())
        durations.observe(duration_s)
        key = (workflow, state)
        self._ended[key] = self._ended.get(key, 0) + 1

    def failed(self, transport: str, code: str) -> None:
        """Count a refused request."""
        key = (transport, code)
        self.failures[key] = self.failures.get(key, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """All families, for the registry."""
        completed = CounterMetricFamily("workflow_completed", "Runs that ended, by state.", labels=["status"])
        by_state: dict[str, int] = {"completed": 0, "failed": 0, "cancelled": 0}
        executions = CounterMetricFamily(
            "workflow_executions", "Runs that ended, by workflow and state.", labels=["workflow_type", "status"]
        )
        for (workflow, state), count in sorted(self._ended.items()):
            executions.add_metric([workflow, state.lower()], count)
            by_state[state.lower()] = by_state.get(state.lower(), 0) + count
        for state, count in by_state.items():
            completed.add_metric([state], count)
        yield completed
        yield executions
        durations = HistogramMetricFamily(
            "workflow_duration_seconds", "From the start of a run to its end.", labels=["workflow_type"]
        )
        for workflow, buckets in sorted(self._durations.items()):
            durations.add_metric([workflow], buckets.cumulative(), buckets.sum_s)
        yield durations
        yield CounterMetricFamily("cache_lookups", "Goals looked up in the plan cache.", value=self.goals)
        yield CounterMetricFamily("cache_hits", "Goals whose plan was in the cache.", value=self.plan_hits)
        refused = CounterMetricFamily("requests_refused", "Requests refused.", labels=["transport", "code"])
        for (transport, code), count in sorted(self.failures.items()):
            refused.add_metric([transport, code], count)
        yield refused
        patches = CounterMetricFamily(
            "patches",
            "Patches of runs: by whom, what became of them, and the gate that refused them.",
            labels=["author_kind", "outcome", "gate"],
        )
        for labels, count in self._patches():
            patches.add_metric(labels, count)
        yield patches
        for prefix, numbers in self._watched:
            for name, value in sorted(numbers().items()):
                full = f"{prefix}{name}"
                if full in _NAMED:
                    known, meaning = _NAMED[full]
                    yield CounterMetricFamily(known, meaning, value=value)
                    continue
                if full in _NAMED_GAUGES:
                    known, meaning = _NAMED_GAUGES[full]
                    yield GaugeMetricFamily(known, meaning, value=value)
                    continue
                help_text = f"{full.replace('_', ' ')}."
                if full in _COUNTERS:
                    yield CounterMetricFamily(full, help_text, value=value)
                else:
                    yield GaugeMetricFamily(full, help_text, value=value)
        for families in self._others:
            yield from families()

    def text(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self.registry)
