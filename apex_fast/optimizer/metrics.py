"""The optimizer in numbers, for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from apex_fast.optimizer.counts import Counts
from apex_fast.optimizer.patch import Expected
from apex_fast.optimizer.savings import Ledger


def families(counts: Counts, ledger: Ledger) -> Iterator[Metric]:
    """All of them."""
    patches = CounterMetricFamily(
        "optimizer_patches",
        "Proposals of passes: proposed (and proved), applied, held (for a person), refused (with the code).",
        labels=["pass", "outcome", "code"],
    )
    for labels, count in sorted(counts.outcomes.items()):
        patches.add_metric(labels, count)
    yield patches
    runs = GaugeMetricFamily("optimizer_saving_runs", "Runs behind what a pass was seen to save.", labels=["pass"])
    expected = GaugeMetricFamily(
        "optimizer_expected_saving", "What a pass said that a run would save.", labels=["pass", "of"]
    )
    measured = GaugeMetricFamily(
        "optimizer_measured_saving", "What such a run took less than runs without.", labels=["pass", "of"]
    )
    for name, (count, said, seen) in sorted(ledger.by_pass().items()):
        runs.add_metric([name], count)
        for family, saving in ((expected, said), (measured, seen)):
            for of, amount in _parts(saving):
                family.add_metric([name, of], amount)
    yield from (runs, expected, measured)


def _parts(saving: Expected) -> Iterator[tuple[str, float]]:
    yield "calls", saving.calls
    yield "work_seconds", saving.work_s
    yield "latency_seconds", saving.latency_s
