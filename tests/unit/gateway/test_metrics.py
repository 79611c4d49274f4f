"""Metrics: the text parses, and the numbers are those that were counted."""

from prometheus_client.parser import text_string_to_metric_families

from apex_fast.telemetry.metrics import WORKFLOWS_MAX, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_what_is_counted_is_shown() -> None:
    metrics = Metrics()
    metrics.goals += 2
    metrics.plan_hits += 1
    metrics.failed("http", "BAD_JSON")
    metrics.ended("order", "COMPLETED", 0.02)
    metrics.ended("order", "FAILED", 100.0)
    metrics.watch("front_", lambda: {"requests": 7, "calls_open": 2})
    metrics.watch("engine_", lambda: {"starts": 3})
    found = samples(metrics)
    assert found["workflow_started_total", ()] == 3
    assert found["cache_lookups_total", ()] == 2
    assert found["cache_hits_total", ()] == 1
    assert found["requests_refused_total", (("code", "BAD_JSON"), ("transport", "http"))] == 1
    assert found["workflow_completed_total", (("status", "failed"),)] == 1
    assert found["workflow_executions_total", (("status", "completed"), ("workflow_type", "order"))] == 1
    assert found["workflow_duration_seconds_bucket", (("le", "0.025"), ("workflow_type", "order"))] == 1
    assert found["workflow_duration_seconds_bucket", (("le", "+Inf"), ("workflow_type", "order"))] == 2
    assert found["workflow_duration_seconds_count", (("workflow_type", "order"),)] == 2
    assert found["workflow_duration_seconds_sum", (("workflow_type", "order"),)] == 100.02
    assert found["front_requests_total", ()] == 7
    assert found["front_calls_open", ()] == 2


def test_labels_of_workflows_are_bounded() -> None:
    metrics = Metrics()
    for number in range(WORKFLOWS_MAX + 50):
        metrics.ended(f"w{number}", "COMPLETED", 1)
    kept = {dict(labels)["workflow_type"] for name, labels in samples(metrics) if name == "workflow_executions_total"}
    assert len(kept) == WORKFLOWS_MAX + 1
    assert "other" in kept
